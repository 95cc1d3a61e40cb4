// The mechanism itself: a sum that was released before comes back bit for bit and free; another sum in its
// step is charged and has noise of its own; and all of it is on the ledger before there is any noise.
#include "apps/audit/lifecycle.h"
#include "apps/audit/statistics.h"
#include "core/hash.h"
#include "dp/accountant.h"
#include "dp/clip_and_sum.h"
#include "dp/mechanism.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <ctime>

namespace fs = std::filesystem;

namespace pergrad::audit {
namespace {

constexpr int64_t kNumbers = 1003;  // of a release: not whole blocks of noise

// A clipped sum that depends on `which` alone: one row, longer than the clip norm or shorter.
dp::ClippedSum sum_of(const dp::Plan& plan, uint64_t which, int64_t numbers = kNumbers) {
  PhiloxStream random(20261, which);
  Tensor row = Tensor::empty({1, numbers}, DType::f32);
  for (int64_t i = 0; i < numbers; ++i)
    row.data<float>()[i] = static_cast<float>(0.1 * plan->clip_norm * random.normal());
  dp::ClippedSum sum(plan, numbers);
  dp::clip_and_sum({std::move(row), {1}}, plan, sum);
  return sum;
}

// A run's mechanism, from its start: ledger file and key.
struct Process {
  dp::Ledger ledger;
  dp::GaussianMechanism mechanism;
  Process(const fs::path& file, const dp::Plan& plan, const Key& key)
      : ledger(file.native(), plan), mechanism(plan, key, ledger) {}
  std::vector<float> release(uint64_t which, int64_t step) {
    const dp::PrivateGradient gradient = mechanism.release(sum_of(mechanism.plan(), which), step, CpuExec{1});
    const auto values = gradient.values().values<float>();
    return {values.begin(), values.end()};
  }
};

// The noise of a release of sum_of(which), in standard deviations.
std::vector<double> noise_in(const std::vector<float>& released, const dp::Plan& plan, uint64_t which) {
  const dp::ClippedSum sum = sum_of(plan, which);
  std::vector<double> z;
  for (size_t i = 0; i < released.size(); ++i)
    z.push_back((released[i] * plan.divisor() / plan->clip_norm -
                 std::ldexp(static_cast<double>(sum.nonprivate_values()[i]), -plan->grid_bits)) /
                plan->noise_multiplier);
  return z;
}

// Two releases have noise of their own: the difference has the variance of two.
void require_own_noise(Checks& checks, const std::string& what, const std::vector<double>& a,
                       const std::vector<double>& b) {
  double squares = 0;
  int64_t shared = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    squares += (a[i] - b[i]) * (a[i] - b[i]) / 2;
    shared += std::fabs(a[i] - b[i]) < 1e-5;
  }
  // 1003 numbers that are closer than 1e-5 by chance: 0.006 are expected, 6 happen once in 1e16.
  checks.require(shared < 6, what, ": ", shared, " of ", a.size(),
                 " numbers have the same noise: the difference of the releases shows that of the sums");
  checks.likely(chi_square_p(squares, static_cast<double>(a.size())), 1, what,
                ": the noise of one is not independent of the other's");
}

double cost_on(const fs::path& file, const dp::Plan& plan) {
  return dp::spent_cost(file.native(), plan->delta).epsilon_upper;
}

// While it lives no file of this process grows beyond `bytes`, as on a full disk. (The program ignores the
// signal.)
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) {
    PG_CHECK(::getrlimit(RLIMIT_FSIZE, &old_) == 0, "audit: getrlimit");
    const rlimit small{bytes, old_.rlim_max};
    PG_CHECK(::setrlimit(RLIMIT_FSIZE, &small) == 0, "audit: setrlimit");
  }
  ~FullDisk() { ::setrlimit(RLIMIT_FSIZE, &old_); }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

 private:
  rlimit old_{};
};

double processor_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace

