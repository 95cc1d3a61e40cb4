// A wide residual network by hand: forward, loss and backward of ONE example in plain loops, in double,
// without a tape. It is the reference of the whole stack, and the place to read what training computes.
//
// How to read it. Each layer is a pair: x_forward computes y from x; x_backward is given dy, the gradient of
// the loss by y, and applies the chain rule: it returns dx, and adds to the gradients of its parameters. The
// network is the layers one after the other; its backward pass calls the partners in reverse order. Names:
// d + something is the gradient of the loss by that something, of the same shape.
//
// Why one example at a time. Differentially private training must bound what a single example can change, so
// it needs the gradient of each example, not of their sum. Here that costs nothing but the time: one call,
// one example, one gradient. The program gets the same numbers for many examples at once; the test beside
// this file compares every one of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace pergrad::by_hand {

using Numbers = std::vector<double>;
// Parameters, or their gradients, by name: "stage1.block1.conv1.weight".
using Named = std::map<std::string, Numbers>;

// An image [height, width, channels], channels last: pixel after pixel, its channels side by side.
struct Image {
  int height = 0, width = 0, channels = 0;
  Numbers v;
  Image() = default;
  Image(int h, int w, int c) : height(h), width(w), channels(c), v(static_cast<size_t>(h * w * c)) {}
  size_t place(int y, int x, int c) const {
    const int at = (y * width + x) * channels + c;
    return static_cast<size_t>(at);
  }
  double& at(int y, int x, int c) { return v[place(y, x, c)]; }
  double at(int y, int x, int c) const { return v[place(y, x, c)]; }
};

inline Image like(const Image& x) { return {x.height, x.width, x.channels}; }

// ---------------------------------------------------------------- ReLU: y = max(x, 0)

inline Image relu_forward(const Image& x) {
  Image y = x;
  for (double& v : y.v) v = std::max(v, 0.0);
  return y;
}

// The slope is 1 where x was positive, else 0.
inline Image relu_backward(const Image& x, const Image& dy) {
  Image dx = dy;
  for (size_t i = 0; i < x.v.size(); ++i)
    if (x.v[i] <= 0) dx.v[i] = 0;
  return dx;
}

// ---------------------------------------------------------------- group norm
// The channels are cut into groups; over the pixels and channels of a group, x is shifted to mean 0 and
// scaled to variance 1; then each channel gets a scale and a shift that are learned:  y = scale (x - mean) r
// + shift, r = 1 / sqrt(variance + 1e-5). Unlike batch norm it never looks at another example.

struct Statistics {
  double mean, variance;
};

inline Statistics group_statistics(const Image& x, int first, int last) {
  const double count = x.height * x.width * (last - first);
  Statistics s{0, 0};
  for (int y = 0; y < x.height; ++y)
    for (int i = 0; i < x.width; ++i)
      for (int c = first; c < last; ++c) s.mean += x.at(y, i, c) / count;
  for (int y = 0; y < x.height; ++y)
    for (int i = 0; i < x.width; ++i)
      for (int c = first; c < last; ++c) s.variance += std::pow(x.at(y, i, c) - s.mean, 2) / count;
  return s;
}

inline Image group_norm_forward(const Image& x, int groups, const Numbers& scale, const Numbers& shift) {
  Image out = like(x);
  const int width = x.channels / groups;
  for (int first = 0; first < x.channels; first += width) {
    const Statistics s = group_statistics(x, first, first + width);
    const double r = 1 / std::sqrt(s.variance + 1e-5);
    for (int y = 0; y < x.height; ++y)
      for (int i = 0; i < x.width; ++i)
        for (int c = first; c < first + width; ++c)
          out.at(y, i, c) =
              scale[static_cast<size_t>(c)] * (x.at(y, i, c) - s.mean) * r + shift[static_cast<size_t>(c)];
  }
  return out;
}

