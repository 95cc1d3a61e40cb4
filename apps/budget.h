// Budget: what a run has spent, and whether it may go on. Judged by the ledger alone.
#pragma once

#include "dp/accountant.h"
#include "dp/ledger.h"
#include "dp/plan.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace pergrad::apps {

class Budget {
 public:
  // epsilon: what the config promises; none: the noise is named instead, and nothing is refused.
  // file: of the ledger, which outlives this.   parameters: P.
  Budget(const dp::Plan& plan, int64_t parameters, std::optional<double> epsilon, dp::Ledger& ledger,
         std::filesystem::path file);

  // What all steps of the plan cost, each released once.
  const dp::PrivacyCost& planned();
  // What all releases on the ledger cost so far; kept until there are more.
  const dp::PrivacyCost& spent();

  // Steps that were released more than once (forks) cost more than was planned. Both refuse to go on where
  // finishing would cost more than the epsilon that was promised: before a step ...
  //   THROWS: PrivacyError.
  void before_step();
  // ... and, once it is known that a step would be released a second time with another sum, before that is
  // recorded or any noise is drawn. Tried on a copy of the ledger.   THROWS: PrivacyError.
  void before_release(int64_t step, const std::string& tag, const std::string& sampler);

 private:
  dp::Phase phase_of(int64_t steps) const;  // so many steps of the plan, each released once
  void judge(const std::filesystem::path& ledger, int64_t releases, int64_t forks) const;
  dp::Plan plan_;
  int64_t parameters_;
  std::optional<double> epsilon_;
  dp::Ledger& ledger_;
  std::filesystem::path file_;
  std::optional<dp::PrivacyCost> planned_, spent_;
  int64_t spent_for_ = 0;     // releases that spent_ is for
  int64_t judged_forks_ = 0;  // with so many the budget was seen to hold
};

}  // namespace pergrad::apps
