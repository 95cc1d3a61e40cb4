// contour.h: delta(epsilon) of a whole run, by inverting the Laplace transform of its privacy loss.
//
//   delta(epsilon) = E_Q[(Z - e^epsilon)_+] = 1 / (2 pi i) integral of M(z) e^(-z epsilon) / (z (1 + z)) dz
// over Re z = c > 0, where M is the product of the moments of all steps (residues at 0 and -1).
#pragma once

#include "dp/accounting/moments.h"

namespace pergrad::accounting {

// Chernoff's bound, for any c > 0: log delta(epsilon) <= the value, rounded up. With cut = infinity it is the
// tight conversion of Renyi divergence of order 1 + c (Canonne, Kamath, Steinke 2020, Prop. 12).
double chernoff_log_delta(const Phases& phases, Direction direction, double c, double cut, double epsilon);

struct Line {     // any choice is sound; one that makes no sense (c <= 0, count < 2, ...) bounds by infinity
  double c, cut;  // where it is; moments.h
  double smoothing;  // the run is followed by a Gaussian mechanism with sensitivity / deviation = smoothing
  double spacing;    // between the points, of which there are
  int count;
};

class Contour {
 public:
  Contour(const Phases& phases, Direction direction, const Line& line);
  const Line& line() const { return line_; }
  bool is_of(const Phases& phases, Direction direction) const;  // it was made for this run
  double upper(double epsilon) const;                           // Guarantee: delta(epsilon) <= upper(epsilon)

  // Within error of the sum over whole m of e^(c m P) d(epsilon + m P), P = 2 pi / spacing, d(epsilon) being
  // the delta of the run with its smoothing, less what is set aside. All terms are positive.
  struct Sum {
    double value, error;
  };
  Sum delta(double epsilon) const { return sum(epsilon, false); }
  // The same for K^2 times the second derivative of d by K = e^epsilon: the density of the loss.
  Sum density(double epsilon) const { return sum(epsilon, true); }

 private:
  Sum sum(double epsilon, bool density) const;
  Phases phases_;
  Direction direction_;
  Line line_;
  double variance_, set_aside_, log_moment_, log_error_;
  std::vector<std::complex<double>> terms_;  // M(z) / M(c), the first one halved
  std::vector<double> errors_;
};

}  // namespace pergrad::accounting
