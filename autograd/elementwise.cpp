// relu, tanh, add.
#include "autograd/elementwise_kernels.h"
#include "autograd/ops.h"

namespace pergrad {
namespace {

// kernel(i) for all i; those that networks spend time in, in wider registers where there are some.
template <class Kernel>
void for_each(Tape& tape, int64_t n, const Kernel& kernel) {
  tape.for_each(n, kernel);
}
PG_CLONES void in_registers(int64_t n, const kernels::ReluForward<float>& kernel) {
  for (int64_t i = 0; i < n; ++i) kernel(i);
}
PG_CLONES void in_registers(int64_t n, const kernels::ReluBackward<float>& kernel) {
  for (int64_t i = 0; i < n; ++i) kernel(i);
}
void for_each(Tape& tape, int64_t n, const kernels::ReluForward<float>& kernel) {
  tape.on_gpu() ? tape.for_each(n, kernel) : in_registers(n, kernel);
}
void for_each(Tape& tape, int64_t n, const kernels::ReluBackward<float>& kernel) {
  tape.on_gpu() ? tape.for_each(n, kernel) : in_registers(n, kernel);
}

// An activation function whose derivative is known from its value: Forward{x, y}, Backward{y, dy, dx}.
template <template <class> class Backward>
struct Activation : Node {
  Var x;
  Tensor y;
  const char* name_;

  const char* name() const override { return name_; }
  size_t saved_bytes() const override { return y.byte_size(); }
  void backward(Tape& tape, const Tensor& dy) override {
    Tensor dx = tape.empty(y.shape(), y.dtype());
    tape.with_type(y.dtype(), [&]<class T>() {
      for_each(tape, y.size(), Backward<T>{y.device_data<T>(), dy.device_data<T>(), dx.device_data<T>()});
    });
    tape.accumulate(x, std::move(dx));
  }
};

template <template <class> class Forward, template <class> class Backward>
Var activation(Tape& tape, Var x, const char* name) {
  const Tensor& input = tape.value(x);
  Tensor y = tape.empty(input.shape(), input.dtype());
  tape.with_type(input.dtype(), [&]<class T>() {
    for_each(tape, y.size(), Forward<T>{input.device_data<T>(), y.device_data<T>()});
  });
  if (!tape.needs_gradient(x)) return tape.record(std::move(y), nullptr);
  auto node = std::make_unique<Activation<Backward>>();
  node->x = x;
  node->y = y;
  node->name_ = name;
  return tape.record(std::move(y), std::move(node));
}

struct AddNode : Node {
  Var a, b;
  const char* name() const override { return "add"; }
  void backward(Tape& tape, const Tensor& dy) override {
    for (Var x : {a, b})
      if (tape.needs_gradient(x)) tape.accumulate(x, dy);
  }
};

}  // namespace

Var relu(Tape& tape, Var x) {
  return activation<kernels::ReluForward, kernels::ReluBackward>(tape, x, "relu");
}
Var tanh(Tape& tape, Var x) {
  return activation<kernels::TanhForward, kernels::TanhBackward>(tape, x, "tanh");
}

Var add(Tape& tape, Var a, Var b) {
  const Tensor &left = tape.value(a), &right = tape.value(b);
  PG_CHECK(left.shape() == right.shape(), "add: ", to_string(left.shape()), " and ",
           to_string(right.shape()));
  PG_CHECK(left.dtype() == right.dtype(), "add: values of different types");
  Tensor y = tape.empty(left.shape(), left.dtype());
  tape.add(left, right, y);
  if (!tape.needs_gradient(a) && !tape.needs_gradient(b)) return tape.record(std::move(y), nullptr);
  auto node = std::make_unique<AddNode>();
  node->a = a;
  node->b = b;
  return tape.record(std::move(y), std::move(node));
}

}  // namespace pergrad
