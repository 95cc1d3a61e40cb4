// Writing and reading checkpoints.
#include "apps/checkpoint.h"

#include "apps/atomic_file.h"
#include "apps/safetensors.h"
#include "apps/torch_layout.h"
#include "core/error.h"
#include "core/hash.h"
#include "layers/coordinates.h"

#include <nlohmann/json.hpp>

#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <set>

namespace fs = std::filesystem;

namespace pergrad::apps {
namespace {

constexpr const char* kAnyFormat = "pergrad checkpoint ";
constexpr const char* kFormat = "pergrad checkpoint 1";
constexpr const char* kNextFile = "checkpoint.next.safetensors";
const std::string kEma = "ema.";
const std::string kOptimizer = "optimizer.";

// ---- a file as it lies on the disk -----------------------------------------------------------------------

// The checksum is of the file with zeros in its own place.
const std::string kNoChecksum(64, '0');
std::string checksum_field(const std::string& value) { return "\"checksum\":\"" + value + '"'; }

void seal(std::string& bytes) {
  const size_t at = bytes.find(checksum_field(kNoChecksum));
  PG_CHECK(at != std::string::npos, "checkpoint: no place for the checksum");
  bytes.replace(at, checksum_field(kNoChecksum).size(), checksum_field(sha256_hex(bytes)));
}

// A checkpoint whose bytes are those that were written.   THROWS: Error, FormatError.
Safetensors read_sealed(const fs::path& path) {
  Safetensors file(read_file(path), shown(path));
  const auto format = file.metadata().find("format_version");
  PG_CHECK_AS(FormatError, format != file.metadata().end(), shown(path),
              ": not a checkpoint of this program; weights of another one are for evaluate --config");
  PG_CHECK_AS(FormatError, format->second == kFormat, shown(path), ": is \"", printable(format->second),
              "\", wanted ", kFormat);
  const auto checksum = file.metadata().find("checksum");
  PG_CHECK_AS(FormatError, checksum != file.metadata().end(), shown(path), ": has no checksum");
  std::string bytes = file.file();
  const size_t at = bytes.find(checksum_field(checksum->second));
  PG_CHECK_AS(FormatError, at != std::string::npos && checksum->second.size() == kNoChecksum.size(),
              shown(path), ": has a damaged checksum");
  bytes.replace(at, checksum_field(kNoChecksum).size(), checksum_field(kNoChecksum));
  PG_CHECK_AS(FormatError, sha256_hex(bytes) == checksum->second, shown(path),
              ": the checksum is wrong: the file is damaged");
  return file;
}

// A damaged file must not take the place of a good one.
bool can_be_read(const fs::path& path) {
  try {
    read_sealed(path);
    return true;
  } catch (const Error&) {
    return false;
  }
}

struct Opened {
  Safetensors file;
  fs::path path;
  std::string warning;
};

// The newest generation that can be read, or the file itself.
Opened open_checkpoint(const fs::path& path) {
  if (!is_folder(path)) return {read_sealed(path), path, ""};
  const fs::path newest = path / kCheckpointFile, previous = path / kPreviousCheckpointFile;
  PG_CHECK(has_checkpoint(path), shown(path), ": no ", kCheckpointFile, " in it");
  std::string problem;
  try {
    return {read_sealed(newest), newest, ""};
  } catch (const Error& error) {
    problem = error.what();
  }
  try {
    return {read_sealed(previous), previous,
            concat(problem, "; going on with the one before, ", kPreviousCheckpointFile)};
  } catch (const Error&) {
    throw FormatError(concat(problem, "; nor can ", kPreviousCheckpointFile, " be read"));
  }
}

// ---- metadata --------------------------------------------------------------------------------------------

std::map<std::string, std::string> metadata_of(const CheckpointInfo& info, const Ema* ema,
                                               const Optimizer* optimizer) {
  nlohmann::json names = nlohmann::json::array();
  for (const std::string& name : info.class_names) names.push_back(printable(name));
  std::map<std::string, std::string> metadata = {
      {"format_version", kFormat},
      {"format", "pt"},  // what transformers and others look for
      {"checksum", kNoChecksum},
      {"config_hash", info.config_hash},
      {"config", info.config_toml},
      {"plan_hash", info.plan_hash},
      {"dataset_tag", info.dataset_tag},
      {"ledger_head", info.ledger_head},
      {"model", info.model_title},
      {"class_names", names.dump()},
      {"image", concat(info.height, ' ', info.width, ' ', info.channels)},
      {"labels", concat(info.labels)},
      {"step", concat(info.step)},
  };
  if (ema) metadata["ema_updates"] = concat(ema->updates());
  if (optimizer) metadata["optimizer_steps"] = concat(optimizer->steps());
  return metadata;
}

// Reads metadata by name; every refusal names file and key.
class Metadata {
 public:
  Metadata(const Safetensors& file, const fs::path& path) : values_(file.metadata()), path_(path) {}

