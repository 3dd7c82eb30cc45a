// A prompt that no block or leaf holds whole, or longer than one, in f32 lanes. Two passes over its rows, shared by
// threads: means and extents, then the sums of slices that stay in cache, f32 within a slice and f64 across. Nothing of
// the prompt's length is kept but the ranks of its values. Borders depend on the prompt alone, so no bit depends on
// threads.
#include <algorithm>

#include "src/ranks.hpp"
#include "src/scratch.hpp"
#include "src/share.hpp"
#include "src/tilt_batch.hpp"

namespace clinometer {
namespace {

using kernels::Way;
constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr std::int64_t kLongRows = 64;                 // up to here a prompt is f64's
constexpr std::int64_t kTaskRows = 16384;              // what a thread does at once
constexpr std::int64_t kNearNumbers = 4096;            // scores read together for their extents
constexpr std::int64_t kSliceBytes = 256 << 10;        // centred scores of a slice
constexpr double kSmallSum = 0.02, kSmallReach = 0.4;  // below, sums of E itself lose too much, or are likely to

template <int W>
void extend(const double* x, std::int64_t stride, std::int64_t n, double* low, double* high) {
  double l[W], h[W];
  for (int j = 0; j < W; ++j) l[j] = low[j], h[j] = high[j];
  for (std::int64_t i = 0; i < n; ++i)
    for (int j = 0; j < W; ++j) {
      const double v = x[i * stride + j];
      l[j] = v < l[j] ? v : l[j];
      h[j] = v > h[j] ? v : h[j];
    }
  for (int j = 0; j < W; ++j) low[j] = l[j], high[j] = h[j];
}

/// Of some columns: weighted sums less their pilot, the smallest and the largest.
struct Extent {
  std::vector<double> sum, low, high;
  explicit Extent(std::int64_t width)
      : sum(std::size_t(width), 0), low(std::size_t(width), kInf), high(std::size_t(width), -kInf) {}

  void add(const double* x, std::int64_t stride, const double* w, std::int64_t n, const double* pilot) {
    const auto width = std::int64_t(sum.size());
    std::int64_t k = 0;
    for (; k < width; k += 16)
      kernels::active().weighted_differences(x + k, stride, w, n, std::min<std::int64_t>(16, width - k), pilot + k,
                                             &sum[std::size_t(k)]);
    for (k = 0; k + 4 <= width; k += 4) extend<4>(x + k, stride, n, &low[std::size_t(k)], &high[std::size_t(k)]);
    for (; k < width; ++k) extend<1>(x + k, stride, n, &low[std::size_t(k)], &high[std::size_t(k)]);
  }
  void add(const Extent& later) {
    for (std::size_t k = 0; k < sum.size(); ++k) {
      sum[k] += later.sum[k];
      low[k] = std::min(low[k], later.low[k]);
      high[k] = std::max(high[k], later.high[k]);
    }
  }
  float top(std::size_t k, double mean) const { return std::max(0.0f, float(high[k] - mean)); }
  float reach(std::size_t k, double mean) const { return std::max(top(k, mean), -float(low[k] - mean)); }
};

/// Arrays of one slice, one thread's.
struct Slice {
  std::vector<float> weight, columns, centred, score, spread, raw;
  static Slice& own() {
    thread_local Slice one;
    return one;
  }
};

}  // namespace

struct Tilt::Long : Tilt::Lanes {
  const Prompt& p;
  const std::int64_t threads;
  const double *const score, *const value;
  std::vector<double> mean, baseline;  // (K,), (J,)
  std::vector<double> sums, cumulant_sums;

  Long(const Tilt& t, const Prompt& p)
      : p(p), threads(t.n_threads), score(p.score + t.score_at), value(p.value + t.value_at) {
    begin(t);
  }
  /// The first pass; false where f32 has no room for these rows, or a label is missing.
  bool survey();
  /// The second.
  void sum();
  void add_to(Tilt& t, Work& w, std::vector<std::int64_t>& exact) const;
  void add_cumulants(Work& w) const;

