// The arithmetic of the clip, and the proof that every row adds an integer vector of norm <= 2^F exactly.
//
// Let G be the true norm of a row g of P floats, u = 2^-53, C the clip norm. All steps are in double.
// 1. Squares are exact: a float has 24 bits, its square 48, and lies between 2^-298 and 2^256. So their sum
//    cannot overflow, and is not finite if and only if some g_i is not.
// 2. Whatever the order of summation, each square goes through at most P-1 inexact additions of
//    non-negative numbers: sum >= G^2 (1-u)^(P-1), and r = sqrt(sum), rounded, >= G (1-u)^((P+1)/2).
// 3. norm_up = r * (1 + (P+8) u): with the two roundings of this line (the factor's at most u, the
//    product's at most u) norm_up >= G (1 + 4u) for every P <= 2^40: the margin gains (P+8) u, and
//    (P+1)/2 u + 2u and second-order terms, below P u / 4, are lost.
// 4. scale = 2^F / max(C, norm_up), rounded, <= 2^F / max(C, G (1+4u)) * (1+u).
// 5. v_i = g_i * scale, rounded, has |v_i| <= |g_i| scale (1+u); nothing underflows (C <= 1e20 and G < 2^148
//    keep the product above 2^-300). q_i = v_i truncated toward zero has |q_i| <= |v_i|.
// 6. So ||q|| <= G scale (1+u) <= 2^F (1+u)^2 / (1+4u) < 2^F.  Rounding to nearest would break step 5:
//    it adds up to half a grid step to every coordinate.
// The compiler cannot spoil it: a square fused into an addition is still exact, and step 5 ends in a
// conversion, which no multiplication can be fused with.
#pragma once

#include "core/exec.h"

#include <cmath>
#include <cstdint>

namespace pergrad::dp {

constexpr int64_t kClipBlock = 4096;  // columns of a block: 16 kB of a row, 32 kB of the sum

// Sum of squares of g[0..n), in 16 fixed partial sums so that it vectorises without reordering.
PG_CLONES inline double sum_of_squares(const float* g, int64_t n) {
  double lane[16] = {};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (int l = 0; l < 16; ++l) lane[l] += static_cast<double>(g[i + l]) * static_cast<double>(g[i + l]);
  for (; i < n; ++i) lane[i % 16] += static_cast<double>(g[i]) * static_cast<double>(g[i]);
  double sum = 0;
  for (double partial : lane) sum += partial;
  return sum;
}

inline double squares_of_row(const float* row, int64_t parameters) {
  double sum = 0;
  for (int64_t begin = 0; begin < parameters; begin += kClipBlock)
    sum += sum_of_squares(row + begin, parameters - begin < kClipBlock ? parameters - begin : kClipBlock);
  return sum;
}

// Steps 2 to 4; 0 for a row that is not finite (NaN fails the comparison).
PG_HD inline double norm_rounded_up(double squares, int64_t parameters) {
  return std::sqrt(squares) * (1 + static_cast<double>(parameters + 8) * 0x1p-53);
}
PG_HD inline double grid_scale(double squares, int64_t parameters, double clip_norm, int grid_bits) {
  if (!(squares < HUGE_VAL)) return 0;
  const double norm = norm_rounded_up(squares, parameters);
  return static_cast<double>(int64_t{1} << grid_bits) / (norm > clip_norm ? norm : clip_norm);
}

// Step 5. A conversion from double to integer truncates toward zero.
PG_HD inline int64_t on_grid(double g, double scale) { return static_cast<int64_t>(g * scale); }
PG_CLONES inline void add_on_grid(const float* g, double scale, int64_t n, int64_t* sum) {
  for (int64_t i = 0; i < n; ++i) sum[i] += on_grid(g[i], scale);
}

}  // namespace pergrad::dp
