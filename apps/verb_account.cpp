// verb_account.cpp: the accountant's numbers as JSON, as text, as CSV.
#include "apps/verb_account.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "dp/accounting/accountant.h"
#include "dp/accounting/calibrate.h"

namespace pergrad::apps {
namespace {

using accounting::Interval;
using accounting::Phases;
using nlohmann::ordered_json;

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

Phases phases_of(const AccountQuestion& ask) {
  return {{ask.noise_multiplier, ask.sampling_rate, ask.steps}};
}

ordered_json number(double value) {
  if (std::isinf(value)) return "inf";  // every number here is >= 0
  return value;
}

ordered_json bounds(const Interval& interval) {
  return {{"lower", number(interval.lower)}, {"upper", number(interval.upper)}};
}

// The shortest text that reads back as the same number.
std::string exact(double value) { return std::isinf(value) ? "inf" : ordered_json(value).dump(); }

std::string shown(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

// Six digits, moved until they read back at or beyond the value: a printed bound must not promise too much.
std::string shown_outward(double value, double direction) {
  double moved = value;
  while (std::isfinite(moved) && (std::strtod(shown(moved).c_str(), nullptr) - value) * direction < 0.0) {
    moved += 2e-6 * direction * value;
  }
  return shown(moved);
}
std::string shown_up(double value) { return shown_outward(value, +1.0); }
std::string shown_down(double value) { return shown_outward(value, -1.0); }

std::string range(const Interval& interval) {
  return shown_down(interval.lower) + " to " + shown_up(interval.upper);
}

void append_run(ordered_json& json, const AccountQuestion& ask, std::string_view accountant, double seconds) {
  json["noise_multiplier"] = ask.noise_multiplier;
  json["sampling_rate"] = ask.sampling_rate;
  json["steps"] = ask.steps;
  json["adjacency"] = "add_remove";
  json["accountant"] = accountant;
  json["seconds"] = seconds;
}

std::string run_text(const AccountQuestion& ask, const Interval& interval) {
  return "  noise multiplier " + shown(ask.noise_multiplier) + ", sampling rate " + shown(ask.sampling_rate) +
         ", steps " + std::to_string(ask.steps) + "; add or remove one example, Poisson sampling\n" +
         "  accountant " + std::string(interval.accountant) + "; by Renyi divergences alone " +
         shown_up(interval.rdp) + " (order " + shown(interval.rdp_order) + ")\n";
}

// The epsilon that a run has, as every verb that ends in an epsilon reports it.
AccountAnswer epsilon_of(const AccountQuestion& ask, const Stopwatch& watch) {
  const Interval epsilon = accounting::epsilon_interval(phases_of(ask), ask.delta);
  AccountAnswer answer;
  answer.json = {{"epsilon", bounds(epsilon)},
                 {"rdp_epsilon", number(epsilon.rdp)},
                 {"rdp_order", number(epsilon.rdp_order)},
                 {"delta", ask.delta}};
  append_run(answer.json, ask, epsilon.accountant, watch.seconds());
  answer.text = "epsilon " + range(epsilon) + " at delta " + shown(ask.delta) + "\n" + run_text(ask, epsilon);
  return answer;
}

}  // namespace

AccountAnswer account_epsilon(const AccountQuestion& ask) { return epsilon_of(ask, {}); }

AccountAnswer account_delta(const AccountQuestion& ask) {
  const Stopwatch watch;
  const Interval delta = accounting::delta_interval(phases_of(ask), ask.epsilon);
  AccountAnswer answer;
  answer.json = {{"delta", bounds(delta)},
                 {"rdp_delta", number(delta.rdp)},
                 {"rdp_order", number(delta.rdp_order)},
                 {"epsilon", ask.epsilon}};
  append_run(answer.json, ask, delta.accountant, watch.seconds());
  answer.text = "delta " + range(delta) + " at epsilon " + shown(ask.epsilon) + "\n" + run_text(ask, delta);
  return answer;
}

AccountAnswer account_noise(const AccountQuestion& ask) {
  const Stopwatch watch;
  AccountQuestion solved = ask;
  solved.noise_multiplier =
      accounting::noise_multiplier_for(ask.epsilon, ask.delta, ask.sampling_rate, ask.steps);
  AccountAnswer answer = epsilon_of(solved, watch);
  answer.json["target_epsilon"] = ask.epsilon;
  answer.text = "noise multiplier " + shown_up(solved.noise_multiplier) + " for epsilon " +
                shown(ask.epsilon) + "\n" + answer.text;
  return answer;
}

AccountAnswer account_steps(const AccountQuestion& ask) {
  const Stopwatch watch;
  AccountQuestion solved = ask;
  solved.steps = accounting::steps_for(ask.epsilon, ask.delta, ask.sampling_rate, ask.noise_multiplier);
  AccountAnswer answer = epsilon_of(solved, watch);
  answer.json["target_epsilon"] = ask.epsilon;
  answer.text =
      std::to_string(solved.steps) + " steps for epsilon " + shown(ask.epsilon) + "\n" + answer.text;
  return answer;
}

// One row a question; the quantity that was given has equal lower and upper ends.
AccountAnswer account_curve(const AccountQuestion& ask) {
  const Stopwatch watch;
  const Phases phases = phases_of(ask);
  auto epsilon_at_delta = ordered_json::array(), delta_at_epsilon = ordered_json::array();
  std::string_view accountant;
  AccountAnswer answer;
  answer.csv = "given,epsilon_lower,epsilon_upper,delta_lower,delta_upper\n";
  const auto add_row = [&](const char* given, double e_lower, double e_upper, double d_lower,
                           double d_upper) {
    answer.csv += std::string(given) + "," + exact(e_lower) + "," + exact(e_upper) + "," + exact(d_lower) +
                  "," + exact(d_upper) + "\n";
  };
  for (const double delta : ask.deltas) {
    const Interval epsilon = accounting::epsilon_interval(phases, delta);
    epsilon_at_delta.push_back({{"delta", delta}, {"epsilon", bounds(epsilon)}});
    answer.text += "delta " + shown(delta) + ": epsilon " + range(epsilon) + "\n";
    add_row("delta", epsilon.lower, epsilon.upper, delta, delta);
    accountant = epsilon.accountant;
  }
  for (const double epsilon : ask.epsilons) {
    const Interval delta = accounting::delta_interval(phases, epsilon);
    delta_at_epsilon.push_back({{"epsilon", epsilon}, {"delta", bounds(delta)}});
    answer.text += "epsilon " + shown(epsilon) + ": delta " + range(delta) + "\n";
    add_row("epsilon", epsilon, epsilon, delta.lower, delta.upper);
    accountant = delta.accountant;
  }
  answer.json = {{"epsilon_at_delta", epsilon_at_delta}, {"delta_at_epsilon", delta_at_epsilon}};
  append_run(answer.json, ask, accountant, watch.seconds());
  return answer;
}

}  // namespace pergrad::apps