void audit_mechanism_forks(const Subject& subject, Checks& checks) {
  const fs::path folder = subject.scratch / "forks";
  fs::create_directories(folder);
  // The subject's plan, with steps enough for this test: a fork must have company that is not one.
  dp::PlanSettings settings = *subject.plan.operator->();
  settings.steps = std::max<int64_t>(settings.steps, 8);
  const dp::Plan plan(settings);
  const Key key = derive_key(subject.random, "fork run"), other_key = derive_key(key, "other");
  const fs::path file = folder / "ledger.jsonl";
  constexpr uint64_t kA = 1, kB = 2, kC = 3;

  std::vector<std::vector<float>> first;  // steps 0 to 3, of sum A each
  std::vector<float> b0, c0;
  double clean = 0, forked = 0;
  std::string text;
  {
    Process run(file, plan, key);
    for (int64_t step = 0; step < 4; ++step) first.push_back(run.release(kA, step));
    clean = cost_on(file, plan);
    text = text_of_file(file);
    checks.require(run.release(kA, 2) == first[2], "replay: the same sum in the same step has other noise");
    checks.require(run.ledger.forks() == 0 && text_of_file(file) == text,
                   "replay: the same sum in the same step was charged again");
    b0 = run.release(kB, 0);
    checks.require(run.ledger.forks() == 1 && run.ledger.releases() == 5,
                   "fork: another sum in a step that was released is not recorded as a further release");
    forked = cost_on(file, plan);
    c0 = run.release(kC, 0);
    checks.require(run.release(kA, 0) == first[0], "replay: after forks the first branch has other noise");
    checks.require(run.ledger.forks() == 2, "fork: a replay after forks was taken for one");
  }
  checks.require(forked > clean || std::isinf(clean), "fork: two releases of a step cost ", forked,
                 ", one cost ", clean);
  // Two releases of one sample, each with noise sigma, are one with sigma / sqrt(2).
  const double sigma = plan.effective_noise_multiplier(), q = plan->sampling_rate;
  const dp::PrivacyCost wanted =
      dp::cost_of({{sigma, q, 3, kNumbers, plan.noise_std_on_grid()},
                   {sigma / std::sqrt(2.0), q, 1, 2 * kNumbers, plan.noise_std_on_grid()}},
                  plan->delta);
  checks.require(std::isinf(clean) || std::fabs(forked / wanted.epsilon_upper - 1) < 1e-3,
                 "fork: a step that was released twice costs ", forked, " in all, wanted ",
                 wanted.epsilon_upper);
  const LedgerLines lines = read_lines(file);
  checks.require(lines.releases == 6 && lines.steps == 4 && !lines.repeated_tag,
                 "fork: six releases of four steps are ", lines.releases, " lines of ", lines.steps,
                 " steps");
  checks.require(text_of_file(file).starts_with(text), "fork: lines of the ledger were rewritten");

  const std::vector<double> za = noise_in(first[0], plan, kA), zb = noise_in(b0, plan, kB),
                            zc = noise_in(c0, plan, kC);
  require_own_noise(checks, "fork: two sums in one step", za, zb);
  require_own_noise(checks, "fork: two sums in one step, the second and the third", zb, zc);
  require_own_noise(checks, "two steps of one sum", za, noise_in(first[1], plan, kA));

  // Another process, with the ledger as it is, lost, set back to its beginning, or with more on it.
  struct State {
    const char* what;
    std::string ledger;
    int64_t forks_of_b;
  };
  const std::string header = lines_of(text).at(0);
  for (const State& state :
       {State{"the ledger as it was before the fork", text, 1}, State{"the ledger deleted", "", 0},
        State{"the ledger set back to its beginning", header, 0},
        State{"all on the ledger", text_of_file(file), 2}}) {
    const fs::path copy = folder / "copy.jsonl";
    fs::remove(copy);
    if (!state.ledger.empty()) write_text(copy, state.ledger);
    Process again(copy, plan, key);
    // The noise of a release depends on nothing that this process did before.
    const std::vector<float> b = again.release(kB, 0), a2 = again.release(kA, 2), a0 = again.release(kA, 0);
    checks.require(b == b0 && a0 == first[0] && a2 == first[2], state.what,
                   ": a sum that was released before has other noise in a new process");
    require_own_noise(checks, concat(state.what, ": two sums in one step"), za, noise_in(b, plan, kB));
    checks.require(again.ledger.releases() >= 3, state.what, ": three releases are not on the ledger");
    checks.require(state.forks_of_b == 0 || again.ledger.forks() == state.forks_of_b, state.what, ": ",
                   again.ledger.forks(), " forks, wanted ", state.forks_of_b);
  }

  // Another key, or another plan, has other noise even for the same sum and step.
  Process other(folder / "other.jsonl", plan, other_key);
  require_own_noise(checks, "another run key", za, noise_in(other.release(kA, 0), plan, kA));
  settings.delta /= 2;
  const dp::Plan other_plan(settings);
  Process replanned(folder / "replanned.jsonl", other_plan, key);
  require_own_noise(checks, "another plan", za, noise_in(replanned.release(kA, 0), other_plan, kA));
  checks.found(fmt::format(
      "of two sums in one step each has noise of its own, whether the ledger is there, set back or deleted; "
      "the second is charged (epsilon {:.4g} for {:.4g}); a sum that was released before costs nothing",
      forked, clean));
}

