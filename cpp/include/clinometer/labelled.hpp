// A prompt restricted to the labelled rows of each value. Zero-weight rows are left out here, once, so they can
// never win a tilt; a value with NaN in some rows is treated on its labelled rows alone, with their base
// weights renormalised (theory 0.4: unlabelled rows are left out of that value only).
#pragma once
#include <clinometer/per_prompt.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

namespace clinometer {

struct Labelled {
  bool whole = false;  // every row of positive weight: the policy's own sums come from here
  std::int64_t n = 0;
  double mass = 1;                    // base weight of the labelled rows, before normalisation
  std::vector<double> weight;         // (n,) sums to 1
  std::vector<double> score;          // (n, K) centred twice under weight
  std::vector<double> mean;           // (K,) what was subtracted
  std::vector<double> below;          // (n, K) score less the largest: exact where a far outlier swamps the mean
  std::vector<std::int64_t> columns;  // values covered
  std::vector<double> value;          // (n, columns) centred
  std::vector<double> value_mean;     // (columns,)
};

namespace detail {

/// Subtract the weighted mean of each column twice: the residue of the first time matters at tiny tilts.
inline void centre(std::vector<double>& x, std::int64_t width, const std::vector<double>& w,
                   std::vector<double>& mean) {
  mean.assign(std::size_t(width), 0);
  const std::int64_t n = std::int64_t(w.size());
  // a pilot keeps the weighted mean exact when all entries agree
  const std::vector<double> pilot(x.begin(), x.begin() + (n ? width : 0));
  for (int round = 0; round < 2; ++round) {
    std::vector<double> m(static_cast<std::size_t>(width), 0.0);
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t k = 0; k < width; ++k)
        m[k] += w[i] * (round == 0 ? x[i * width + k] - pilot[k] : x[i * width + k]);
    for (std::int64_t k = 0; k < width; ++k) {
      if (round == 0) m[k] += pilot[k];
      mean[k] += m[k];
    }
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t k = 0; k < width; ++k) x[i * width + k] -= m[k];
  }
}

inline Labelled gather(const Prompt& p, std::int64_t score_at, std::int64_t n_scores, const std::vector<char>& keep,
                       const std::vector<std::int64_t>& columns, std::int64_t value_at) {
  Labelled out;
  double total = 0;
  for (std::int64_t i = 0; i < p.n; ++i)
    if (keep[i]) total += p.weight[i];
  for (std::int64_t i = 0; i < p.n; ++i) {
    if (!keep[i]) continue;
    out.weight.push_back(p.weight[i] / total);
    for (std::int64_t k = 0; k < n_scores; ++k) out.score.push_back(p.score[i * p.n_scores + score_at + k]);
    for (std::int64_t j : columns) out.value.push_back(p.value[i * p.n_values + value_at + j]);
  }
  out.n = std::int64_t(out.weight.size());
  out.mass = total;
  out.columns = columns;
  std::vector<double> top(std::size_t(n_scores), -std::numeric_limits<double>::infinity());
  for (std::int64_t i = 0; i < out.n; ++i)
    for (std::int64_t k = 0; k < n_scores; ++k) top[k] = std::max(top[k], out.score[i * n_scores + k]);
  out.below = out.score;
  for (std::int64_t i = 0; i < out.n; ++i)
    for (std::int64_t k = 0; k < n_scores; ++k) out.below[i * n_scores + k] -= top[k];
  centre(out.score, n_scores, out.weight, out.mean);
  centre(out.value, std::int64_t(columns.size()), out.weight, out.value_mean);
  return out;
}

}  // namespace detail

/// Calls f(Labelled) once for the whole prompt with the values labelled everywhere, then once for each
/// value with gaps (not at all for one without a label here).
template <class F>
void for_each_labelled(const Prompt& p, std::int64_t score_at, std::int64_t n_scores, std::int64_t value_at,
                       std::int64_t n_values, F&& f) {
  std::vector<char> positive(static_cast<std::size_t>(p.n));
  for (std::int64_t i = 0; i < p.n; ++i) positive[i] = p.weight[i] > 0;
  if (std::find(positive.begin(), positive.end(), 1) == positive.end()) return;
  std::vector<std::int64_t> complete, gappy;
  for (std::int64_t j = 0; j < n_values; ++j) {
    bool gap = false;
    for (std::int64_t i = 0; i < p.n; ++i)
      gap = gap || (positive[i] && std::isnan(p.value[i * p.n_values + value_at + j]));
    (gap ? gappy : complete).push_back(j);
  }
  Labelled whole = detail::gather(p, score_at, n_scores, positive, complete, value_at);
  whole.whole = true;
  f(whole);
  for (std::int64_t j : gappy) {
    std::vector<char> keep = positive;
    bool any = false;
    for (std::int64_t i = 0; i < p.n; ++i) {
      keep[i] = keep[i] && !std::isnan(p.value[i * p.n_values + value_at + j]);
      any = any || keep[i];
    }
    if (any) f(detail::gather(p, score_at, n_scores, keep, {j}, value_at));
  }
}

}  // namespace clinometer
