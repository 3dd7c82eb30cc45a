// A prompt cut in two: the covariance of the whole is the sum of the parts' own covariances plus a rank-1
// term in the difference of their means. Straddle carries the mass and the mean of an open prompt.
#pragma once
#include <clinometer/statistic.hpp>

namespace clinometer {

struct Straddle {
  double mass = -1;  // base weight absorbed so far; -1: none
  double scale = 0;  // omega times the ddof factor
  bool ends = false;
  std::int64_t fold = 0;
  std::vector<double> mean;

  bool open() const { return mass >= 0; }

  /// Joins a later part; calls rank_one(scale * ma mb / (ma + mb), difference of means, fold).
  template <class F>
  void add(const Straddle& later, F&& rank_one) {
    const double total = mass + later.mass;
    if (mass > 0 && later.mass > 0) {
      std::vector<double> difference(mean.size());
      for (std::size_t c = 0; c < mean.size(); ++c) {
        difference[c] = later.mean[c] - mean[c];
        mean[c] += difference[c] * (later.mass / total);
      }
      rank_one(scale * mass * (later.mass / total), difference, fold);
    } else if (later.mass > 0) {
      mean = later.mean;
    }
    mass = total;
    ends = later.ends;
  }
  void fields(Visitor& visit, std::int64_t width, std::int64_t n_folds) {
    visit.field("mass", mass);
    visit.field("scale", scale);
    visit.field("ends", ends);
    visit.field("fold", fold);
    visit.need(fold >= 0 && fold < n_folds, "fold");
    visit.array("mean", mean, open() ? width : 0);
  }
};

/// The open first and last prompt of a state, for statistics that need rows and cannot keep them.
struct OpenEnds {
  Straddle head, tail;

  template <class F>
  void part(Straddle s, bool begins, F&& rank_one) {
    if (begins) {
      tail = std::move(s);
    } else if (tail.open()) {
      tail.add(s, rank_one);
    } else if (head.open()) {
      head.add(s, rank_one);
    } else {
      head = std::move(s);
    }
    if (tail.open() && tail.ends) tail = Straddle();
  }
  template <class F>
  void join(OpenEnds& later, F&& rank_one) {
    if (later.head.open()) part(later.head, false, rank_one);
    if (later.tail.open()) tail = std::move(later.tail);
  }
  void fields(Visitor& visit, std::int64_t width, std::int64_t n_folds) {
    head.fields(visit, width, n_folds);
    tail.fields(visit, width, n_folds);
  }
};

}  // namespace clinometer