 private:
  std::vector<float> top, reach, tilt_top, tilt_reach;  // (Kp,); (tilts,) in panels
  std::vector<Way> way;                                 // (tilts / 16,)
  Scratch<float> rank;                                  // (J, n)
  float even = 0;

  std::int64_t tasks() const { return (p.n + kTaskRows - 1) / kTaskRows; }
  std::int64_t slice_rows() const {
    return std::clamp<std::int64_t>(kSliceBytes / 4 / std::max(Kp, few() ? tilts() : Kp), 64, 4096);
  }
  bool settle(const Extent& scores, const Extent& values);
  void choose_ways();
  bool trust();
  void pass(bool with_cumulants);
  void fill(Slice& s, std::int64_t first, std::int64_t n) const;
};

bool Tilt::Long::survey() {
  const auto count = static_cast<std::size_t>(tasks());
  std::vector<Extent> scores(count, Extent(K)), values(count, Extent(J));
  std::vector<char> positive(count, 1), same(count, 1);
  share(tasks(), threads, {}, [&](std::int64_t task, int) {
    const std::int64_t first = task * kTaskRows, n = std::min(kTaskRows, p.n - first);
    const double* const w = p.weight + first;
    positive[task] = std::all_of(w, w + n, [](double x) { return x > 0; });
    same[task] = std::all_of(w, w + n, [&](double x) { return x == p.weight[0]; });
    const std::int64_t step = std::clamp<std::int64_t>(kNearNumbers / std::max<std::int64_t>(p.n_scores, 1), 16, 1024);
    for (std::int64_t i = 0; i < n; i += step) {  // columns are read a few at a time: rows stay near
      const std::int64_t rows = std::min(step, n - i);
      scores[task].add(score + (first + i) * p.n_scores, p.n_scores, w + i, rows, score);
      values[task].add(value + (first + i) * p.n_values, p.n_values, w + i, rows, value);
    }
  });
  for (std::size_t task = 1; task < scores.size(); ++task) {
    scores[0].add(scores[task]);
    values[0].add(values[task]);
  }
  even = std::count(same.begin(), same.end(), 0) == 0 ? float(p.weight[0]) : 0.0f;
  return std::count(positive.begin(), positive.end(), 0) == 0 && settle(scores[0], values[0]);
}

/// Means and extents from the first read, and the ranks.
bool Tilt::Long::settle(const Extent& scores, const Extent& values) {
  top.assign(std::size_t(Kp), 0.0f);
  reach.assign(std::size_t(Kp), 0.0f);
  for (std::size_t k = 0; k < std::size_t(K); ++k) {
    mean.push_back(score[k] + scores.sum[k]);
    top[k] = scores.top(k, mean[k]);
    reach[k] = scores.reach(k, mean[k]);
    if (!holds_score(reach[k]) || (reach[k] == 0 && scores.low[k] != scores.high[k])) return false;
  }
  for (std::size_t j = 0; j < std::size_t(J); ++j) {
    baseline.push_back(value[j] + values.sum[j]);
    const float wide = values.reach(j, baseline[j]);
    if (std::isnan(baseline[j]) || !holds_value(wide) || (wide == 0 && values.low[j] != values.high[j])) return false;
  }
  tilt_top = top, tilt_reach = reach;
  if (few()) {
    for (auto* v : {&tilt_top, &tilt_reach}) v->resize(std::size_t(tilts()));
    spread(top.data(), 1, Kp, tilt_top.data());
    spread(reach.data(), 1, Kp, tilt_reach.data());
  }
  choose_ways();
  if (!extras) return true;
  rank = Scratch<float>(std::size_t(J * p.n));
  share(J, threads, {}, [&](std::int64_t j, int) {
    long_ranks(value + j, p.n_values, p.weight, p.n, even != 0, rank.data() + j * p.n, 1);
  });
  return true;
}

void Tilt::Long::choose_ways() {
  way.assign(std::size_t(tilts() / 16), Way::near);
  for (std::size_t g = 0; g < way.size(); ++g) {
    float most = 0, least = float(kSmallReach);
    for (std::int64_t lane = 0; lane < 16; ++lane) {
      const float widest = std::max(lam[g * 16 + lane], 0.0f) * tilt_reach[panel[g] * 16 + lane];
      most = std::max(most, widest);
      if (widest > 0) least = std::min(least, widest);
    }
    if (most > kernels::kNear)
      way[g] = !(most <= kernels::kFar) ? Way::careful : least < float(kSmallReach) ? Way::between : Way::far;
  }
}

/// Whether sums of E were as good as those of E - x wherever they were taken; else the better way is chosen.
bool Tilt::Long::trust() {
  bool all = true;
  for (std::size_t g = 0; g < way.size(); ++g)
    for (std::size_t lane = g * 16; way[g] == Way::far && lane < g * 16 + 16; ++lane)
      if (cell(std::int64_t(lane)) >= 0 && lam[lane] > 0 && sums[lane] < kSmallSum) {
        way[g] = Way::between;
        all = false;
      }
  return all;
}

void Tilt::Long::sum() {
  pass(extras && J > 0);
  if (!trust()) pass(false);
}

void Tilt::Long::pass(bool with_cumulants) {
  const std::size_t width = std::size_t((3 + F) * tilts()), more = with_cumulants ? std::size_t((1 + 3 * J) * Kp) : 0,
                    both = width + more;
  std::vector<double> part(std::size_t(tasks()) * both, 0.0);
  share(tasks(), threads, {}, [&](std::int64_t task, int) {
    Slice& s = Slice::own();
    s.raw.resize(both);
    double* const to = part.data() + std::size_t(task) * both;
    const std::int64_t end = std::min(p.n, (task + 1) * kTaskRows);
    for (std::int64_t i = task * kTaskRows, n; i < end; i += n) {
      n = std::min(slice_rows(), end - i);
      fill(s, i, n);
      const std::int64_t offsets[] = {0, n};
      kernels::TiltBatch batch = call(), own = own_call();
      for (kernels::TiltBatch* b : {&batch, &own})
        b->offsets = offsets, b->weight = s.weight.data(), b->even = &even, b->columns = s.columns.data();
      batch.score = few() ? s.spread.data() : s.score.data(), batch.way = way.data(), batch.raw = s.raw.data();
      own.score = s.score.data(), own.raw = s.raw.data() + width;
      kernels::active().tilt_slices(batch, 0, 1);
      if (with_cumulants) kernels::active().cumulant_slices(own, 0, 1);
      for (std::size_t k = 0; k < both; ++k) to[k] += double(s.raw[k]);
    }
  });
  for (std::int64_t task = 1; task < tasks(); ++task)
    for (std::size_t k = 0; k < both; ++k) part[k] += part[std::size_t(task) * both + k];
  sums.assign(part.begin(), part.begin() + std::ptrdiff_t(width));
  if (with_cumulants) cumulant_sums.assign(part.begin() + std::ptrdiff_t(width), part.begin() + std::ptrdiff_t(both));
}

/// Weights, centred values with their ranks, and centred scores of rows [first, first + n), as the kernels take them.
void Tilt::Long::fill(Slice& s, std::int64_t first, std::int64_t n) const {
  const kernels::Table& table = kernels::active();
  float high[16], wide[16], widest[kernels::kBatchValues];  // known
  s.weight.assign(p.weight + first, p.weight + first + n);
  s.columns.resize(std::size_t(n * F));
  centre_values(value + first * p.n_values, p.n_values, n, baseline.data(), s.centred, s.columns.data(), widest);
  for (std::int64_t j = 0; extras && j < J; ++j)
    for (std::int64_t i = 0; i < n; ++i)
      s.columns[std::size_t(i * F + J + j)] = rank.data()[std::size_t(j * p.n + first + i)];
  s.score.resize(std::size_t(n * Kp));
  for (std::int64_t q = 0; q < K; q += 16)
    table.centred_floats(score + first * p.n_scores + q, p.n_scores, n, std::min<std::int64_t>(16, K - q), &mean[q],
                         s.score.data() + q * n, high, wide);
  if (!few()) return;
  s.spread.resize(std::size_t(n * tilts()));
  spread(s.score.data(), n, 16, s.spread.data());
}

/// Tilts from their sums; what f32 could not hold goes to `exact`.
void Tilt::Long::add_to(Tilt& t, Work& w, std::vector<std::int64_t>& exact) const {
  const std::int64_t M = tilts();
  for (std::int64_t lane = 0; lane < M; ++lane) {
    const std::int64_t c = cell(lane);
    if (c < 0) continue;
    const double m = sums[lane], L = std::log1p(m), kl = sums[M + lane] / (1 + m) - L;
    const double chi = (sums[2 * M + lane] - m * m) / ((1 + m) * (1 + m)), tilt = double(lam[lane]);
    const double peak = tilt * double(top[c / B]);
    const bool safe = peak <= 40 && kl * 32 >= L && kl >= 1e-24;
    if (tilt < 0 || (peak != 0 && !safe)) {
      exact.push_back(c);
      continue;
    }
    t.kl[c] += p.omega * kl;
    t.reverse_kl[c] += p.omega * L;
    t.log_partition_centred[c] += p.omega * L;
    for (std::int64_t j = 0; j < J; ++j) w.gain[c * J + j] = sums[(3 + j) * M + lane] / (1 + m);
    if (!extras) continue;
    t.chi2[c] += p.omega * chi;
    t.ess[c] += p.omega / (1 + chi);
    t.ess_min[c] = std::min(t.ess_min[c], 1 / (1 + chi));
    t.max_log_ratio[c] = std::max(t.max_log_ratio[c], peak - L);
    for (std::int64_t j = 0; j < J; ++j) w.win[c * J + j] = 0.5 + sums[(3 + J + j) * M + lane] / (1 + m);
  }
}

/// k2, k3, k4.
void Tilt::Long::add_cumulants(Work& w) const {
  for (std::int64_t k = 0; !cumulant_sums.empty() && k < K; ++k)
    for (std::int64_t j = 0; j < J; ++j) {
      const double* const s = cumulant_sums.data() + (1 + j) * Kp + k;
      w.k234[3 * k * J + j] = s[0];
      w.k234[(3 * k + 1) * J + j] = s[J * Kp];
      w.k234[(3 * k + 2) * J + j] = s[2 * J * Kp] - 3 * s[0] * cumulant_sums[k];
      w.c[k * J + j] = p.unbias * s[0];
    }
  for (std::int64_t j = 0; extras && j < J; ++j) w.unbiased_o[j] = p.unbias != 0 ? p.omega : 0;
}

/// False leaves the prompt for f64.
bool Tilt::long_prompt(const Prompt& p) {
  const bool lanes = single && !share_of_n && kernels::active().tilt_slices && n_values <= kernels::kBatchValues;
  if (!lanes || p.n <= kLongRows) return false;
  Long l(*this, p);
  if (!l.survey()) return false;
  l.sum();
  Work w = work();
  std::vector<std::int64_t> exact;
  l.add_to(*this, w, exact);
  l.add_cumulants(w);
  for (std::int64_t j = 0; j < n_values; ++j) {
    w.o[j] = p.omega;
    w.base[j] = l.baseline[j];
  }
  for (std::int64_t k = 0; k < n_scores; ++k) mean[k] += p.omega * (p.origin[score_at + k] + l.mean[k]);
  if (!exact.empty())
    for_each_labelled(p, score_at, n_scores, value_at, n_values, [&](const Labelled& one) { view(p, one, exact, w); });
  add(p, w);
  return true;
}

}  // namespace clinometer
