// model.layers: one line of input a layer. A small net that is accepted is made and sees one image.
#include "core/philox.h"
#include "layers/models.h"
#include "tests/fuzz/target.h"

#include <algorithm>

namespace pergrad::fuzz {

std::vector<std::string> seeds() {
  return {
      "conv 16 k5 s2 p2\ngroup_norm 4\nrelu\nconv 32 k3 s2 p1\ngroup_norm 4\nrelu\nclassifier",
      "conv 8 s2 p1\ngroup_norm 4\nrelu\nmax_pool 2 s1\nconv 6\ntanh\naverage_pool 2\nlinear 9\nclassifier",
      "conv 4\nmean_pool\nclassifier",
      "linear 12\nrelu\nclassifier",
      "linear 3\ntanh\nclassifier",
      "conv 9223372036854775807 k3\nclassifier",
      "conv 4 k3 s1 p9223372036854775807\nclassifier",
      "linear 3037000500\nlinear 3037000500\nclassifier",
      "average_pool 2 s9223372036854775807\nclassifier"};
}

}  // namespace pergrad::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pergrad;
  constexpr size_t kMostLines = 40;
  // Of what is not only read but made: nets may be large, and their images larger.
  constexpr size_t kMostLinesMade = 8;
  constexpr int64_t kMostParametersMade = 20000;
  ModelSettings settings;
  settings.name = "sequential";
  std::string_view rest = fuzz::text_of(data, size);
  while (settings.layers.size() < kMostLines) {
    const size_t end = rest.find('\n');
    settings.layers.emplace_back(rest.substr(0, end));
    if (end == std::string::npos) break;
    rest.remove_prefix(end + 1);
  }
  // The config has refused what is not printable before a line comes here.
  for (const std::string& line : settings.layers)
    if (apps::printable(line) != line) return 0;
  const auto is_small = [](const std::string& line) {  // no number of three digits
    size_t digits = 0;
    for (const char c : line) {
      digits = c >= '0' && c <= '9' ? digits + 1 : 0;
      if (digits > 2) return false;
    }
    return true;
  };
  fuzz::accepts([&] {
    Model model(settings, {9, 8, 2}, 3);
    fuzz::require(model.parameters().size() > 0, "a net without parameters");
    if (settings.layers.size() > kMostLinesMade || model.parameters().size() > kMostParametersMade ||
        !std::ranges::all_of(settings.layers, is_small))
      return;
    model.parameters().allocate(DType::f32, key_from_text("fuzz"));
    Workspace workspace;
    Tape tape(model.prepared(), nullptr, workspace);
    Tensor image = Tensor::zeros({1, 1, 9, 8, 2}, DType::f32);
    const Var logits = model.forward(tape, tape.input(image));
    fuzz::require(tape.value(logits).size() == 3, "logits of another number than the labels");
  });
  return 0;
}
