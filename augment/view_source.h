// ViewSource: the views of the examples of a step, one row per unit, rows in parallel.
//
// 1. Row n is a function of (augment key, step, the examples of units[n]) and of public data: not of the
//    other rows, of the order, of the number of threads or of what was asked for before.
// 2. A unit has one id, unless groups were announced; a group that was not announced is refused.
// 3. Every number of a batch is written, padding included: no memory of an earlier batch shows through.
#pragma once

#include "augment/augmenter.h"
#include "augment/microbatch_mix.h"
#include "augment/view_kernels.h"
#include "core/dataset.h"
#include "core/row_memory.h"
#include "core/sources.h"

#include <span>
#include <vector>

namespace pergrad::augment {

// Groups as units; the default is none. See microbatch_mix.h for what it does to the sensitivity.
struct Microbatches {
  int64_t largest_unit = 1;  // ids in a unit, at most
  GroupMix mix = GroupMix::none;
};

// What a device needs, beside data that stays there, to make the views of N rows with view_kernels.h: M lists
// a row, one for each example of its unit, V recipes a list. Images come out as [N,M*V,H,W,C].
struct ViewPlan {
  int64_t rows = 0, lists = 0, views = 0;  // N; M = the largest unit announced; V = Augmenter::views()
  std::vector<int64_t> ids;                // [N,M] by rising id, then -1: a list without an example
  std::vector<ViewRecipe> recipes;         // [N,M,V]
  std::vector<float> weights;              // [N,M*V], as in ExampleBatch
};

class ViewSource final : public ExampleSource {
 public:
  // data and pool outlive the source; pool may be null where settings.pool is 0. augment_key: of augmentation
  // only.
  //   THROWS: Error for settings that mean nothing, PrivacyError for a pool that is the data itself.
  ViewSource(const Dataset& data, const AugmentSettings& settings, const Normalisation& normalisation,
             const Key& augment_key, const PublicPool* pool, CpuExec exec, Microbatches microbatches = {});

  // One row per unit, V = row_views() views each.
  //   One id: its V views, weight 1/V.   M ids: the views of all members by rising id (and their mixes), with
  //   equal weight, then zero images of weight 0 up to V, which is that of the largest unit announced: V
  //   never depends on the rest of the batch.   No id: a padding row: zeros, weight 0, is_real 0. THROWS:
  //   Error for an id that is not in the data or twice in a unit, or a unit that is too large. Memory:
  //   tensors go back to this source's memory with their last owner, so steps after the first allocate
  //   nothing. Any thread may call this.
  ExampleBatch views(std::span<const Unit> units, int64_t step) override;
  bool takes_threads() const override { return true; }

  // The same batch as a plan: WriteView and WriteTarget make the very numbers of views(units, step) from it.
  //   plan: overwritten; its memory is used again.
  //   THROWS: what views() does; Error where micro-batches are mixed, which is done on the CPU only.
  void draw(std::span<const Unit> units, int64_t step, ViewPlan& plan) const;
  // Points into the memory of this source and its pool: for upload, or for running on the CPU.
  PublicInputs public_inputs() const;

  // V of every batch.
  int64_t row_views() const;
  // Views of different members of a unit are mixed with each other.
  bool mixes_within_units() const { return mixer_.mode() != GroupMix::none; }
  const AugmentSettings& settings() const { return augmenter_.settings(); }

 private:
  struct Row;  // where one unit's numbers go
  void write_row(const Unit& unit, int64_t step, const Row& row) const;
  std::vector<int64_t> members_of(const Unit& unit) const;

  const Dataset& data_;
  Augmenter augmenter_;
  Key augment_key_;
  Key microbatch_key_;  // of the mixes within a unit
  const PublicPool* pool_;
  CpuExec exec_;
  int64_t largest_unit_;
  MicrobatchMixer mixer_;
  RowMemory memory_;
};

}  // namespace pergrad::augment
