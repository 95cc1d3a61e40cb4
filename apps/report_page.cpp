// HTML and SVG, piece by piece.
#include "apps/report_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace pergrad::apps {
namespace {

// Two sets of colours; a test holds text against background.
constexpr std::string_view kStyle = R"(
:root { color-scheme: light dark; --back: #ffffff; --text: #1b1f24; --soft: #55606b; --line: #c9d1d9; --card: #f4f6f8;
  --one: #0b5cad; --two: #a63d00; --three: #1a6b3c; --four: #7a2c8f; --shade: 31, 111, 235; --warn: #8f1d1d; }
@media (prefers-color-scheme: dark) { :root { --back: #14171c; --text: #e6e9ed; --soft: #a5b0bb; --line: #3a424c;
  --card: #1d222a; --one: #6cb2ff; --two: #ffab70; --three: #6fd39a; --four: #d9a3ec; --warn: #ff9a94; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 54rem; background: var(--back); color: var(--text);
  font: 16px/1.55 system-ui, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; border-bottom: 1px solid var(--line); padding-bottom: .25rem; }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .25rem; }
p, ul { max-width: 46rem; }
.lead { font-size: 1.15rem; }
.soft, figcaption, summary { color: var(--soft); font-size: .9rem; }
.card { background: var(--card); border-left: 4px solid var(--one); padding: .75rem 1rem; margin: 1rem 0; }
.warn { border-left-color: var(--warn); }
.stamp { color: var(--warn); font-weight: 700; letter-spacing: .08em; }
figure { margin: 1rem 0; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--soft); font-size: 12px; }
svg .axis { stroke: var(--line); stroke-width: 1; }
svg .curve { fill: none; stroke-width: 2; }
svg .s0 { stroke: var(--one); } svg .s1 { stroke: var(--two); } svg .s2 { stroke: var(--three); }
svg .s3 { stroke: var(--four); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; }
.confusion td { background: rgba(var(--shade), calc(var(--share) * .4)); }
.pictures { display: flex; flex-wrap: wrap; gap: .75rem; }
.pictures figure { margin: 0; width: 7rem; }
.pictures img { width: 6rem; height: 6rem; image-rendering: pixelated; display: block; }
.pictures figcaption { font-size: .75rem; line-height: 1.3; }
code { font-size: .85em; overflow-wrap: anywhere; }
@media (max-width: 40rem) { svg text { font-size: 18px; } }
@media print { body { max-width: none; font-size: 11pt; } details { display: none; } h2 { break-after: avoid; }
  figure, .card { break-inside: avoid; } }
)";

struct Scale {
  double low, high;
  bool log;
  double first, last;  // where they go on the page
  double at(double v) const {
    const auto f = [&](double x) { return log ? std::log10(x) : x; };
    return first + (last - first) * (f(v) - f(low)) / (f(high) - f(low));
  }
  // Powers of ten, or steps of 1, 2 or 5 times one.
  std::vector<double> ticks() const {
    std::vector<double> out;
    if (log) {
      const double decades = std::log10(high / low);
      const int step = decades > 8 ? 2 : 1;
      for (int e = static_cast<int>(std::ceil(std::log10(low) - 1e-9)); std::pow(10, e) <= high * (1 + 1e-9);
           e += step)
        out.push_back(std::pow(10, e));
      return out;
    }
    double step = std::pow(10, std::floor(std::log10((high - low) / 4)));
    for (double factor : {5.0, 2.0})
      if ((high - low) / (step * factor) >= 4) {
        step *= factor;
        break;
      }
    for (double t = std::ceil(low / step - 1e-9) * step; t <= high + 1e-9 * step; t += step)
      out.push_back(std::abs(t) < 1e-9 * step ? 0 : t);
    return out;
  }
};

std::string number(double v) { return fmt::format("{:.6g}", v); }

Scale scale_of(const Plot& plot, bool is_x) {
  const bool log = is_x ? plot.log_x : plot.log_y;
  double low = HUGE_VAL, high = -HUGE_VAL;
  for (const Series& s : plot.series)
    for (const auto& [x, y] : s.points)
      low = std::min(low, is_x ? x : y), high = std::max(high, is_x ? x : y);
  if (!is_x && (plot.y_low != 0 || plot.y_high != 0)) low = plot.y_low, high = plot.y_high;
  if (!(low <= high)) low = 0, high = 1;
  if (!log && !is_x && plot.y_low == 0 && plot.y_high == 0) low = std::min(low, 0.0), high *= 1.05;
  if (low == high) high = low + (low == 0 ? 1 : std::abs(low));
  constexpr double kWidth = 640, kHeight = 300, kLeft = 56, kRight = 30, kTop = 32, kBottom = 44;
  return is_x ? Scale{low, high, log, kLeft, kWidth - kRight}
              : Scale{low, high, log, kHeight - kBottom, kTop};
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t word = 0;
    for (size_t k = 0; k < 3; ++k)
      word = word << 8 | (i + k < bytes.size() ? static_cast<uint8_t>(bytes[i + k]) : 0u);
    for (size_t k = 0; k < 4; ++k) out += i + k > bytes.size() ? '=' : kDigits[word >> (18 - 6 * k) & 63];
  }
  return out;
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c >= ' ' && c <= '~' ? c : '?';
    }
  }
  return out;
}

