// How to run a case: outputs, gradients, guard words, difference quotients.
#include "tests/support/op_runs.h"

#include "tests/support/guards.h"

namespace pergrad::test {
namespace {

// losses[n] = <c[n], y[n]>: what turns any output into a loss.
struct Project : Node {
  Var y;
  Tensor c;
  const char* name() const override { return "project"; }
  void backward(Tape& tape, const Tensor& dy) override {
    Tensor g = tape.empty(c.shape());
    const int64_t row = c.size() / c.dim(0);
    dispatch(c.dtype(), [&]<class T>() {
      for (int64_t i = 0; i < c.size(); ++i) g.data<T>()[i] = c.data<T>()[i] * dy.data<T>()[i / row];
    });
    tape.accumulate(y, std::move(g));
  }
};

Var project(Tape& tape, Var y, const Tensor& c) {
  const Tensor& value = tape.value(y);
  PG_CHECK(value.shape() == c.shape(), "project: ", to_string(value.shape()), " by ", to_string(c.shape()));
  Tensor losses = tape.empty({c.dim(0)});
  const int64_t row = c.size() / c.dim(0);
  dispatch(c.dtype(), [&]<class T>() {
    for (int64_t n = 0; n < c.dim(0); ++n) {
      double sum = 0;
      for (int64_t i = n * row; i < (n + 1) * row; ++i)
        sum += static_cast<double>(c.data<T>()[i]) * value.data<T>()[i];
      losses.data<T>()[n] = static_cast<T>(sum);
    }
  });
  auto node = std::make_unique<Project>();
  node->y = y;
  node->c = c;
  return tape.record(std::move(losses), std::move(node));
}

}  // namespace

CaseData select_rows(const CaseData& data, const std::vector<int64_t>& rows) {
  CaseData some;
  some.weights = data.weights;
  for (const Tensor& x : data.inputs) some.inputs.push_back(pick_rows(x, rows));
  some.coefficients = pick_rows(data.coefficients, rows);
  return some;
}

CaseRun run_case(const OpCase& c, const CaseData& data, GuardedWorkspace* guards) {
  constexpr double kSlabGuard = -777.25;
  constexpr int64_t kGuardColumns = 4;
  const Recording recording(c, data);
  const DType type = data.coefficients.dtype();
  const int64_t rows = data.rows(), columns = recording.weights.columns();
  Workspace own;
  Workspace& workspace = guards ? guards->workspace() : own;
  CaseRun run;
  const auto check = [&](bool intact, const std::string& what) {
    if (guards && !intact) run.overrun += what + "; ";
  };

  // A guard row behind the slab, guard columns behind each row (set to zero with it, to be left at zero).
  const Tensor slab = Tensor::empty({rows + 1, columns + kGuardColumns}, type);
  slab.fill(kSlabGuard);
  WeightSlots slots(recording.weights, slab.rows(0, rows), workspace);
  Tape tape(recording.weights, &slots, workspace);
  const std::vector<Var> inputs = recording.inputs(tape, c, data);
  const Var y = recording.record(tape, inputs);
  run.output = tape.value(y).clone();
  check(!guards || guards->intact(tape.value(y)), "output");
  tape.backward(project(tape, y, data.coefficients));
  slots.finish();

  for (size_t i = 0; i < inputs.size(); ++i) {
    const Tensor& gradient = tape.gradient(inputs[i]);
    PG_CHECK(gradient.defined() == c.inputs[i].differentiable, c.name, ": gradient of input ", i);
    if (!gradient.defined()) {
      run.input_gradients.emplace_back();
      continue;
    }
    check(!guards || guards->intact(gradient), concat("gradient of input ", i));
    run.input_gradients.push_back(gradient.clone());
  }
  run.weight_gradients = Tensor::empty({rows, columns}, type);
  dispatch(type, [&]<class T>() {
    const T* from = slab.data<T>();
    for (int64_t n = 0; n < rows; ++n, from += columns + kGuardColumns) {
      std::copy_n(from, columns, run.weight_gradients.data<T>() + n * columns);
      for (int64_t i = 0; i < kGuardColumns; ++i)
        check(from[columns + i] == T{0}, concat("columns behind row ", n, " of the slab"));
    }
    for (int64_t i = 0; i < columns + kGuardColumns; ++i)
      check(from[i] == static_cast<T>(kSlabGuard), "row behind the slab");
  });
  if (guards) check(guards->sufficed(), "(the stock of guarded buffers was too small)");
  return run;
}

Tensor in_bf16(const Tensor& t) {
  Tensor out = Tensor::empty(t.shape(), DType::bf16);
  for (int64_t i = 0; i < t.size(); ++i) out.data<bf16>()[i] = to_bf16(t.data<float>()[i]);
  return out;
}
Tensor in_float(const Tensor& t) {
  Tensor host = t.to(Device{});
  if (host.dtype() == DType::f32) return host;
  Tensor out = Tensor::empty(host.shape(), DType::f32);
  for (int64_t i = 0; i < host.size(); ++i) out.data<float>()[i] = to_float(host.data<bf16>()[i]);
  return out;
}

CaseRun run_case_on_gpu(const OpCase& c, const CaseData& data, Device device,
                        const GpuConvSettings& settings) {
  const bool half = settings.precision == Precision::bf16;
  CaseData there;
  for (const Tensor& x : data.inputs)  // images are activations; what is smaller is float at all times
    there.inputs.push_back((half && x.rank() == 5 ? in_bf16(x) : x).to(device));
  for (const Tensor& w : data.weights) there.weights.push_back(w.to(device));
  const Recording recording(c, there, WeightTape(device, settings));
  const int64_t rows = data.rows(), columns = recording.weights.columns();
  CaseRun run;
  Workspace workspace(device);
  const Tensor slab = Tensor::empty({rows + 1, columns + 3}, DType::f32, device);
  slab.fill(-777.25);
  WeightSlots slots(recording.weights, slab.rows(0, rows), workspace);
  Tape tape(recording.weights, &slots, workspace);
  const std::vector<Var> inputs = recording.inputs(tape, c, there);
  const Var y = recording.record(tape, inputs);
  run.output = in_float(tape.value(y));
  tape.backward(seed(tape, y,
                     tape.value(y).dtype() == DType::bf16 ? in_bf16(data.coefficients).to(device)
                                                          : data.coefficients.to(device)));
  slots.finish();
  for (const Var x : inputs)
    run.input_gradients.push_back(tape.gradient(x).defined() ? in_float(tape.gradient(x)) : Tensor());
  const Tensor host = slab.to(Device{});
  run.weight_gradients = Tensor::empty({rows, columns}, DType::f32);
  for (int64_t n = 0; n <= rows; ++n) {
    const float* from = host.data<float>() + n * (columns + 3);
    for (int64_t i = n < rows ? columns : 0; i < columns + 3; ++i)
      if (from[i] != -777.25f) run.overrun = concat("slab: row ", n, " column ", i);
    if (n < rows) std::copy_n(from, columns, run.weight_gradients.data<float>() + n * columns);
  }
  return run;
}

std::vector<double> case_losses(const OpCase& c, const CaseData& data) {
  const Recording recording(c, data);
  Workspace workspace;
  Tape tape(recording.weights, nullptr, workspace);
  const Var y = recording.record(tape, recording.inputs(tape, c, data));
  const auto losses = tape.value(project(tape, y, data.coefficients)).values<double>();
  return {losses.begin(), losses.end()};
}

std::vector<double> difference_quotient(const std::function<std::vector<double>()>& losses, double& entry,
                                        bool straight) {
  const double middle = entry, step = straight ? 0.5 : 1e-3;
  const auto at = [&](double shift) {
    entry = middle + shift;
    return losses();
  };
  std::vector<double> slope = at(step);
  const std::vector<double> below = at(-step);
  for (size_t n = 0; n < slope.size(); ++n) slope[n] = (slope[n] - below[n]) / (2 * step);
  if (!straight) {  // (4 D(h) - D(2h)) / 3: the error falls from h^2 to h^4
    const std::vector<double> far = at(2 * step), near = at(-2 * step);
    for (size_t n = 0; n < slope.size(); ++n) slope[n] = (4 * slope[n] - (far[n] - near[n]) / (4 * step)) / 3;
  }
  entry = middle;
  return slope;
}

}  // namespace pergrad::test