void audit_write_ahead(const Subject& subject, Checks& checks) {
  const fs::path folder = subject.scratch / "write-ahead";
  fs::create_directories(folder);
  const dp::Plan& plan = subject.plan;
  const Key key = derive_key(subject.random, "write-ahead run");

  // The line is on the disk before the noise is drawn. Seen from outside: the file was written long before
  // the release was done. Noise for so many numbers takes a while, and at least the processor's time for it;
  // how much that is, a replay tells, which draws the same noise and writes nothing.
  constexpr int64_t kMany = 4'000'000;
  double hash = 0, replay = 0, most = 0;
  {
    const fs::path file = folder / "large.jsonl";
    dp::Ledger ledger(file.native(), plan);
    dp::GaussianMechanism mechanism(plan, key, ledger);
    const auto seconds_of_release = [&](int64_t step) {
      dp::ClippedSum sum(plan, kMany);
      const double begin = processor_seconds();
      (void)mechanism.release(std::move(sum), step, CpuExec{1});
      return processor_seconds() - begin;
    };
    const std::vector<uint8_t> bytes(kMany * sizeof(int64_t));
    const double begin = processor_seconds();
    (void)hmac_sha256(key.bytes, bytes);
    hash = processor_seconds() - begin;
    for (int64_t attempt = 0; attempt < 2; ++attempt) {
      const int64_t step = std::min<int64_t>(attempt, plan->steps - 1);
      (void)seconds_of_release(step);
      timespec now{};
      ::clock_gettime(CLOCK_REALTIME_COARSE, &now);  // what files are stamped with
      struct stat status {};
      PG_CHECK(::stat(file.c_str(), &status) == 0, "audit: stat");
      const double after = static_cast<double>(now.tv_sec - status.st_mtim.tv_sec) +
                           1e-9 * static_cast<double>(now.tv_nsec - status.st_mtim.tv_nsec);
      if (attempt == 0 || step > 0) most = std::max(most, after);
      const double again = seconds_of_release(step);
      replay = attempt == 0 ? again : std::min(replay, again);
    }
  }
  fs::remove_all(folder / "large.jsonl");
  const double noise = replay - hash;
  checks.require(most > noise / 4, "write-ahead: the ledger's line was written ", 1e3 * most,
                 " ms before the release was done, its noise takes ", 1e3 * noise,
                 " ms: it is not charged before it is drawn");

  // A line that cannot be written: nothing is released, the file is as before, and later all is as it was.
  const fs::path file = folder / "ledger.jsonl";
  std::vector<float> undisturbed;
  {
    Process run(folder / "undisturbed.jsonl", plan, key);
    (void)run.release(1, 0);
    undisturbed = run.release(2, 0);
  }
  int64_t refused = 0;
  const auto line = static_cast<rlim_t>(lines_of(text_of_file(folder / "undisturbed.jsonl")).at(1).size());
  for (const rlim_t room : {rlim_t{0}, rlim_t{1}, line / 2, line - 1}) {
    fs::remove(file);
    {
      Process run(file, plan, key);
      (void)run.release(1, 0);
      const std::string before = text_of_file(file);
      for (const bool full : {true, false}) {
        std::optional<FullDisk> disk;
        if (full) disk.emplace(before.size() + room);
        try {
          (void)run.release(2, 0);
          checks.require(false, "full disk: a release whose line had ", room, " bytes of room was made");
        } catch (const Error&) {
          // Once a write has failed the ledger says no until it is opened again.
          ++refused;
        }
        disk.reset();
        checks.require(text_of_file(file) == before, "full disk: the ledger is not what it was before");
      }
    }
    Process again(file, plan, key);
    checks.require(again.release(2, 0) == undisturbed, "full disk: the release has other noise afterwards");
    checks.require(text_of_file(file) == text_of_file(folder / "undisturbed.jsonl"),
                   "full disk: the ledger is not what it would have been");
  }
  checks.require(refused == 8, "full disk: ", refused, " of 8 releases were refused");
  checks.found(fmt::format(
      "a release is on the ledger before its noise is drawn ({:.0f} ms before it was done; drawing "
      "takes about {:.0f} ms); where the line cannot be written nothing is released",
      1e3 * most, 1e3 * noise));
}

}  // namespace pergrad::audit