// Step by step, with centred = x - mean and y = scale * centred * r + shift.
inline Image group_norm_backward(const Image& x, int groups, const Numbers& scale, const Image& dy,
                                 Numbers& dscale, Numbers& dshift) {
  Image dx = like(x);
  const int width = x.channels / groups;
  const double count = x.height * x.width * width;
  for (int first = 0; first < x.channels; first += width) {
    const Statistics s = group_statistics(x, first, first + width);
    const double r = 1 / std::sqrt(s.variance + 1e-5);
    double dr = 0;
    for (int y = 0; y < x.height; ++y)
      for (int i = 0; i < x.width; ++i)
        for (int c = first; c < first + width; ++c) {
          const double centred = x.at(y, i, c) - s.mean, g = dy.at(y, i, c);
          dshift[static_cast<size_t>(c)] += g;
          dscale[static_cast<size_t>(c)] += g * centred * r;
          dr += g * scale[static_cast<size_t>(c)] * centred;
        }
    // r = (variance + eps)^(-1/2), and variance = mean of centred^2.
    const double dvariance = dr * -0.5 * std::pow(s.variance + 1e-5, -1.5);
    double mean_dcentred = 0;
    for (int y = 0; y < x.height; ++y)
      for (int i = 0; i < x.width; ++i)
        for (int c = first; c < first + width; ++c) {
          const double centred = x.at(y, i, c) - s.mean;
          const double dcentred =
              dy.at(y, i, c) * scale[static_cast<size_t>(c)] * r + dvariance * 2 * centred / count;
          dx.at(y, i, c) = dcentred;
          mean_dcentred += dcentred / count;
        }
    // centred = x - mean(x): what moves all x alike moves nothing.
    for (int y = 0; y < x.height; ++y)
      for (int i = 0; i < x.width; ++i)
        for (int c = first; c < first + width; ++c) dx.at(y, i, c) -= mean_dcentred;
  }
  return dx;
}

// ---------------------------------------------------------------- weight standardization
// Weights are not used as they are: those that make one output channel o are shifted to mean 0 and divided by
// spread = sqrt(max(sum of squares, 1e-4)), then multiplied by a gain that is learned. Weights lie [fan_in,
// O].

struct Channel {
  double mean = 0, squares = 0, spread = 0;
};

inline Channel channel_of(const Numbers& w, size_t o, size_t outputs) {
  Channel c;
  const auto fan_in = static_cast<double>(w.size()) / static_cast<double>(outputs);
  for (size_t i = o; i < w.size(); i += outputs) c.mean += w[i] / fan_in;
  for (size_t i = o; i < w.size(); i += outputs) c.squares += (w[i] - c.mean) * (w[i] - c.mean);
  c.spread = std::sqrt(std::max(c.squares, 1e-4));
  return c;
}

inline Numbers standardize_forward(const Numbers& w, const Numbers& gain) {
  Numbers out(w.size());
  for (size_t o = 0; o < gain.size(); ++o) {
    const Channel c = channel_of(w, o, gain.size());
    for (size_t i = o; i < w.size(); i += gain.size()) out[i] = gain[o] * (w[i] - c.mean) / c.spread;
  }
  return out;
}

inline void standardize_backward(const Numbers& w, const Numbers& gain, const Numbers& dout, Numbers& dw,
                                 Numbers& dgain) {
  const size_t outputs = gain.size();
  const auto fan_in = static_cast<double>(w.size()) / static_cast<double>(outputs);
  for (size_t o = 0; o < outputs; ++o) {
    const Channel c = channel_of(w, o, outputs);
    double dspread = 0;
    for (size_t i = o; i < w.size(); i += outputs) {
      const double centred = w[i] - c.mean;
      dgain[o] += dout[i] * centred / c.spread;
      dspread -= dout[i] * gain[o] * centred / (c.spread * c.spread);
    }
    // spread = sqrt(squares), unless the floor was hit: then it is a constant.
    const double dsquares = c.squares > 1e-4 ? dspread / (2 * c.spread) : 0;
    double mean_dcentred = 0;
    for (size_t i = o; i < w.size(); i += outputs)
      mean_dcentred += (dout[i] * gain[o] / c.spread + dsquares * 2 * (w[i] - c.mean)) / fan_in;
    for (size_t i = o; i < w.size(); i += outputs)
      dw[i] += dout[i] * gain[o] / c.spread + dsquares * 2 * (w[i] - c.mean) - mean_dcentred;
  }
}

// ---------------------------------------------------------------- convolution
// y[i, j, o] = bias[o] + sum over r, q, c of x[i s + r - p, j s + q - p, c] w[r, q, c, o]: kernel side k,
// stride s, and p pixels of zeros around the image.

struct Convolution {
  int kernel, stride, pad, inputs, outputs;