std::string plot_html(const Plot& plot) {
  const Scale x = scale_of(plot, true), y = scale_of(plot, false);
  std::string svg =
      fmt::format("<svg viewBox=\"0 0 640 300\" role=\"img\" aria-label=\"{}\">\n", escaped(plot.title));
  for (double t : y.ticks())
    svg += fmt::format(
        "<line class=\"axis\" x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\"/>"
        "<text x=\"{3}\" y=\"{4:.1f}\" text-anchor=\"end\">{5}</text>\n",
        x.first, x.last, y.at(t), x.first - 6, y.at(t) + 4, number(t));
  for (double t : x.ticks())
    svg += fmt::format(
        "<line class=\"axis\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\"/>"
        "<text x=\"{0:.1f}\" y=\"{3}\" text-anchor=\"middle\">{4}</text>\n",
        x.at(t), y.first, y.first + 5, y.first + 19, number(t));
  svg += fmt::format("<text x=\"{}\" y=\"296\" text-anchor=\"middle\">{}</text>\n", (x.first + x.last) / 2,
                     escaped(plot.x_label));
  svg += fmt::format("<text x=\"4\" y=\"16\">{}</text>\n", escaped(plot.y_label));
  double legend = x.last;
  for (size_t s = 0; s < plot.series.size(); ++s) {
    const Series& series = plot.series[s];
    std::string points;
    for (const auto& [px, py] : series.points)
      if (std::isfinite(px) && std::isfinite(py))
        points += fmt::format("{:.1f},{:.1f} ", x.at(px), std::clamp(y.at(py), y.last, y.first));
    svg += fmt::format("<polyline class=\"curve s{}\"{} points=\"{}\"/>\n", s % 4,
                       series.dashed ? " stroke-dasharray=\"6 4\"" : "", points);
    if (plot.series.size() > 1) {  // its name, in the band above the plot
      svg += fmt::format(
          "<line class=\"curve s{0}\"{1} x1=\"{2:.0f}\" x2=\"{3:.0f}\" y1=\"12\" y2=\"12\"/>"
          "<text x=\"{4:.0f}\" y=\"16\" text-anchor=\"end\">{5}</text>\n",
          s % 4, series.dashed ? " stroke-dasharray=\"6 4\"" : "", legend - 26, legend, legend - 32,
          escaped(series.name));
      legend -= 44 + 10 * static_cast<double>(series.name.size());
    }
  }
  svg += "</svg>\n";
  const bool many = plot.series.size() > 1;
  std::vector<std::vector<std::string>> rows = {
      many ? std::vector<std::string>{"line", plot.x_label, plot.y_label}
           : std::vector<std::string>{plot.x_label, plot.y_label}};
  for (const Series& s : plot.series)
    for (const auto& [px, py] : s.points)
      rows.push_back(many ? std::vector<std::string>{s.name, number(px), number(py)}
                          : std::vector<std::string>{number(px), number(py)});
  return fmt::format(
      "<figure>\n{}<figcaption>{}</figcaption>\n<details><summary>The numbers: {}</summary>{}"
      "</details></figure>\n",
      svg, escaped(plot.caption), escaped(plot.title), table_html(rows));
}

std::string table_html(const std::vector<std::vector<std::string>>& rows) {
  std::string out = "<div class=\"scroll\" tabindex=\"0\"><table>\n";
  for (size_t r = 0; r < rows.size(); ++r) {
    out += "<tr>";
    for (size_t c = 0; c < rows[r].size(); ++c) {
      const std::string text = escaped(rows[r][c]);
      out += r == 0   ? "<th scope=\"col\">" + text + "</th>"
             : c == 0 ? "<th scope=\"row\">" + text + "</th>"
                      : "<td>" + text + "</td>";
    }
    out += "</tr>\n";
  }
  return out + "</table></div>\n";
}

std::string confusion_html(const std::vector<int64_t>& counts, const std::vector<std::string>& names) {
  const size_t L = names.size();
  std::string out =
      "<div class=\"scroll\" tabindex=\"0\"><table class=\"confusion\">\n<tr><th scope=\"col\">is \\ taken "
      "for</th>";
  for (const std::string& name : names) out += "<th scope=\"col\">" + escaped(name) + "</th>";
  out += "<th scope=\"col\">right</th></tr>\n";
  for (size_t i = 0; i < L; ++i) {
    int64_t total = 0;
    for (size_t j = 0; j < L; ++j) total += counts[i * L + j];
    out += "<tr><th scope=\"row\">" + escaped(names[i]) + "</th>";
    const auto share = [&](size_t j) {
      return total ? static_cast<double>(counts[i * L + j]) / static_cast<double>(total) : 0;
    };
    for (size_t j = 0; j < L; ++j)
      out += fmt::format("<td style=\"--share: {:.3f}\">{}</td>", share(j), counts[i * L + j]);
    out += fmt::format("<td style=\"--share: 0\">{:.1f} %</td></tr>\n", 100 * share(i));
  }
  return out + "</table></div>\n";
}

std::string picture_html(const Image& image, const std::string& text) {
  return fmt::format(
      "<figure><img alt=\"{0}\" src=\"data:image/png;base64,{1}\"><figcaption>{0}</figcaption></figure>\n",
      escaped(text), base64(encode_png(image)));
}

std::string page_html(const std::string& title, const std::string& body) {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n"
      "<style>{}</style>\n</head>\n<body>\n<main>\n{}</main>\n</body>\n</html>\n",
      escaped(title), kStyle, body);
}

}  // namespace pergrad::apps
