// Checkpoints: a model in training, as one safetensors file that PyTorch reads.
//
// 1. RUN_DIR/checkpoint.safetensors is whole at every moment, or checkpoint.previous.safetensors is: a new
//    one is written beside them, synced, and takes its place by rename.
// 2. Raw weights are under their own names in PyTorch's layouts (conv OIHW, linear [L, C]); averaged ones
//    under "ema." + name; the optimizer's state [P] under "optimizer." + name. Saved and loaded back, every
//    bit is the same.
// 3. The device is no part of it: a model on a GPU gives the bytes that it would give on the processor, and
//    what one device wrote another one goes on with.
// 4. A checksum over the whole file is in its metadata: a file that was cut or changed is not a checkpoint.
#pragma once

#include "apps/safetensors.h"
#include "layers/ema.h"
#include "layers/optimizer.h"
#include "layers/parameters.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace pergrad::apps {

inline constexpr const char* kCheckpointFile = "checkpoint.safetensors";
inline constexpr const char* kPreviousCheckpointFile = "checkpoint.previous.safetensors";

// What a checkpoint says about itself (the safetensors metadata).
struct CheckpointInfo {
  std::string config_hash;
  std::string config_toml;  // resolved_toml: the checkpoint alone can be evaluated
  std::string plan_hash;    // empty without privacy
  std::string dataset_tag;  // RunFolder::dataset_tag(): keyed: tells nothing of the data without the run key
  std::string ledger_head;  // empty without privacy
  std::string model_title;  // "wide_resnet-16-4"
  std::vector<std::string> class_names;  // [L], or empty
  int64_t height = 0, width = 0, channels = 0, labels = 0;
  int64_t step = 0;  // updates done: training goes on with this step
  bool has_ema = false;
};

// Writes RUN_DIR/checkpoint.safetensors; the one before stays as checkpoint.previous.safetensors. ema and
// optimizer may be null.   THROWS: Error; the old files are intact then.
void save_checkpoint(const std::filesystem::path& run_folder, const CheckpointInfo& info,
                     const Parameters& parameters, const Ema* ema, const Optimizer* optimizer);

// Whether there is any generation of a checkpoint.
bool has_checkpoint(const std::filesystem::path& run_folder);

struct CheckpointRead {
  CheckpointInfo info;
  std::filesystem::path file;  // which one it was
  std::string warning;         // one line if the newest could not be read and the previous one was taken
};

// Reads only what it says about itself. `path`: a run's folder (newest readable generation) or a file.
//   THROWS: Error, FormatError.
CheckpointRead read_checkpoint_info(const std::filesystem::path& path);

// Reads a checkpoint into a model of the same names and shapes (and ema and optimizer where not null).
//   THROWS: FormatError naming the tensor that is missing, unknown or has another shape or dtype; nothing was
//   changed then. Only a file that cannot be read or whose checksum is wrong leads to the one before.
CheckpointRead load_checkpoint(const std::filesystem::path& path, Parameters& parameters, Ema* ema,
                               Optimizer* optimizer);
// The averaged weights (FormatError if there are none) or the raw ones, for evaluation.
CheckpointRead load_weights(const std::filesystem::path& path, Parameters& parameters, bool averaged);
// Weights that another program wrote, as safetensors.torch.save_file does: every parameter under its name in
// PyTorch's layout, and nothing else.   THROWS: Error, FormatError as above; nothing was changed then.
void load_plain_weights(const Safetensors& file, Parameters& parameters);

}  // namespace pergrad::apps
