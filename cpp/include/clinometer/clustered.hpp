// Means over prompts with their cluster-robust covariance (theory 2.6): cells of J entries, each
// prompt contributing c_j with weight o_j (0 where the prompt has no label for value j).
// With d_c = sum over a cluster of o c and o_c = sum of o,
//   mean_j = sum d_j / sum o_j,  cov_jk = G/(G-1) sum_c (d_cj - o_cj m_j)(d_ck - o_ck m_k) / (O_j O_k).
// Sums are taken relative to the first contribution (a pilot), so a mean far above its spread loses nothing.
// Clusters are adjacent in canonical order; an open one is stitched like a prompt.
#pragma once
#include <clinometer/statistic.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

namespace clinometer {

class Clustered {
 public:
  Clustered() = default;
  Clustered(std::int64_t cells, std::int64_t width) : cells(cells), width(width) {
    const auto cw = std::size_t(cells * width), cww = std::size_t(cells * width * width);
    pilot.assign(cw, 0);
    sum.assign(cw, 0);
    dd.assign(cww, 0);
    d_o.assign(cww, 0);
    oo.assign(std::size_t(width * width), 0);
    mass.assign(std::size_t(width), 0);
    count.assign(std::size_t(width), 0);
  }

  /// c (cells, width), o (width,): one prompt.
  void add(const double* c, const double* o, bool begins, bool ends) {
    Open one;
    one.d.resize(std::size_t(cells * width));
    one.o.assign(o, o + width);
    for (std::int64_t i = 0; i < cells; ++i)
      for (std::int64_t j = 0; j < width; ++j) one.d[i * width + j] = o[j] != 0 ? o[j] * c[i * width + j] : 0;
    one.ends = ends;
    if (begins && ends) return close(one);
    if (begins) {
      tail = std::move(one);
    } else if (!tail.o.empty()) {
      tail.add(one);
      if (tail.ends) close_tail();
    } else {
      head.add(one);
    }
  }

  /// Counts n closed clusters with weights of sum o and sum of squares o2 for every value; their cells come by
  /// add_cell or add_sums.
  void count_closed(double n, double o, double o2) {
    for (std::int64_t j = 0; j < width; ++j) {
      mass[j] += o;
      count[j] += n;
      for (std::int64_t k = 0; k < width; ++k) oo[j * width + k] += o2;
    }
  }
  /// All cells of one closed cluster, with weight o for every value.
  void add_closed(const double* c, double o) {
    for (std::int64_t i = 0; !held && i < cells; ++i)
      for (std::int64_t j = 0; j < width; ++j)
        if (count[j] == 0) pilot[i * width + j] = in_float(c[i * width + j]);
    count_closed(1, o, o * o);
    for (std::int64_t i = 0; i < cells; ++i) add_cell(i, c + i * width, o);
  }
  /// One cell of a closed cluster that has been counted: c (width,), weight o.
  void add_cell(std::int64_t cell, const double* c, double o) {
    const double* const from = pilot.data() + cell * width;
    double* a = dd.data() + cell * width * width;
    double* b = d_o.data() + cell * width * width;
    for (std::int64_t j = 0; j < width; ++j) {
      const double d = o * (c[j] - from[j]);
      sum[cell * width + j] += d;
      for (std::int64_t k = 0; k < width; ++k) {
        *a++ += d * (o * (c[k] - from[k]));
        *b++ += d * o;
      }
    }
  }
  /// One cell of several closed clusters: d = sum o (c - pilot), d_o = sum d o, pairs = sum d_j d_k for k <= j;
  /// entry i of each is at [i * stride].
  void add_sums(std::int64_t cell, const double* d, const double* d_weight, const double* pairs, std::int64_t stride) {
    for (std::int64_t j = 0; j < width; ++j) {
      sum[cell * width + j] += d[j * stride];
      for (std::int64_t k = 0; k < width; ++k) d_o[(cell * width + j) * width + k] += d_weight[j * stride];
      for (std::int64_t k = 0; k <= j; ++k, pairs += stride) {
        dd[(cell * width + j) * width + k] += *pairs;
        if (k != j) dd[(cell * width + k) * width + j] += *pairs;
      }
    }
  }
  /// Only means are asked for: d as in add_sums.
  void add_sums(std::int64_t cell, const double* d, std::int64_t stride) {
    for (std::int64_t j = 0; j < width; ++j) sum[cell * width + j] += d[j * stride];
  }
  double pilot_of(std::int64_t cell, std::int64_t j) const { return pilot[cell * width + j]; }
  /// Whether every value has its pilot.
  bool settled() const {
    return held || std::all_of(count.begin(), count.end(), [](double n) { return n > 0; });
  }
  /// Keeps the pilots as they are, or as they are given where nothing has been counted.
  void hold() { held = true; }
  void offer_pilot(std::int64_t cell, std::int64_t j, double x) {
    if (count[j] == 0) pilot[cell * width + j] = in_float(x);
  }

  void join(Clustered& b) {
    if (!b.head.o.empty()) {
      if (!tail.o.empty()) {
        tail.add(b.head);
        if (tail.ends) close_tail();
      } else {
        head.add(b.head);
      }
    }
    absorb_sums(b);
    if (!b.tail.o.empty()) tail = std::move(b.tail);
  }

  double mean(std::int64_t cell, std::int64_t j) const {
    const auto at = std::size_t(cell * width + j);
    return mass[j] > 0 ? pilot[at] + sum[at] / mass[j] : std::numeric_limits<double>::quiet_NaN();
  }

