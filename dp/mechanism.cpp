// GaussianMechanism: commit, record, draw, add.
#include "dp/mechanism.h"

#include "core/hash.h"
#include "dp/discrete_gaussian.h"

#include <algorithm>
#include <cmath>

namespace pergrad::dp {

namespace {

constexpr int64_t kNoiseBlock = 256;  // coordinates that share one ChaCha20 stream

// The only maker of noise: block `block` of `sum` plus discrete Gaussians of its own stream, scaled, as f32.
struct ReleaseBlock {
  const Key* key;
  uint64_t step;
  int64_t noise_std;  // grid steps
  double unit;        // what one grid step is worth in the result
  std::span<const int64_t> sum;
  float* out;
  void operator()(int64_t block) const {
    DiscreteGaussian noise(noise_std, ChaChaStream(*key, step, static_cast<uint32_t>(block)));
    const auto P = static_cast<int64_t>(sum.size());
    const int64_t end = std::min(P, (block + 1) * kNoiseBlock);
    for (int64_t i = block * kNoiseBlock; i < end; ++i) {
      const int64_t noisy =
          sum[static_cast<size_t>(i)] + noise.next();  // below 2^62: range proof in plan.cpp
      out[i] = static_cast<float>(static_cast<double>(noisy) * unit);
    }
  }
};

}  // namespace

GaussianMechanism::GaussianMechanism(const Plan& plan, const Key& run_key, Ledger& ledger)
    : plan_(plan),
      commitment_key_(derive_key(run_key, "commitment")),
      noise_key_(derive_key(run_key, "noise")),
      ledger_(ledger) {
  PG_CHECK_AS(PrivacyError, ledger.plan_hash() == plan.hash(), "mechanism: the ledger is of another plan");
}

PrivateGradient GaussianMechanism::release(ClippedSum&& sum, int64_t step, const CpuExec& exec) {
  PG_CHECK_AS(PrivacyError, step >= 0 && step < plan_->steps, "release: step ", step, " of ", plan_->steps,
              " planned");
  PG_CHECK_AS(PrivacyError, sum.clip_norm() == plan_->clip_norm && sum.grid_bits() == plan_->grid_bits,
              "release: the sum was made with another clip norm or grid than the plan's");
  const ClippedSum owned = std::move(sum);
  const int64_t P = owned.parameters();
  const int64_t blocks = (P + kNoiseBlock - 1) / kNoiseBlock;
  PG_CHECK(P >= 1 && blocks <= int64_t{1} << 32, "release: ", P, " parameters, wanted 1 to 2^40");

  // The tag commits to (plan, step, sum) under a key, so it says nothing to who has not the key ...
  const Key tag_key = derive_key(commitment_key_, concat("plan ", plan_.hash(), " step ", step));
  const std::span<const int64_t> values = owned.nonprivate_values();
  const std::string tag = to_hex(
      hmac_sha256(tag_key.bytes, {reinterpret_cast<const uint8_t*>(values.data()), values.size_bytes()}));
  if (before_release) before_release(step, P, tag);
  // ... it is charged before there is any noise, and the receipt keys the noise: two sums never share noise.
  const Ledger::Receipt receipt = ledger_.append(step, P, tag);
  const Key key = derive_key(noise_key_, receipt.tag);

  Tensor out = Tensor::empty({P}, DType::f32);
  const double unit = std::ldexp(plan_->clip_norm, -plan_->grid_bits) / plan_.divisor();
  exec.for_each(blocks, ReleaseBlock{&key, static_cast<uint64_t>(step), plan_.noise_std_on_grid(), unit,
                                     values, out.data<float>()});
  return PrivateGradient(std::move(out));
}

}  // namespace pergrad::dp