  std::string text(const std::string& key) const {
    const auto found = values_.find(key);
    PG_CHECK_AS(FormatError, found != values_.end(), shown(path_), ": has no ", key, " in its metadata");
    return found->second;
  }
  bool has(const std::string& key) const { return values_.contains(key); }
  // `how_many` numbers >= 0.
  std::vector<int64_t> numbers(const std::string& key, size_t how_many) const {
    const std::string all = text(key);
    std::vector<int64_t> out;
    for (const char *at = all.data(), *end = at + all.size(); at != end;) {
      int64_t value = 0;
      const auto [next, error] = std::from_chars(at, end, value);
      PG_CHECK_AS(FormatError, error == std::errc() && value >= 0 && (next == end || *next == ' '),
                  shown(path_), ": ", key, " is \"", printable(all), "\", wanted numbers");
      out.push_back(value);
      at = next == end ? end : next + 1;
    }
    PG_CHECK_AS(FormatError, out.size() == how_many, shown(path_), ": ", key, " is \"", printable(all),
                "\", wanted numbers");
    return out;
  }
  int64_t number(const std::string& key) const { return numbers(key, 1)[0]; }
  std::vector<std::string> names(const std::string& key) const {
    try {
      return nlohmann::json::parse(text(key)).get<std::vector<std::string>>();
    } catch (const nlohmann::json::exception&) {
      throw FormatError(concat(shown(path_), ": ", key, " is not a list of names"));
    }
  }

