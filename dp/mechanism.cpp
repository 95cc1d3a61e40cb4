// GaussianMechanism: commit, record, draw, add.
#include "dp/mechanism.h"

#include "core/hash.h"
#include "dp/gpu.h"
#include "dp/sampler.h"

#include <cmath>

namespace pergrad::dp {

GaussianMechanism::GaussianMechanism(const Plan& plan, const Key& run_key, Ledger& ledger)
    : plan_(plan),
      commitment_key_(derive_key(run_key, "commitment")),
      noise_key_(derive_key(run_key, "noise")),
      sampler_(PoissonSampler(plan, run_key, 0).name()),
      ledger_(ledger) {
  PG_CHECK_AS(PrivacyError, ledger.plan_hash() == plan.hash(), "mechanism: the ledger is of another plan");
}

PrivateGradient GaussianMechanism::release(ClippedSum&& sum, int64_t step, const CpuExec& exec) {
  PG_CHECK_AS(PrivacyError, step >= 0 && step < plan_->steps, "release: step ", step, " of ", plan_->steps,
              " planned");
  PG_CHECK_AS(PrivacyError, sum.made_for(plan_),
              "release: the sum was made with another clip norm or grid than the plan's");
  const ClippedSum owned = std::move(sum);
  const int64_t P = owned.parameters();
  const int64_t blocks = (P + kNoiseBlock - 1) / kNoiseBlock;
  PG_CHECK(P >= 1 && blocks <= int64_t{1} << 32, "release: ", P, " parameters, wanted 1 to 240 * 2^32");

  // The tag commits to (plan, step, sum) under a key, so it says nothing to who has not the key ...
  const Key tag_key = derive_key(commitment_key_, concat("plan ", plan_.hash(), " step ", step));
  const std::span<const int64_t> here = owned.nonprivate_values();
  const std::string tag =
      to_hex(hmac_sha256(tag_key.bytes, {reinterpret_cast<const uint8_t*>(here.data()), here.size_bytes()}));
  if (before_release) before_release(step, P, tag);
  // ... it is charged before there is any noise, and the receipt keys the noise: two sums never share noise.
  const Ledger::Receipt receipt = ledger_.append(step, P, tag, sampler_);
  const Key key = derive_key(noise_key_, receipt.tag);

  static const GaussianBins bins;
  Tensor out = Tensor::empty({P}, DType::f32, owned.device());
  const double unit = std::ldexp(plan_->clip_norm, -plan_->grid_bits) / plan_.divisor();
  const ChaChaStart start(key, static_cast<uint64_t>(step), 0);
  const int64_t* values = owned.nonprivate_device_values();
  const ReleaseBlock<ChaChaStream> noisy{&bins, start,  plan_.noise_std_on_grid(), unit,
                                         P,     values, out.device_data<float>()};
  if (owned.device().is_cpu())
    exec.for_each(blocks, noisy);
  else
    release_on_gpu(noisy, blocks, owned.device());
  return PrivateGradient(std::move(out));
}

}  // namespace pergrad::dp
