// A ledger that was edited, cut or shuffled: refused, and left as it is. One that a crash tore: goes on.
#include "apps/audit/lifecycle.h"
#include "apps/audit/parts.h"
#include "core/hash.h"
#include "dp/ledger.h"

#include <fmt/format.h>

#include <algorithm>

namespace fs = std::filesystem;

namespace pergrad::audit {
namespace {

// A ledger with everything in it: two plans, forks, and a plan that comes back.
std::string some_ledger(const Subject& subject, const fs::path& file) {
  dp::PlanSettings settings = *subject.plan.operator->();
  settings.delta /= 2;
  const dp::Plan other(settings);
  PhiloxStream random = PhiloxStream::of(derive_key(subject.random, "some ledger"), 0, 0);
  fs::remove(file);
  int64_t step = 0;
  for (const dp::Plan* plan : std::initializer_list<const dp::Plan*>{&subject.plan, &other, &subject.plan}) {
    dp::Ledger ledger(file.native(), *plan);
    for (int i = 0; i < 6; ++i) {
      ledger.append(step, 1003, sha256_hex(concat(random.next_u64())), kSampler);
      if (i % 3 == 1) ledger.append(step, 1003, sha256_hex(concat(random.next_u64())), kSampler);
      ++step;
    }
  }
  return text_of_file(file);
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line;
  return text;
}

// Whoever edits a line and seals it anew must do so with every later one.
std::string sealed_anew(std::string line) {
  const size_t at = line.rfind(",\"hash\":\"");
  line.resize(at);
  return concat(line, ",\"hash\":\"", sha256_hex(line), "\"}\n");
}

class Edits {
 public:
  Edits(const Subject& subject, const fs::path& file, Checks& checks)
      : plan_(subject.plan), file_(file), checks_(checks) {}

  // Neither who reads nor who goes on may take it, and neither may touch it.
  template <class... Parts>
  void must_be_refused(const std::string& text, const Parts&... what) {
    write_text(file_, text);
    bool read = true, opened = true;
    try {
      (void)dp::read_ledger(file_.native());
    } catch (const PrivacyError&) {
      read = false;
    }
    try {
      const dp::Ledger ledger(file_.native(), plan_);
    } catch (const PrivacyError&) {
      opened = false;
    }
    checks_.require(!read && !opened, "ledger: ", what..., ": it is ", read ? "read" : "",
                    read && opened ? " and " : "", opened ? "gone on with" : "");
    checks_.require(opened || text_of_file(file_) == text, "ledger: ", what...,
                    ": it was refused, but changed");
    ++refused_;
  }
  // A crash while a line was written. What is left of the line is cut off, unless only its end is missing.
  void must_go_on(const std::string& text, size_t length) {
    write_text(file_, text.substr(0, length));
    std::string kept = joined(lines_of(text.substr(0, length)));
    if (length + 1 > kept.size() && length < text.size() && text[length] == '\n' && length > kept.size())
      kept = text.substr(0, length + 1);
    try {
      const auto lines = static_cast<int64_t>(dp::read_ledger(file_.native()).size());
      const dp::Ledger ledger(file_.native(), plan_);
      checks_.require(text_of_file(file_).starts_with(kept) && lines >= 0, "ledger: cut after ", length,
                      " bytes: whole lines were lost");
      const std::string now = text_of_file(file_);
      const std::vector<std::string> added = lines_of(now.substr(std::min(kept.size(), now.size())));
      checks_.require(added.size() <= 1 && joined(added).size() == now.size() - kept.size(),
                      "ledger: cut after ", length, " bytes: the torn line is still there");
      checks_.require(added.empty() || added[0].starts_with("{\"type\":\"plan\""), "ledger: cut after ",
                      length, " bytes: a line was added that is no plan");
    } catch (const Error& error) {
      checks_.require(false, "ledger: torn after ", length, " bytes by a crash: ", error.what());
    }
    ++torn_;
  }
  int64_t refused() const { return refused_; }
  int64_t torn() const { return torn_; }

