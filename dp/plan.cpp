// Plan: the refusals, the derived numbers and the text that is hashed.
#include "dp/plan.h"

#include "core/error.h"
#include "core/hash.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace pergrad::dp {

std::string text_of(double value) {
  char text[40];
  return {text, std::to_chars(text, text + sizeof text, value, std::chars_format::general, 17).ptr};
}

Plan::Plan(PlanSettings settings) : settings_(std::move(settings)) {
  PlanSettings& s = settings_;
  // Every comparison is written so that NaN fails it.
  PG_CHECK_AS(PrivacyError, s.noise_multiplier > 0 && std::isfinite(s.noise_multiplier),
              "plan: noise_multiplier is ", s.noise_multiplier, ", wanted a finite number > 0");
  PG_CHECK_AS(PrivacyError, s.sampling_rate >= 0x1p-64 && s.sampling_rate <= 1, "plan: sampling_rate is ",
              s.sampling_rate, ", wanted in [2^-64, 1]");
  PG_CHECK_AS(PrivacyError, s.delta > 0 && s.delta < 1, "plan: delta is ", s.delta, ", wanted in (0, 1)");
  // These bounds keep 2^F / C and C * 2^-F far from overflow and underflow (clip_kernels.h).
  PG_CHECK_AS(PrivacyError, s.clip_norm >= 1e-20 && s.clip_norm <= 1e20, "plan: clip_norm is ", s.clip_norm,
              ", wanted in [1e-20, 1e20]");
  PG_CHECK(s.expected_batch > 0 && s.expected_batch <= 0x1p53, "plan: expected_batch is ", s.expected_batch,
           ", wanted in (0, 2^53]");
  PG_CHECK(s.steps >= 1, "plan: steps is ", s.steps, ", wanted >= 1");
  PG_CHECK(s.grid_bits >= 30 && s.grid_bits <= 44, "plan: grid_bits is ", s.grid_bits, ", wanted 30 to 44");
  PG_CHECK(s.units == "example" || s.units == "microbatch", "plan: units is '", s.units,
           "', wanted example or microbatch");
  PG_CHECK(microbatches() ? s.microbatch_size >= 2 : s.microbatch_size == 0, "plan: microbatch_size is ",
           s.microbatch_size, ", wanted ", microbatches() ? ">= 2" : "0 where each example is a unit");
  PG_CHECK(s.noise_source == "secure" || s.noise_source == "reproducible", "plan: noise_source is '",
           s.noise_source, "', wanted secure or reproducible");
  PG_CHECK(std::ranges::all_of(s.pool, [](char c) { return c >= ' ' && c <= '~' && c != '"' && c != '\\'; }),
           "plan: pool: wanted printable ASCII without quotes and backslashes");

  // Range proof: a row's coordinate is <= 2^F, so a sum over at most N rows is <= N * 2^F <= 2^61 in
  // magnitude; the noise is < 64 * 2^54 = 2^60 (discrete_gaussian.h); together they stay below 2^62.
  PG_CHECK_AS(PrivacyError, s.max_examples >= 1 && s.max_examples <= int64_t{1} << (61 - s.grid_bits),
              "plan: max_examples is ", s.max_examples, ", wanted 1 to 2^", 61 - s.grid_bits);
  const double noise_std = std::ldexp(s.noise_multiplier, s.grid_bits);
  PG_CHECK_AS(PrivacyError, noise_std >= 0x1p20 && noise_std <= 0x1p54, "plan: noise_multiplier is ",
              s.noise_multiplier, ", wanted 2^", 20 - s.grid_bits, " to 2^", 54 - s.grid_bits);

  // ldexp is exact. floor changes nothing from q = 2^-11 up (53 bits fit above the point), and leaves fewer
  // than 53 bits below: so the way back to a double is exact too.
  everybody_joins_ = s.sampling_rate == 1;
  if (!everybody_joins_) {
    threshold_ = static_cast<uint64_t>(std::floor(std::ldexp(s.sampling_rate, 64)));
    s.sampling_rate = std::ldexp(static_cast<double>(threshold_), -64);
  }
  hash_ = sha256_hex(canonical_text());
}

std::string Plan::threshold_text() const {
  return everybody_joins_ ? "18446744073709551616" : std::to_string(threshold_);
}

int64_t Plan::buckets() const {
  const auto size = static_cast<double>(settings_.microbatch_size);
  return std::max<int64_t>(1, std::llround(settings_.expected_batch / size));
}

double Plan::divisor() const {
  return microbatches() ? static_cast<double>(buckets()) : settings_.expected_batch;
}

int64_t Plan::noise_std_on_grid() const {
  return static_cast<int64_t>(std::ceil(std::ldexp(settings_.noise_multiplier, settings_.grid_bits)));
}

std::string Plan::canonical_text() const {
  const PlanSettings& s = settings_;
  return concat("adjacency=add_remove\nsampling_rate=", text_of(s.sampling_rate),
                "\nsampling_threshold=", threshold_text(), "\nnoise_multiplier=", text_of(s.noise_multiplier),
                "\nclip_norm=", text_of(s.clip_norm), "\nsteps=", s.steps,
                "\nexpected_batch=", text_of(s.expected_batch), "\ndelta=", text_of(s.delta),
                "\nmax_examples=", s.max_examples, "\ngrid_bits=", s.grid_bits, "\nunits=", s.units,
                "\nmicrobatch_size=", s.microbatch_size, "\npool=", s.pool, "\nnoise_source=", s.noise_source,
                "\n");
}

}  // namespace pergrad::dp
