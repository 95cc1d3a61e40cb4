// sequential_net: a list of lines into a list of modules.
#include "layers/sequential_net.h"

#include "layers/modules.h"

#include <charconv>
#include <cmath>
#include <map>
#include <sstream>
#include <utility>

namespace pergrad {
namespace {

// No number of a line is larger, so that products of them fit 64 bits.
constexpr int64_t kMostOfALine = int64_t{1} << 20;

// "conv 16 k5 s2 p2" -> word "conv", number 16, options {k: 5, s: 2, p: 2}.
struct Line {
  std::string text, word;
  int64_t number = -1;
  std::map<char, int64_t> options;

  explicit Line(const std::string& line) : text(line) {
    std::istringstream in(line);
    in >> word;
    for (std::string part; in >> part;) {
      const bool option = part[0] >= 'a' && part[0] <= 'z';
      int64_t value = -1;
      const char* end = part.data() + part.size();
      const auto [rest, error] = std::from_chars(part.data() + (option ? 1 : 0), end, value);
      PG_CHECK(error == std::errc() && rest == end && value >= 0, "model.layers: \"", text, "\": \"", part,
               "\" is not a number or a letter and a number");
      PG_CHECK(value <= kMostOfALine, "model.layers: \"", text, "\": got ", value, ", wanted at most ",
               kMostOfALine);
      if (option)
        PG_CHECK(options.emplace(part[0], value).second, "model.layers: \"", text, "\": two \"", part[0],
                 "\"");
      else
        PG_CHECK(std::exchange(number, value) < 0, "model.layers: \"", text, "\": two numbers");
    }
  }
  int64_t take(char name, int64_t otherwise) {
    const auto found = options.find(name);
    if (found == options.end()) return otherwise;
    const int64_t value = found->second;
    options.erase(found);
    return value;
  }
  int64_t take_number() {
    PG_CHECK(number > 0, "model.layers: \"", text, "\": wanted a positive number after \"", word, "\"");
    return std::exchange(number, -1);
  }
  void check_all_taken() const {
    PG_CHECK(options.empty() && number < 0, "model.layers: \"", text, "\": \"", word,
             "\" does not take all of these");
  }
};

}  // namespace

ModulePtr sequential_net(Parameters& parameters, const ModelSettings& settings, ImageShape image,
                         int64_t labels) {
  const auto& lines = settings.layers;
  PG_CHECK(!lines.empty() && lines.back() == "classifier",
           "model.layers: the last one must be \"classifier\"");
  auto net = std::make_unique<Sequential>();
  ImageShape shape = image;
  bool flat = false;
  bool learns = false;  // whether a layer with parameters came before
  for (size_t i = 0; i < lines.size(); ++i) {
    Line line(lines[i]);
    const std::string name = concat("layers.", i, '.', line.word);
    const bool image_op =
        line.word != "linear" && line.word != "classifier" && line.word != "relu" && line.word != "tanh";
    PG_CHECK(!image_op || !flat, "model.layers: \"", line.text,
             "\" needs an image, but one before flattened it");
    if (line.word == "conv") {
      const int64_t outputs = line.take_number();
      const ConvOptions options{line.take('k', 3), line.take('s', 1), line.take('p', 0),
                                settings.weight_standardization, learns};
      net->push(std::make_unique<Conv>(parameters, name, shape, outputs, options));
      learns = true;
    } else if (line.word == "group_norm") {
      const bool then_relu = i + 1 < lines.size() && lines[i + 1] == "relu";  // both in one pass
      net->push(std::make_unique<GroupNormLayer>(parameters, name, shape.channels, line.take_number(),
                                                 then_relu ? group_norm_relu : group_norm));
      i += then_relu;
      learns = true;
    } else if (line.word == "relu") {
      net->push(plain(relu));
    } else if (line.word == "tanh") {
      net->push(plain([](Tape& tape, Var x) { return tanh(tape, x); }));
    } else if (line.word == "max_pool" || line.word == "average_pool") {
      const int64_t size = line.take_number();
      const int64_t stride = line.take('s', size);
      PG_CHECK(stride > 0 && size <= shape.height && size <= shape.width, "model.layers: \"", line.text,
               "\" on an image of ", shape.height, "x", shape.width);
      const auto pool = line.word == "max_pool" ? max_pool : average_pool;
      net->push(plain([=](Tape& tape, Var x) { return pool(tape, x, size, stride); }));
      shape.height = (shape.height - size) / stride + 1;
      shape.width = (shape.width - size) / stride + 1;
    } else if (line.word == "mean_pool") {
      net->push(plain(mean_pool));
      shape = {1, 1, shape.channels};
      flat = true;
    } else if (line.word == "linear" || line.word == "classifier") {
      const bool last = line.word == "classifier";
      PG_CHECK(last == (i + 1 == lines.size()), "model.layers: \"classifier\" stands last, and only there");
      const int64_t outputs = last ? labels : line.take_number();
      const double std = 1.0 / std::sqrt(static_cast<double>(shape.size()));
      net->push(std::make_unique<LinearLayer>(parameters, name, shape.size(), outputs,
                                              last ? Init::constant(0) : Init::truncated_normal(std)));
      shape = {1, 1, outputs};
      flat = learns = true;
    } else {
      throw Error(
          concat("model.layers: \"", line.text, "\": no layer \"", line.word,
                 "\"; wanted conv, group_norm, relu, tanh, max_pool, average_pool, mean_pool, linear, "
                 "classifier"));
    }
    line.check_all_taken();
  }
  return net;
}

std::vector<std::string> small_cnn_layers() {
  return {"conv 16 k5 s2 p2", "group_norm 4", "relu",      "conv 32 k3 s2 p1",
          "group_norm 4",     "relu",         "classifier"};
}

}  // namespace pergrad