 private:
  const dp::Plan& plan_;
  fs::path file_;
  Checks& checks_;
  int64_t refused_ = 0, torn_ = 0;
};

}  // namespace

void audit_ledger_edits(const Subject& subject, Checks& checks) {
  const fs::path folder = subject.scratch / "edits";
  fs::create_directories(folder);
  const std::string text = some_ledger(subject, folder / "ledger.jsonl");
  const std::vector<std::string> lines = lines_of(text);
  PhiloxStream random = PhiloxStream::of(derive_key(subject.random, "edits"), 0, 0);
  const auto up_to = [&](size_t n) { return random.below(static_cast<uint32_t>(n)); };
  Edits edits(subject, folder / "edited.jsonl", checks);

  // Bytes: of every line some, with --full every one.
  for (size_t line = 0, begin = 0; line < lines.size(); begin += lines[line++].size()) {
    const size_t size = lines[line].size();
    for (size_t i = 0; i < (subject.full ? size : 40); ++i) {
      const size_t at = subject.full ? i : i < 2 ? size - 1 - i : up_to(size);
      std::string edited = text;
      edited[begin + at] = static_cast<char>(edited[begin + at] ^ (1 + up_to(255)));
      edits.must_be_refused(edited, "byte ", at, " of line ", line + 1, " of ", lines.size(), " changed");
    }
  }
  // Lines: one missing (but the last), twice, changed places, cut in the middle, edited and sealed anew.
  for (size_t line = 0; line < lines.size(); ++line) {
    const auto index = static_cast<std::ptrdiff_t>(line);
    std::vector<std::string> edited = lines;
    edited.insert(edited.begin() + index, lines[line]);
    edits.must_be_refused(joined(edited), "line ", line + 1, " twice");
    if (line + 1 == lines.size()) break;
    edited = lines;
    edited.erase(edited.begin() + index);
    edits.must_be_refused(joined(edited), "line ", line + 1, " of ", lines.size(), " missing");
    edited = lines;
    std::swap(edited[line], edited[line + 1 + up_to(lines.size() - line - 1)]);
    edits.must_be_refused(joined(edited), "line ", line + 1, " and a later one have changed places");
    for (const char* end : {"", "\n"}) {
      edited = lines;
      edited[line] = edited[line].substr(0, up_to(lines[line].size() - 1)) + end;
      edits.must_be_refused(joined(edited), "line ", line + 1, " cut in its middle");
    }
    edited = lines;
    const size_t at = edited[line].find(line == 0 ? "delta=" : "\"noise_multiplier\":");
    if (at != std::string::npos) {
      char& digit = edited[line][edited[line].find_first_of("0123456789", at)];
      digit = digit == '7' ? '8' : '7';
      edited[line] = sealed_anew(edited[line]);
      edits.must_be_refused(joined(edited), "line ", line + 1, " edited and sealed anew");
    }
    edited = lines;
    edited[line].insert(edited[line].size() - 1, " ");
    edits.must_be_refused(joined(edited), "a blank after line ", line + 1);
    edited[line] = lines[line] + "\n";
    edits.must_be_refused(joined(edited), "an empty line after line ", line + 1);
  }
  // The beginning missing; bytes behind the end that no crash leaves.
  edits.must_be_refused(text.substr(lines[0].size()), "the first line missing");
  for (const std::string& more :
       {std::string("\n"), std::string("x"), std::string(1, '\0'), std::string("{}\n")})
    edits.must_be_refused(text + more, "bytes behind its end");

  for (size_t i = 0; i < (subject.full ? text.size() : 200); ++i)
    edits.must_go_on(text, subject.full ? i
                           : i < 4      ? i * 5
                           : i < 8      ? text.size() - i + 3
                                        : up_to(text.size()));

  checks.found(
      fmt::format("{} ledgers with a byte, a line or their order changed: all refused and left as they "
                  "were; {} torn by a crash: all gone on with",
                  edits.refused(), edits.torn()));
}

}  // namespace pergrad::audit