  /// Covariance of the two means, NaN with fewer than two clusters.
  double covariance(std::int64_t cell, std::int64_t j, std::int64_t k) const {
    if (count[j] < 2 || count[k] < 2) return std::numeric_limits<double>::quiet_NaN();
    const std::int64_t at = cell * width * width;
    const double mj = sum[cell * width + j] / mass[j], mk = sum[cell * width + k] / mass[k];
    const double s = dd[at + j * width + k] - mk * d_o[at + j * width + k] - mj * d_o[at + k * width + j] +
                     mj * mk * oo[j * width + k];
    // each value's own factor: with labels in different clusters the matrix stays positive semidefinite
    const double factor = std::sqrt(count[j] / (count[j] - 1) * (count[k] / (count[k] - 1)));
    const double scaled = factor * s / (mass[j] * mass[k]);
    return j == k ? std::max(scaled, 0.0) : scaled;
  }

  /// Of so many cells of so many values.
  void fields(Visitor& visit, std::int64_t n_cells, std::int64_t n_values) {
    visit.size("cells", cells);
    visit.size("width", width);
    visit.need(cells == n_cells && width == n_values, "cells");
    for (auto* v : {&pilot, &sum}) visit.array("sum", *v, product({cells, width}));
    for (auto* v : {&dd, &d_o}) visit.array("squares", *v, product({cells, width, width}));
    visit.array("oo", oo, product({width, width}));
    visit.array("mass", mass, width);
    visit.array("count", count, width);
    for (Open* open : {&head, &tail}) {
      visit.field("open_d", open->d);
      visit.field("open_o", open->o);
      visit.field("open_ends", open->ends);
      const bool none = open->o.empty();
      visit.need(std::int64_t(open->o.size()) == (none ? 0 : width), "open_o");
      visit.need(std::int64_t(open->d.size()) == (none ? 0 : product({cells, width})), "open_d");
    }
  }

  std::int64_t cells = 0, width = 0;
  std::vector<double> mass;   // (width,) sum of o
  std::vector<double> count;  // (width,) clusters with a label

 private:
  struct Open {
    std::vector<double> d, o;
    bool ends = false;
    void add(const Open& later) {
      if (o.empty()) {
        *this = later;
        return;
      }
      clinometer::add(d, later.d);
      clinometer::add(o, later.o);
      ends = later.ends;
    }
  };
  std::vector<double> pilot, sum, dd, d_o, oo;
  Open head, tail;
  bool held = false;  // of a state that grows; no part of what is saved

  /// A pilot that f32 sums can share.
  static double in_float(double x) { return std::abs(x) < 1e38 ? double(float(x)) : x; }

  void close_tail() {
    close(tail);
    tail = Open();
  }

  void close(Open& c) {
    for (std::int64_t j = 0; j < width; ++j) {
      if (c.o[j] == 0) continue;
      if (count[j] == 0 && !held)
        for (std::int64_t i = 0; i < cells; ++i) pilot[i * width + j] = in_float(c.d[i * width + j] / c.o[j]);
      count[j] += 1;
      mass[j] += c.o[j];
    }
    for (std::int64_t i = 0; i < cells; ++i) {
      double* d = c.d.data() + i * width;
      for (std::int64_t j = 0; j < width; ++j) {
        d[j] -= c.o[j] * pilot[i * width + j];
        sum[i * width + j] += d[j];
      }
      outer(i, d, c.o.data());
    }
    for (std::int64_t j = 0; j < width; ++j)
      for (std::int64_t k = 0; k < width; ++k) oo[j * width + k] += c.o[j] * c.o[k];
  }

  void outer(std::int64_t cell, const double* d, const double* o) {
    double* a = dd.data() + cell * width * width;
    double* b = d_o.data() + cell * width * width;
    for (std::int64_t j = 0; j < width; ++j)
      for (std::int64_t k = 0; k < width; ++k) {
        a[j * width + k] += d[j] * d[k];
        b[j * width + k] += d[j] * o[k];
      }
  }

  /// Adds b's closed clusters, moved from b's pilot to ours: d + o delta.
  void absorb_sums(Clustered& b) {
    for (std::int64_t i = 0; i < cells; ++i) {
      std::vector<double> delta(static_cast<std::size_t>(width), 0.0);
      for (std::int64_t j = 0; j < width; ++j) {
        const std::int64_t at = i * width + j;
        if (count[j] == 0) pilot[at] = b.pilot[at];
        if (b.count[j] > 0) delta[j] = b.pilot[at] - pilot[at];
        sum[at] += b.sum[at] + delta[j] * b.mass[j];
      }
      const std::int64_t base = i * width * width;
      for (std::int64_t j = 0; j < width; ++j)
        for (std::int64_t k = 0; k < width; ++k) {
          const std::int64_t jk = base + j * width + k, kj = base + k * width + j;
          const double o = b.oo[j * width + k];
          dd[jk] += b.dd[jk] + delta[k] * b.d_o[jk] + delta[j] * b.d_o[kj] + delta[j] * delta[k] * o;
          d_o[jk] += b.d_o[jk] + delta[j] * o;
        }
    }
    clinometer::add(oo, b.oo);
    clinometer::add(mass, b.mass);
    clinometer::add(count, b.count);
  }
};

}  // namespace clinometer
