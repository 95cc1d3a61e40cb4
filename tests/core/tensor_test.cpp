// Tensor, its shape and Workspace; things that threads share.
#include "core/tensor.h"
#include "core/device.h"
#include "core/example_batch.h"
#include "core/exec.h"
#include "core/spares.h"
#include "tests/support/compare.h"
#include "tests/support/guards.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <numeric>
#include <thread>

namespace pergrad::test {
namespace {

Tensor counted(Shape shape) {
  std::vector<double> values(static_cast<size_t>(count(shape)));
  std::iota(values.begin(), values.end(), 0.0);
  return Tensor::of<double>(std::move(shape), values);
}

TEST(Tensor, KnowsItsShapeAndSize) {
  const Tensor t = counted({2, 3, 4});
  EXPECT_EQ(to_string(t.shape()), "[2,3,4]");
  EXPECT_EQ(t.size(), 24);
  EXPECT_EQ(t.rank(), 3);
  EXPECT_EQ(t.dim(1), 3);
  EXPECT_EQ(t.dtype(), DType::f64);
  EXPECT_EQ(count({}), 1);
  EXPECT_EQ(to_string(Shape{}), "[]");
  EXPECT_FALSE(Tensor().defined());
  EXPECT_EQ(Tensor::zeros({0, 5}, DType::f32).size(), 0);
}

TEST(Tensor, RowsAndReshapeShareMemory) {
  const Tensor t = counted({4, 3});
  const Tensor middle = t.rows(1, 3);
  EXPECT_EQ(middle.shape(), (Shape{2, 3}));
  EXPECT_EQ(middle.data<double>(), t.data<double>() + 3);
  EXPECT_EQ(middle.rows(1, 2).data<double>()[0], 6);
  EXPECT_EQ(t.rows(2, 2).size(), 0);
  const Tensor flat = middle.reshape({6});
  flat.data<double>()[0] = -1;
  EXPECT_EQ(t.data<double>()[3], -1);
  EXPECT_EQ(message_of([&] { t.rows(1, 5); }), "rows: [1,5) of shape [4,3]");
  EXPECT_EQ(message_of([&] { t.rows(-1, 2); }), "rows: [-1,2) of shape [4,3]");
  EXPECT_EQ(message_of([&] { t.reshape({5}); }), "reshape: [4,3] to [5]");
}

TEST(Tensor, CloneAndConversionAreDeepAndKeepTheView) {
  const Tensor t = counted({4, 3});
  const Tensor copy = t.rows(1, 3).clone();
  t.fill(9);
  EXPECT_EQ(copy.data<double>()[0], 3);
  EXPECT_EQ(copy.data<double>()[5], 8);
  const Tensor single = copy.to(DType::f32);
  EXPECT_EQ(single.dtype(), DType::f32);
  EXPECT_EQ(single.data<float>()[5], 8.0f);
}

TEST(Tensor, FillOfAViewStaysInside) {
  const Tensor t = counted({4, 3});
  t.rows(1, 2).fill(-5);
  const std::vector<double> wanted = {0, 1, 2, -5, -5, -5, 6, 7, 8, 9, 10, 11};
  EXPECT_TRUE(std::equal(wanted.begin(), wanted.end(), t.data<double>()));
}

TEST(Tensor, WrongUseIsNamed) {
  const Tensor t = counted({2});
  EXPECT_THROW(t.data<float>(), Error);
  EXPECT_THROW(Tensor().data<float>(), Error);
  EXPECT_EQ(message_of([] {
              Tensor::of<float>({3}, std::vector<float>{1, 2});
            }),
            "tensor: 2 values for shape [3]");
  EXPECT_THROW(Tensor::empty({1}, DType::f32, Device{Device::Kind::cuda, 0}), DeviceError);
  EXPECT_THROW(Workspace(Device{Device::Kind::cuda, 0}), DeviceError);
}

TEST(Workspace, GivesAlignedMemoryAndReusesIt) {
  Workspace workspace;
  const void* first = nullptr;
  {
    const Tensor t = Tensor::zeros({1000}, DType::f32, workspace);
    first = t.data<float>();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % 64, 0u);
  }
  const size_t reserved = workspace.bytes_reserved();
  EXPECT_GE(reserved, 4000u);
  EXPECT_LE(reserved, 5000u);  // at most a quarter more
  const Tensor again = Tensor::empty({990}, DType::f32, workspace);
  EXPECT_EQ(again.data<float>(), first);
  const Tensor other = Tensor::empty({990}, DType::f32, workspace);
  EXPECT_NE(other.data<float>(), first);
  EXPECT_GT(workspace.bytes_reserved(), reserved);
}

TEST(Workspace, EverySizeFitsAndWastesAtMostAQuarter) {
  for (size_t bytes = 1; bytes < 20000; bytes += 7) {
    Workspace workspace;
    const auto memory = workspace.take(bytes);
    std::memset(memory.get(), 1, bytes);
    EXPECT_GE(workspace.bytes_reserved(), bytes);
    EXPECT_LE(workspace.bytes_reserved(), std::max<size_t>(256, bytes + bytes / 4)) << bytes;
  }
}

TEST(Workspace, TensorsMayOutliveIt) {
  Tensor t;
  {
    Workspace workspace;
    t = Tensor::zeros({100}, DType::f64, workspace);
  }
  t.fill(3);
  EXPECT_EQ(t.data<double>()[99], 3);
}

TEST(Workspace, SeveralThreadsMayShareOne) {
  Workspace workspace({}, Workspace::Users::several_threads);
  std::atomic<int> wrong = 0;
  CpuExec{4}.for_each(4, [&](int64_t who) {
    for (int64_t i = 0; i < 2000; ++i) {
      const Tensor mine = Tensor::empty({40 + i % 3 * 100}, DType::f64, workspace);
      mine.fill(static_cast<double>(who));
      const Tensor view = mine.rows(3, 7);
      wrong += view.data<double>()[2] != static_cast<double>(who);
    }
  });
  EXPECT_EQ(wrong, 0);
  EXPECT_LE(workspace.bytes_reserved(), 4u * (320 + 1280 + 2048));  // not more than four at a time took
}

TEST(Spares, AreOfOneThreadAtATimeAndGoBackToItsLastUser) {
  Spares<std::atomic<int>> spares;
  std::atomic<int> shared = 0, made = 0;
  CpuExec{4}.for_each(4, [&](int64_t) {
    for (int i = 0; i < 2000; ++i) {
      const auto lease = spares.take();
      made += *lease == 0;
      const int before = (*lease)++;
      shared += *lease != before + 1;
    }
  });
  EXPECT_EQ(shared, 0);
  EXPECT_LE(made, 4);
  { const auto first = spares.take(), second = spares.take(); }  // this thread's now, both
  const std::atomic<int>* theirs = nullptr;
  std::thread([&] { theirs = &*spares.take(); }).join();
  EXPECT_NE(&*spares.take(), theirs);
}

TEST(Shape, IsAListOfAtMostEightExtents) {
  Shape shape = {2, 3};
  shape.insert(shape.begin(), 1);
  shape.push_back(4);
  EXPECT_EQ(shape, (Shape{1, 2, 3, 4}));
  shape.erase(shape.begin());
  shape.back() = 9;
  EXPECT_EQ(to_string(shape), "[2,3,9]");
  EXPECT_EQ(count(shape), 54);
  EXPECT_FALSE(shape == (Shape{2, 3}));
  const Shape taken = std::move(shape);
  EXPECT_TRUE(shape.empty());  // NOLINT(bugprone-use-after-move): promised
  shape = taken;
  EXPECT_EQ(message_of([&] { shape.at(3); }), "shape: axis 3 of 3");
  EXPECT_EQ(message_of([] { Shape({1, 1, 1, 1, 1, 1, 1, 1, 1}); }), "shape: more than 8 axes");
}

TEST(Workspace, ZerosAreZeroInUsedMemory) {
  Workspace workspace;
  Tensor::empty({100}, DType::f64, workspace).fill(7);
  const Tensor t = Tensor::zeros({100}, DType::f64, workspace);
  for (const double v : t.values<double>()) EXPECT_EQ(v, 0);
}

TEST(GuardedWorkspace, SeesAWriteBehindTheEnd) {
  GuardedWorkspace guards(4096, 4);
  const Tensor t = Tensor::empty({9, 7}, DType::f32, guards.workspace());
  t.fill(1);
  EXPECT_TRUE(guards.intact(t));
  t.data<float>()[63] = 1;
  EXPECT_FALSE(guards.intact(t));
  EXPECT_TRUE(guards.sufficed());
}

TEST(PerExampleGradient, WantsOneRealFlagARow) {
  EXPECT_THROW(PerExampleGradient(Tensor::zeros({3, 4}, DType::f32), {1, 1}), Error);
  const PerExampleGradient g(Tensor::zeros({2, 4}, DType::f32), {1, 0});
  EXPECT_EQ(g.rows(), 2);
  EXPECT_EQ(g.parameters(), 4);
  EXPECT_TRUE(g.is_real(0));
  EXPECT_FALSE(g.is_real(1));
  static_assert(!std::is_copy_constructible_v<PerExampleGradient>);
}

TEST(Device, NamesGoThereAndBack) {
  EXPECT_EQ(Device::parse("cpu").name(), "cpu");
  EXPECT_EQ(Device::parse("cuda").name(), "cuda:0");
  EXPECT_EQ(Device::parse("cuda:3").name(), "cuda:3");
  EXPECT_EQ(Device::parse("cuda:3").index, 3);
  for (const char* bad :
       {"", "gpu", "CPU", "cuda:", "cuda:-1", "cuda:1x", "cuda: 1", "cuda:99999999999", "cpu:0"})
    EXPECT_THROW(Device::parse(bad), Error) << bad;
  EXPECT_EQ(message_of([] { Device::parse("gpu"); }),
            "device: got \"gpu\", wanted cpu, cuda, cuda:<index> or emulated");
  EXPECT_GE(cuda_device_count(), 0);
}

}  // namespace
}  // namespace pergrad::test