  int size(int n) const { return (n + 2 * pad - kernel) / stride + 1; }
  size_t weight(int r, int q, int c, int o) const {
    const int at = ((r * kernel + q) * inputs + c) * outputs + o;
    return static_cast<size_t>(at);
  }
  // Calls f(i, j, y, x, r, q) for each output pixel (i, j) and each tap (r, q) that hits the image, at (y,
  // x).
  template <class F>
  void for_each_tap(const Image& x, const F& f) const {
    for (int i = 0; i < size(x.height); ++i)
      for (int j = 0; j < size(x.width); ++j)
        for (int r = 0; r < kernel; ++r)
          for (int q = 0; q < kernel; ++q) {
            const int at_y = i * stride + r - pad, at_x = j * stride + q - pad;
            if (at_y >= 0 && at_y < x.height && at_x >= 0 && at_x < x.width) f(i, j, at_y, at_x, r, q);
          }
  }

  Image forward(const Image& x, const Numbers& w, const Numbers& bias) const {
    Image y(size(x.height), size(x.width), outputs);
    for (size_t i = 0; i < y.v.size(); ++i) y.v[i] = bias[i % bias.size()];
    for_each_tap(x, [&](int i, int j, int at_y, int at_x, int r, int q) {
      for (int c = 0; c < inputs; ++c)
        for (int o = 0; o < outputs; ++o) y.at(i, j, o) += x.at(at_y, at_x, c) * w[weight(r, q, c, o)];
    });
    return y;
  }

  // Each product x * w of the forward pass sends dy * w to its x, and dy * x to its w.
  Image backward(const Image& x, const Numbers& w, const Image& dy, Numbers& dw, Numbers& dbias) const {
    Image dx = like(x);
    for (size_t i = 0; i < dy.v.size(); ++i) dbias[i % dbias.size()] += dy.v[i];
    for_each_tap(x, [&](int i, int j, int at_y, int at_x, int r, int q) {
      for (int c = 0; c < inputs; ++c)
        for (int o = 0; o < outputs; ++o) {
          dx.at(at_y, at_x, c) += dy.at(i, j, o) * w[weight(r, q, c, o)];
          dw[weight(r, q, c, o)] += dy.at(i, j, o) * x.at(at_y, at_x, c);
        }
    });
    return dx;
  }
};

// ---------------------------------------------------------------- the network

class WideResNet {
 public:
  WideResNet(int depth, int width, int groups, int labels)
      : blocks_((depth - 4) / 6), width_(width), groups_(groups), labels_(static_cast<size_t>(labels)) {}

  // The loss of one example: the weighted mean over its views of the cross-entropy. Adds its gradient to d,
  // whose entries have the sizes of those of p.
  double example(const Named& p, const std::vector<Image>& views, const std::vector<Numbers>& targets,
                 const Numbers& weights, Named& d) const {
    double loss = 0;
    for (size_t v = 0; v < views.size(); ++v) loss += view(p, views[v], targets[v], weights[v], d);
    return loss;
  }

 private:
  // What the backward pass needs of one unit (ReLU, group norm, convolution): the inputs of its layers.
  struct Unit {
    std::string norm, conv;
    Convolution shape;
    Image x, positive, normed;
  };
  struct Block {
    Unit first, second, shortcut;
    bool has_shortcut = false;
  };

  Image conv_forward(const Named& p, const std::string& name, const Convolution& c, const Image& x) const {
    return c.forward(x, standardize_forward(p.at(name + ".weight"), p.at(name + ".gain")),
                     p.at(name + ".bias"));
  }
  Image conv_backward(const Named& p, const std::string& name, const Convolution& c, const Image& x,
                      const Image& dy, Named& d) const {
    const Numbers &w = p.at(name + ".weight"), &gain = p.at(name + ".gain");
    Numbers dstandardized(w.size());
    Image dx = c.backward(x, standardize_forward(w, gain), dy, dstandardized, d.at(name + ".bias"));
    standardize_backward(w, gain, dstandardized, d.at(name + ".weight"), d.at(name + ".gain"));
    return dx;
  }

  Image unit_forward(const Named& p, Unit& u, const Image& x) const {
    u.x = x;
    u.positive = relu_forward(x);
    u.normed = group_norm_forward(u.positive, groups_, p.at(u.norm + ".weight"), p.at(u.norm + ".bias"));
    return conv_forward(p, u.conv, u.shape, u.normed);
  }
  Image unit_backward(const Named& p, const Unit& u, const Image& dy, Named& d) const {
    const Image dnormed = conv_backward(p, u.conv, u.shape, u.normed, dy, d);
    const Image dpositive = group_norm_backward(u.positive, groups_, p.at(u.norm + ".weight"), dnormed,
                                                d.at(u.norm + ".weight"), d.at(u.norm + ".bias"));
    return relu_backward(u.x, dpositive);
  }