 private:
  const std::map<std::string, std::string>& values_;
  const fs::path& path_;
};

CheckpointRead read_info(const Opened& opened) {
  const Metadata metadata(opened.file, opened.path);
  CheckpointRead read;
  read.file = opened.path;
  read.warning = opened.warning;
  CheckpointInfo& info = read.info;
  info.config_hash = metadata.text("config_hash");
  info.config_toml = metadata.text("config");
  info.plan_hash = metadata.text("plan_hash");
  info.dataset_tag = metadata.text("dataset_tag");
  info.ledger_head = metadata.text("ledger_head");
  info.model_title = metadata.text("model");
  info.class_names = metadata.names("class_names");
  const std::vector<int64_t> image = metadata.numbers("image", 3);
  info.height = image[0];
  info.width = image[1];
  info.channels = image[2];
  info.labels = metadata.number("labels");
  info.step = metadata.number("step");
  info.has_ema = metadata.has("ema_updates");
  return read;
}

// ---- tensors ---------------------------------------------------------------------------------------------

// All parameters in PyTorch's layout, one after the other, and the arrays that name them; `values` [P], on
// any device.
void add_weights(const std::string& prefix, const Parameters& parameters, const Tensor& values,
                 std::vector<float>& storage, std::vector<NamedArray>& arrays) {
  PG_CHECK(values.dtype() == DType::f32 && values.size() == parameters.size(), "checkpoint: got ",
           to_string(values.shape()), ", wanted [", parameters.size(), "] floats");
  const Tensor flat = on_device(values, {});
  add_in_torch_layout(prefix, parameters, flat.data<float>(), storage, arrays);
}

// Every array in the file is one of the model's. A checkpoint has averages and an optimizer beside the
// weights.
void check_no_unknown(const Safetensors& file, const Parameters& parameters, bool checkpoint) {
  std::set<std::string> known;
  for (const auto& entry : parameters.layout().entries) {
    known.insert(entry.name);
    if (checkpoint) known.insert(kEma + entry.name);
  }
  for (const auto& entry : file.entries())
    PG_CHECK_AS(FormatError, known.contains(entry.name) || (checkpoint && entry.name.starts_with(kOptimizer)),
                file.name(), ": \"", printable(entry.name), "\" is not in the model");
}

}  // namespace

void save_checkpoint(const fs::path& folder, const CheckpointInfo& info, const Parameters& parameters,
                     const Ema* ema, const Optimizer* optimizer) {
  std::vector<NamedArray> arrays;
  std::vector<float> raw, averaged;
  add_weights("", parameters, parameters.flat(), raw, arrays);
  if (ema) add_weights(kEma, parameters, ema->values(), averaged, arrays);
  std::vector<Optimizer::State> state = optimizer ? optimizer->state() : std::vector<Optimizer::State>();
  for (auto& [name, value] : state) {
    value = on_device(value, {});
    arrays.push_back(
        {kOptimizer + name, ArrayType::f32, value.shape(), bytes_of(value.data<float>(), value.size())});
  }
  std::string bytes = safetensors_bytes(std::move(arrays), metadata_of(info, ema, optimizer));
  seal(bytes);

  // The new one is on the disk before either of the old ones is touched; each rename replaces at once.
  const fs::path newest = folder / kCheckpointFile, previous = folder / kPreviousCheckpointFile;
  const fs::path next = folder / kNextFile;
  write_file_atomically(next, bytes);
  if (can_be_read(newest)) {
    const fs::path second_name = folder / ".checkpoint.link";
    ::unlink(second_name.c_str());
    if (::link(newest.c_str(), second_name.c_str()) == 0) {
      PG_CHECK(::rename(second_name.c_str(), previous.c_str()) == 0, file_error("write", previous, errno));
      ::unlink(second_name.c_str());  // still there if both were the same file already
    } else {
      // No hard links here: for a moment only the previous one has a name, and loading finds it.
      PG_CHECK(::rename(newest.c_str(), previous.c_str()) == 0, file_error("write", previous, errno));
    }
  }
  PG_CHECK(::rename(next.c_str(), newest.c_str()) == 0, file_error("write", newest, errno));
  sync_folder(folder);
}

bool has_checkpoint(const fs::path& folder) {
  return path_exists(folder / kCheckpointFile) || path_exists(folder / kPreviousCheckpointFile);
}

CheckpointRead read_checkpoint_info(const fs::path& path) { return read_info(open_checkpoint(path)); }

CheckpointRead load_checkpoint(const fs::path& path, Parameters& parameters, Ema* ema, Optimizer* optimizer) {
  const Opened opened = open_checkpoint(path);
  const Metadata metadata(opened.file, opened.path);
  CheckpointRead read = read_info(opened);
  check_no_unknown(opened.file, parameters, true);
  const Tensor raw = weights_in(opened.file, "", parameters);
  Tensor averaged;
  int64_t ema_updates = 0, optimizer_steps = 0;
  if (ema) {
    averaged = weights_in(opened.file, kEma, parameters);
    ema_updates = metadata.number("ema_updates");
  }
  std::vector<Tensor> state;
  if (optimizer) {
    std::set<std::string> known;
    for (const auto& [name, value] : optimizer->state()) {
      state.push_back(Tensor::of<float>(value.shape(), opened.file.floats(kOptimizer + name, value.shape())));
      known.insert(kOptimizer + name);
    }
    for (const auto& entry : opened.file.entries())
      PG_CHECK_AS(FormatError, !entry.name.starts_with(kOptimizer) || known.contains(entry.name),
                  shown(opened.path), ": \"", printable(entry.name), "\" is not a state of this optimizer");
    optimizer_steps = metadata.number("optimizer_steps");
  }

  parameters.assign(raw);
  if (ema) ema->restore(averaged, ema_updates);
  if (optimizer) {
    const std::vector<Optimizer::State> target = optimizer->state();
    for (size_t i = 0; i < target.size(); ++i) target[i].value.assign(state[i]);
    optimizer->set_steps(optimizer_steps);
  }
  return read;
}

void load_plain_weights(const Safetensors& file, Parameters& parameters) {
  const auto format = file.metadata().find("format_version");
  PG_CHECK(format == file.metadata().end() || !format->second.starts_with(kAnyFormat), file.name(),
           ": is a checkpoint, which has a config of its own");
  check_no_unknown(file, parameters, false);
  parameters.assign(weights_in(file, "", parameters));
}

CheckpointRead load_weights(const fs::path& path, Parameters& parameters, bool averaged) {
  const Opened opened = open_checkpoint(path);
  CheckpointRead read = read_info(opened);
  PG_CHECK_AS(FormatError, !averaged || read.info.has_ema, shown(opened.path), ": has no averaged weights");
  check_no_unknown(opened.file, parameters, true);
  parameters.assign(weights_in(opened.file, averaged ? kEma : "", parameters));
  return read;
}

}  // namespace pergrad::apps
