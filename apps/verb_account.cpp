// verb_account.cpp: the accountant's numbers as JSON, as text, as CSV.
#include "apps/verb_account.h"

#include "core/error.h"
#include "dp/accounting/accountant.h"
#include "dp/accounting/calibrate.h"
#include "dp/accounting/rdp.h"
#include "dp/accounting/substitution.h"
#include "dp/accounting/trade_off.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <stdexcept>

namespace pergrad::apps {
namespace {

using accounting::Interval;
using accounting::Phase;
using accounting::Phases;
using accounting::Range;
using accounting::RdpBound;
using nlohmann::ordered_json;

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

bool substitution(const AccountQuestion& ask) {
  return ask.adjacency == "substitution" || ask.sampling == "without_replacement";
}

// The run that is asked about. Only what is proven for a kind of sampling is answered.
Phases run_of(const AccountQuestion& ask) {
  if (!(ask.precision >= 1e-9 && ask.precision <= 0.1))
    throw std::invalid_argument(fmt::format("--precision: got {:g}, wanted 1e-9 to 0.1", ask.precision));
  if (ask.sampling == "shuffle")
    throw std::invalid_argument(
        "--sampling shuffle: no amplification is proven for shuffled epochs; what holds is one Gaussian "
        "release per epoch: --sampling full_batch --steps EPOCHS");
  Phases phases = ask.phases;
  if (phases.empty()) phases = {{ask.noise_multiplier, ask.sampling_rate, ask.steps}};
  for (Phase& phase : phases) {
    if (ask.sampling == "full_batch") phase.sampling_rate = 1.0;
    if (phase.steps == 0) throw std::invalid_argument("accounting: steps: got 0, wanted an integer >= 1");
  }
  return phases;
}

void for_add_remove_alone(const AccountQuestion& ask) {
  if (substitution(ask))
    throw std::invalid_argument(
        "--adjacency substitution: wanted add_remove here; account epsilon and account "
        "delta know substitution");
}

ordered_json number(double value) {
  if (std::isinf(value)) return "inf";  // every number here is >= 0
  return value;
}

ordered_json bounds(const Range& range) {
  return {{"lower", number(range.lower)}, {"upper", number(range.upper)}};
}

// The shortest text that reads back as the same number.
std::string exact(double value) { return std::isinf(value) ? "inf" : ordered_json(value).dump(); }

std::string shown(double value) { return fmt::format("{:.6g}", value); }

// Eight digits, moved until they read back at or beyond the value: a printed bound must not promise too much.
std::string shown_outward(double value, double direction) {
  const auto text = [](double v) { return fmt::format("{:.8g}", v); };
  double moved = value;
  while (std::isfinite(moved) && (std::strtod(text(moved).c_str(), nullptr) - value) * direction < 0.0) {
    moved += 2e-8 * direction * value;
  }
  return text(moved);
}
std::string shown_up(double value) { return shown_outward(value, +1.0); }
std::string shown_down(double value) { return shown_outward(value, -1.0); }

std::string range_text(const Range& range) {
  return shown_down(range.lower) + " to " + shown_up(range.upper);
}

void append_run(ordered_json& json, const AccountQuestion& ask, const Phases& phases) {
  if (ask.phases.empty()) {
    json["noise_multiplier"] = phases[0].noise_multiplier;
    json["sampling_rate"] = phases[0].sampling_rate;
    json["steps"] = phases[0].steps;
  } else {
    json["phases"] = ordered_json::array();
    for (const auto& [sigma, q, steps] : phases)
      json["phases"].push_back({{"noise_multiplier", sigma}, {"sampling_rate", q}, {"steps", steps}});
  }
  json["adjacency"] = substitution(ask) ? "substitution" : "add_remove";
}

std::string run_text(const AccountQuestion& ask, const Phases& phases) {
  std::string text;
  for (const auto& [sigma, q, steps] : phases)
    text += fmt::format("  noise multiplier {}, sampling rate {}, steps {}\n", shown(sigma), shown(q), steps);
  const char* drawn = ask.sampling == "without_replacement" ? "batches of a fixed size, without replacement"
                      : ask.sampling == "full_batch"        ? "all examples in every step"
                                                            : "Poisson sampling";
  return text + fmt::format("  {}, {}\n",
                            substitution(ask) ? "replace one example" : "add or remove one example", drawn);
}

std::string row(const char* name, const std::string& value, const std::string& note) {
  return note.empty() ? fmt::format("  {:<22} {}\n", name, value)
                      : fmt::format("  {:<22} {:<28} {}\n", name, value, note);
}

// One quantity, epsilon or delta: what was found, and how.
struct Found {
  const char* quantity;
  Interval interval;  // of a substitution the outer range alone
  RdpBound rdp;
  double seconds, rdp_seconds;
};

AccountAnswer answer_of(const AccountQuestion& ask, const Phases& phases, const Found& found,
                        const ordered_json& given, const std::string& headline) {
  const bool replaced = substitution(ask);
  const std::string quantity = found.quantity;
  AccountAnswer answer;
  answer.json[quantity] = bounds(found.interval);
  answer.json["rdp_" + quantity] = number(found.rdp.value);
  answer.json["rdp_order"] = number(found.rdp.order);
  answer.json.update(given);
  append_run(answer.json, ask, phases);
  answer.json["accountant"] = found.interval.accountant;
  if (!replaced) {
    answer.json["remove"] = bounds(found.interval.remove);
    answer.json["add"] = bounds(found.interval.add);
  }
  answer.json["seconds"] = found.seconds + found.rdp_seconds;
  answer.text = headline + "\n" + run_text(ask, phases);
  const auto milliseconds = [](double seconds) { return fmt::format("{:.1f} ms", 1e3 * seconds); };
  if (!replaced) {
    const std::string name(found.interval.accountant);
    answer.text += row("an example leaves", range_text(found.interval.remove), "");
    answer.text += row("an example joins", range_text(found.interval.add), "");
    answer.text += row("privacy loss (pld)", range_text(found.interval), milliseconds(found.seconds));
    if (name == "rdp")
      answer.text += "  the upper end is by Renyi divergences: nothing tighter could be certified\n";
  }
  answer.text += row("Renyi (rdp)", shown_up(found.rdp.value),
                     fmt::format("{}, order {}", milliseconds(replaced ? found.seconds : found.rdp_seconds),
                                 shown(found.rdp.order)));
  return answer;
}

// The epsilon that a run has, as every verb that ends in an epsilon reports it.
AccountAnswer epsilon_of(const AccountQuestion& ask) {
  const Phases phases = run_of(ask);
  Found found = {"epsilon", {}, {}, 0.0, 0.0};
  const Stopwatch tight;
  if (substitution(ask)) {
    const accounting::SubstitutionBound bound = accounting::substitution_epsilon(phases, ask.delta);
    found.interval = {bound, {}, {}, "rdp"};
    found.rdp = {bound.upper, bound.order};
  } else {
    found.interval = accounting::epsilon_interval(phases, ask.delta, ask.precision);
  }
  found.seconds = tight.seconds();
  const Stopwatch loose;
  if (!substitution(ask)) found.rdp = accounting::rdp_epsilon(phases, ask.delta);
  found.rdp_seconds = loose.seconds();
  return answer_of(ask, phases, found, {{"delta", ask.delta}},
                   "epsilon " + range_text(found.interval) + " at delta " + shown(ask.delta));
}

// An inverse problem's answer: what was found, and what it costs.
AccountAnswer solved(const AccountQuestion& ask, const AccountQuestion& solution, const Stopwatch& watch,
                     const std::string& headline) {
  AccountAnswer answer = epsilon_of(solution);
  answer.json["target_epsilon"] = ask.epsilon;
  answer.json["seconds"] = watch.seconds();
  answer.text = headline + " for epsilon " + shown(ask.epsilon) + "\n" + answer.text;
  return answer;
}

}  // namespace

AccountAnswer account_epsilon(const AccountQuestion& ask) { return epsilon_of(ask); }

AccountAnswer account_delta(const AccountQuestion& ask) {
  const Phases phases = run_of(ask);
  Found found = {"delta", {}, {}, 0.0, 0.0};
  const Stopwatch tight;
  if (substitution(ask)) {
    const accounting::SubstitutionBound bound = accounting::substitution_delta(phases, ask.epsilon);
    found.interval = {bound, {}, {}, "rdp"};
    found.rdp = {bound.upper, bound.order};
  } else {
    found.interval = accounting::delta_interval(phases, ask.epsilon, ask.precision);
  }
  found.seconds = tight.seconds();
  const Stopwatch loose;
  if (!substitution(ask)) found.rdp = accounting::rdp_delta(phases, ask.epsilon);
  found.rdp_seconds = loose.seconds();
  return answer_of(ask, phases, found, {{"epsilon", ask.epsilon}},
                   "delta " + range_text(found.interval) + " at epsilon " + shown(ask.epsilon));
}

AccountAnswer account_noise(const AccountQuestion& ask) {
  const Stopwatch watch;
  AccountQuestion solution = ask;
  solution.noise_multiplier =
      accounting::noise_multiplier_for(ask.epsilon, ask.delta, ask.sampling_rate, ask.steps);
  return solved(ask, solution, watch, "noise multiplier " + shown_up(solution.noise_multiplier));
}

AccountAnswer account_steps(const AccountQuestion& ask) {
  const Stopwatch watch;
  AccountQuestion solution = ask;
  solution.steps = accounting::steps_for(ask.epsilon, ask.delta, ask.sampling_rate, ask.noise_multiplier);
  return solved(ask, solution, watch, std::to_string(solution.steps) + " steps");
}

AccountAnswer account_batch(const AccountQuestion& ask) {
  const Stopwatch watch;
  if (ask.examples < 1)
    throw std::invalid_argument(fmt::format("--examples: got {}, wanted an integer >= 1", ask.examples));
  const double rate = accounting::sampling_rate_for(ask.epsilon, ask.delta, ask.noise_multiplier, ask.steps);
  const double examples = static_cast<double>(ask.examples);
  const auto batch = static_cast<std::int64_t>(std::floor(rate * examples * (1.0 + 1e-15)));
  if (batch < 1)
    throw std::invalid_argument(fmt::format(
        "accounting: target epsilon {:g} does not allow an expected batch of one example", ask.epsilon));
  AccountQuestion solution = ask;
  solution.sampling_rate = static_cast<double>(batch) / examples;
  AccountAnswer answer = solved(ask, solution, watch, fmt::format("expected batch size {}", batch));
  answer.json["expected_batch_size"] = batch;
  answer.json["examples"] = ask.examples;
  return answer;
}

// One row a question; the quantity that was given has equal lower and upper ends.
AccountAnswer account_curve(const AccountQuestion& ask) {
  const Stopwatch watch;
  for_add_remove_alone(ask);
  const Phases phases = run_of(ask);
  auto epsilon_at_delta = ordered_json::array(), delta_at_epsilon = ordered_json::array();
  std::string_view accountant = "pld";  // "rdp" if any upper end had to fall back
  AccountAnswer answer;
  answer.csv = "given,epsilon_lower,epsilon_upper,delta_lower,delta_upper\n";
  const auto add_row = [&](const char* given, const Range& epsilon, const Range& delta) {
    answer.csv += fmt::format("{},{},{},{},{}\n", given, exact(epsilon.lower), exact(epsilon.upper),
                              exact(delta.lower), exact(delta.upper));
  };
  for (const double delta : ask.deltas) {
    const Interval epsilon = accounting::epsilon_interval(phases, delta, ask.precision);
    epsilon_at_delta.push_back({{"delta", delta}, {"epsilon", bounds(epsilon)}});
    answer.text += "delta " + shown(delta) + ": epsilon " + range_text(epsilon) + "\n";
    add_row("delta", epsilon, {delta, delta});
    if (epsilon.accountant == "rdp") accountant = "rdp";
  }
  for (const double epsilon : ask.epsilons) {
    const Interval delta = accounting::delta_interval(phases, epsilon, ask.precision);
    delta_at_epsilon.push_back({{"epsilon", epsilon}, {"delta", bounds(delta)}});
    answer.text += "epsilon " + shown(epsilon) + ": delta " + range_text(delta) + "\n";
    add_row("epsilon", {epsilon, epsilon}, delta);
    if (delta.accountant == "rdp") accountant = "rdp";
  }
  answer.json = {{"epsilon_at_delta", epsilon_at_delta}, {"delta_at_epsilon", delta_at_epsilon}};
  append_run(answer.json, ask, phases);
  answer.json["accountant"] = accountant;
  answer.json["seconds"] = watch.seconds();
  return answer;
}

AccountAnswer account_trade_off(const AccountQuestion& ask) {
  const Stopwatch watch;
  for_add_remove_alone(ask);
  const Phases phases = run_of(ask);
  const double mu = accounting::gdp_mu_approximation(phases);
  AccountAnswer answer;
  auto points = ordered_json::array();
  answer.text = "false positives   false negatives, at least\n";
  answer.csv = "false_positive,false_negative_lower\n";
  for (const auto& [alpha, beta] : accounting::trade_off(phases, ask.false_positives)) {
    points.push_back({{"false_positive", alpha}, {"false_negative", {{"lower", beta}}}});
    answer.text += fmt::format("{:<17} {}\n", shown(alpha), shown_down(beta));
    answer.csv += exact(alpha) + "," + exact(beta) + "\n";
  }
  answer.text +=
      fmt::format("approximation, no guarantee: like N(0, 1) against N({:.4g}, 1) (central limit)\n", mu);
  answer.json = {{"trade_off", points}, {"gdp_mu_approximation_no_guarantee", mu}};
  append_run(answer.json, ask, phases);
  answer.json["accountant"] = "pld";
  answer.json["seconds"] = watch.seconds();
  return answer;
}

}  // namespace pergrad::apps
