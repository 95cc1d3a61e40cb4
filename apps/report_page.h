// What a page of HTML is made of: text that is safe, tables, plots as inline SVG, pictures as data.
//
// 1. A page is complete: no script, no network, no other file. It reads light and dark, wide and narrow, on
//    paper, and to a screen reader: headings in order, every figure with a text beside its picture.
// 2. escaped() stands between any text that is not ours and the page.
#pragma once

#include "apps/data_image.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pergrad::apps {

// & < > " ' as entities; what is not printable as '?'.
std::string escaped(std::string_view text);

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;  // drawn as one line, in this order
  bool dashed = false;
};

struct Plot {
  std::string title;    // a short name, for those who do not see it
  std::string caption;  // what it shows, in a sentence
  std::string x_label, y_label;
  std::vector<Series> series;
  bool log_x = false, log_y = false;
  double y_low = 0, y_high = 0;  // both 0: as the points need
};
// A figure: the plot with its caption and, folded, its points as a table. At most four series.
std::string plot_html(const Plot& plot);

// rows[0] is the head. The first cell of each row heads it.
std::string table_html(const std::vector<std::vector<std::string>>& rows);
// `counts` [L*L], true label by predicted: a table whose cells are shaded by their share of the row.
std::string confusion_html(const std::vector<int64_t>& counts, const std::vector<std::string>& names);
// A picture with the text for those who do not see it, and as its caption.
std::string picture_html(const Image& image, const std::string& text);

// The page around its body.
std::string page_html(const std::string& title, const std::string& body);

}  // namespace pergrad::apps