  double view(const Named& p, const Image& image, const Numbers& target, double weight, Named& d) const {
    // Forward. The stem, then three stages of blocks: y = second(first(x)) + (shortcut(x) or x).
    const Convolution stem{3, 1, 1, image.channels, 16};
    Image x = conv_forward(p, "stem", stem, image);
    std::vector<Block> blocks;
    for (int stage = 1; stage <= 3; ++stage)
      for (int b = 1; b <= blocks_; ++b) {
        const std::string name = "stage" + std::to_string(stage) + ".block" + std::to_string(b);
        const int stride = stage > 1 && b == 1 ? 2 : 1;
        const int in = x.channels, out = (8 << stage) * width_;
        Block block;
        block.first = {name + ".norm1", name + ".conv1", {3, stride, 1, in, out}, {}, {}, {}};
        block.second = {name + ".norm2", name + ".conv2", {3, 1, 1, out, out}, {}, {}, {}};
        block.shortcut = {
            name + ".shortcut_norm", name + ".shortcut_conv", {1, stride, 0, in, out}, {}, {}, {}};
        block.has_shortcut = b == 1;
        Image y = unit_forward(p, block.second, unit_forward(p, block.first, x));
        const Image side = block.has_shortcut ? unit_forward(p, block.shortcut, x) : x;
        for (size_t i = 0; i < y.v.size(); ++i) y.v[i] += side.v[i];
        x = y;
        blocks.push_back(block);
      }
    // ReLU, group norm, mean over the image, and a linear map to one logit for each label.
    const Image positive = relu_forward(x);
    const Image normed = group_norm_forward(positive, groups_, p.at("norm.weight"), p.at("norm.bias"));
    const auto channels = static_cast<size_t>(normed.channels);
    const double pixels = normed.height * normed.width;
    Numbers features(channels), logits = p.at("classifier.bias");
    for (size_t i = 0; i < normed.v.size(); ++i) features[i % channels] += normed.v[i] / pixels;
    const Numbers& w = p.at("classifier.weight");
    for (size_t c = 0; c < channels; ++c)
      for (size_t l = 0; l < labels_; ++l) logits[l] += features[c] * w[c * labels_ + l];

    // Loss: cross-entropy of softmax(logits), counted with the weight of this view.
    double sum = 0, loss = 0;
    for (double z : logits) sum += std::exp(z);
    for (size_t l = 0; l < labels_; ++l) loss -= weight * target[l] * (logits[l] - std::log(sum));

    // Backward. The gradient of softmax and cross-entropy together is (probability - target).
    Numbers dfeatures(channels);
    for (size_t l = 0; l < labels_; ++l) {
      const double dlogit = weight * (std::exp(logits[l]) / sum - target[l]);
      d.at("classifier.bias")[l] += dlogit;
      for (size_t c = 0; c < channels; ++c) {
        d.at("classifier.weight")[c * labels_ + l] += features[c] * dlogit;
        dfeatures[c] += w[c * labels_ + l] * dlogit;
      }
    }
    Image dnormed = like(normed);
    for (size_t i = 0; i < dnormed.v.size(); ++i) dnormed.v[i] = dfeatures[i % channels] / pixels;
    Image dx = relu_backward(x, group_norm_backward(positive, groups_, p.at("norm.weight"), dnormed,
                                                    d.at("norm.weight"), d.at("norm.bias")));
    for (size_t b = blocks.size(); b-- > 0;) {
      const Block& block = blocks[b];
      // A sum hands its gradient to both sides; what both sides read gets both gradients.
      const Image dside = block.has_shortcut ? unit_backward(p, block.shortcut, dx, d) : dx;
      dx = unit_backward(p, block.first, unit_backward(p, block.second, dx, d), d);
      for (size_t i = 0; i < dx.v.size(); ++i) dx.v[i] += dside.v[i];
    }
    conv_backward(p, "stem", stem, image, dx, d);
    return loss;
  }

  int blocks_, width_, groups_;
  size_t labels_;
};

}  // namespace pergrad::by_hand
