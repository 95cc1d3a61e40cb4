// Costs kept, and judged where a step was or would be released twice.
#include "apps/budget.h"

#include "core/error.h"

#include <utility>

namespace fs = std::filesystem;

namespace pergrad::apps {

Budget::Budget(const dp::Plan& plan, int64_t parameters, std::optional<double> epsilon, dp::Ledger& ledger,
               fs::path file)
    : plan_(plan), parameters_(parameters), epsilon_(epsilon), ledger_(ledger), file_(std::move(file)) {}

const dp::PrivacyCost& Budget::planned() {
  if (!planned_) planned_ = dp::planned_cost(plan_, parameters_);
  return *planned_;
}

dp::Phase Budget::phase_of(int64_t steps) const {
  return {plan_.effective_noise_multiplier(), plan_->sampling_rate, steps, parameters_,
          plan_.noise_std_on_grid()};
}

const dp::PrivacyCost& Budget::spent() {
  if (!spent_ || spent_for_ != ledger_.releases()) {
    spent_for_ = ledger_.releases();
    spent_ = ledger_.forks() == 0 ? dp::cost_of({phase_of(spent_for_)}, plan_->delta)
                                  : dp::spent_cost(file_.string(), plan_->delta);
  }
  return *spent_;
}

void Budget::before_step() {
  const int64_t forks = ledger_.forks();
  if (forks == judged_forks_) return;
  judge(file_, ledger_.releases(), forks);
  judged_forks_ = forks;
}

void Budget::before_release(int64_t step, const std::string& tag, const std::string& sampler) {
  if (!ledger_.would_fork(step, tag)) return;
  const fs::path tried = file_.parent_path() / "ledger.tried.jsonl";
  fs::copy_file(file_, tried, fs::copy_options::overwrite_existing);
  try {
    dp::Ledger ledger(tried.string(), plan_);
    ledger.append(step, parameters_, tag, sampler);
    judge(tried, ledger.releases(), ledger.forks());
  } catch (...) {
    fs::remove(tried);
    throw;
  }
  fs::remove(tried);
}

void Budget::judge(const fs::path& ledger, int64_t releases, int64_t forks) const {
  if (!epsilon_) return;
  std::vector<dp::Phase> phases = dp::read_ledger(ledger.string());
  phases.push_back(phase_of(plan_->steps - (releases - forks)));
  const double cost = dp::cost_of(phases, plan_->delta).epsilon_upper;
  PG_CHECK_AS(
      PrivacyError, cost <= *epsilon_, "privacy.epsilon: ", forks,
      " steps were or would be released a second time with another sum; finishing would cost epsilon ", cost,
      " instead of ", *epsilon_);
}

}  // namespace pergrad::apps
