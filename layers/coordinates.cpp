// all_finite.
#include "layers/coordinates.h"

#include "layers/optimizer_kernels.h"

#include <algorithm>
#include <cmath>

namespace pergrad {

bool all_finite(const Tensor& t) {
  if (t.device().is_cpu())
    return dispatch(t.dtype(), [&]<class T>() {
      return std::ranges::all_of(t.values<T>(), [](T v) { return std::isfinite(v); });
    });
  // From n numbers to n / 256, until one is left.
  constexpr int64_t kNumbersEach = 256;
  Tensor x = t;
  do {
    const int64_t sums = (x.size() + kNumbersEach - 1) / kNumbersEach;
    const Tensor y = Tensor::empty({sums}, DType::f32, x.device());
    for_each_coordinate(x.device(), sums,
                        kernels::SumOfZeros{x.device_data<float>(), x.size(), y.device_data<float>(), sums});
    x = y;
  } while (x.size() > 1);
  return x.size() == 0 || x.to(Device{}).data<float>()[0] == 0;
}

}  // namespace pergrad
