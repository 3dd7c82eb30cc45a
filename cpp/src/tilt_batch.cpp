// The usual prompts of a block together, in f32 lanes: whole, closed, fully labelled, of scores and values that
// f32 holds with room to spare. Everything else, and every lane the kernel gives back, goes through Tilt::prompt.
#include <clinometer/statistics/tilt.hpp>

#include <algorithm>
#include <thread>

#include "kernels/table.hpp"

namespace clinometer {
namespace {

// powers up to t^3 f of such numbers stay within f32
constexpr double kLargestScore = 1e8, kSmallestScore = 1e-8, kLargestValue = 1e12, kSmallestValue = 1e-12;
constexpr std::int64_t kFewScores = 8;  // below: lanes run over directions and betas together
constexpr std::size_t kShort = 64;      // rows up to which ranks are counted and not sorted
constexpr std::int64_t kMostRows = std::int64_t(1) << 16;
// prompts that begin in one such run of canonical rows make a batch: no bit depends on how rows come in blocks
constexpr std::int64_t kBatchRows = 1024;
constexpr std::size_t kSpares = 2;
constexpr std::int64_t kLongRows = 8192;   // longer prompts are cut into slices, which threads share
constexpr std::int64_t kSliceRows = 4096;  // f32 within a slice, f64 across

/// Weighted means of `width` columns, columns innermost.
void means(const double* x, std::int64_t stride, const double* w, std::int64_t n, std::int64_t width, double* mean) {
  std::fill_n(mean, width, 0.0);
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t k = 0; k < width; ++k) mean[k] += w[i] * (x[i * stride + k] - x[k]);
  for (std::int64_t k = 0; k < width; ++k) mean[k] += x[k];
}

/// Mid-ranks less 1/2 under w, by sorting.
void long_ranks(const double* f, const double* w, std::int64_t n, float* out, std::int64_t stride) {
  std::vector<std::pair<double, std::int64_t>> order;  // values beside their rows: the sort stays in one array
  order.reserve(std::size_t(n));
  for (std::int64_t i = 0; i < n; ++i) order.emplace_back(f[i], i);
  std::sort(order.begin(), order.end());
  double below = 0;
  for (std::int64_t i = 0; i < n;) {
    std::int64_t end = i;
    double tied = 0;
    for (; end < n && order[end].first == order[i].first; ++end) tied += w[order[end].second];
    for (; i < end; ++i) out[order[i].second * stride] = float(below + tied / 2 - 0.5);
    below += tied;
  }
}

/// f(0) .. f(n - 1) on up to `threads` threads.
template <class F>
void share(std::int64_t n, std::int64_t threads, const F& f) {
  const std::int64_t used = std::clamp<std::int64_t>(threads, 1, std::max<std::int64_t>(n, 1));
  const auto part = [&](std::int64_t t) {
    for (std::int64_t i = t; i < n; i += used) f(i);
  };
  std::vector<std::thread> others;
  for (std::int64_t t = 1; t < used; ++t) others.emplace_back(part, t);
  part(0);
  for (auto& t : others) t.join();
}

bool within(double largest, double low, double high) { return largest == 0 || (largest >= low && largest <= high); }

}  // namespace

/// Arrays of a batch (kernels/table.hpp), filled prompt by prompt.
struct Tilt::Batch {
  std::int64_t K = 0, J = 0, B = 0, Kp = 0;  // Kp: K padded to 16
  std::int64_t run = -1;                     // which run of canonical rows
  std::vector<Prompt> kept;                  // of which only what is no pointer outlives a block: view()
  std::vector<double> raw;                   // scores, values and weights of each prompt, for lanes that are given back
  std::vector<std::size_t> at;
  bool alone = false;  // one long prompt: its rows stay with the caller
  std::int64_t threads = 1;
  std::vector<std::int64_t> offsets{0};
  std::vector<float> omega, unbias, weight, columns, score, top, reach;
  std::vector<double> mean, baseline;  // (P, K), (P, J)

  // what the kernels take and give, kept for the next batch
  std::vector<float> lam, pilot, direct, direct_top, direct_reach, wide, wide_top, wide_reach, sums;
  std::vector<std::int64_t> panel, own;
  std::vector<char> left;

  void begin(std::int64_t n_scores, std::int64_t n_values, std::int64_t n_betas) {
    K = n_scores, J = n_values, B = n_betas, Kp = (K + 15) / 16 * 16;
    run = -1;
    alone = false;
    kept.clear();
    raw.clear();
    at.clear();
    offsets.assign(1, 0);
    for (auto* v : {&omega, &unbias, &weight, &columns, &score, &top, &reach}) v->clear();
    mean.clear();
    baseline.clear();
  }
  bool few() const { return K < kFewScores; }
  std::int64_t tilts() const { return few() ? (K * B + 15) / 16 * 16 : B * Kp; }
  /// The cell (k, b) of a lane, or -1 for padding.
  std::int64_t cell(std::int64_t lane) const {
    if (few()) return lane < K * B ? lane : -1;
    return lane % Kp < K ? lane % Kp * B + lane / Kp : -1;
  }
  std::int64_t prompts() const { return std::int64_t(kept.size()); }
  Prompt view(std::int64_t p) const {
    Prompt one = kept[p];
    one.score = raw.data() + at[p];
    one.value = one.score + one.n * one.n_scores;
    one.weight = one.value + one.n * one.n_values;
    return one;
  }

  /// Takes a prompt in, or leaves it for f64.
  bool take(const Prompt& p, std::int64_t score_at, std::int64_t value_at) {
    if (p.n == 0) return false;
    const double* const t = p.score + score_at;
    const double* const f = p.value + value_at;
    double largest_value = 0;
    for (std::int64_t i = 0; i < p.n; ++i) {
      if (!(p.weight[i] > 0)) return false;
      for (std::int64_t j = 0; j < J; ++j) {
        const double v = f[i * p.n_values + j];
        if (std::isnan(v)) return false;
      }
    }
    std::vector<double> m(std::size_t(std::max(K, J))), high(std::size_t(K), 0), reach_k(high);
    means(t, p.n_scores, p.weight, p.n, K, m.data());
    for (std::int64_t i = 0; i < p.n; ++i)
      for (std::int64_t k = 0; k < K; ++k) {
        const double x = t[i * p.n_scores + k] - m[k];
        high[k] = std::max(high[k], x);
        reach_k[k] = std::max(reach_k[k], std::abs(x));
      }
    for (double r : reach_k)
      if (!within(r, kSmallestScore, kLargestScore)) return false;
    std::vector<double> fm(static_cast<std::size_t>(J));
    if (J) means(f, p.n_values, p.weight, p.n, J, fm.data());
    for (std::int64_t j = 0; j < J; ++j) {
      largest_value = 0;
      for (std::int64_t i = 0; i < p.n; ++i)
        largest_value = std::max(largest_value, std::abs(f[i * p.n_values + j] - fm[j]));
      if (!within(largest_value, kSmallestValue, kLargestValue)) return false;
    }
    add(p, t, p.origin + score_at, m.data(), high, reach_k, f, fm);
    return true;
  }

  void add(const Prompt& p, const double* t, const double* origin, const double* m, const std::vector<double>& high,
           const std::vector<double>& reach_k, const double* f, const std::vector<double>& fm) {
    const std::size_t rows = std::size_t(offsets.back()), n = std::size_t(p.n), P = kept.size();
    kept.push_back(p);
    at.push_back(raw.size());
    if (!alone) {
      raw.insert(raw.end(), p.score, p.score + p.n * p.n_scores);
      raw.insert(raw.end(), p.value, p.value + p.n * p.n_values);
      raw.insert(raw.end(), p.weight, p.weight + p.n);
    }
    offsets.push_back(std::int64_t(rows + n));
    omega.push_back(float(p.omega));
    unbias.push_back(float(p.unbias));
    weight.insert(weight.end(), p.weight, p.weight + p.n);
    score.resize((rows + n) * std::size_t(Kp), 0.0f);
    top.resize((P + 1) * std::size_t(Kp), 0.0f);
    reach.resize(top.size(), 0.0f);
    for (std::int64_t k = 0; k < K; ++k) mean.push_back(origin[k] + m[k]);
    baseline.insert(baseline.end(), fm.begin(), fm.end());
    for (std::int64_t k = 0; k < K; ++k) {
      top[P * std::size_t(Kp) + std::size_t(k)] = float(high[k]);
      reach[P * std::size_t(Kp) + std::size_t(k)] = float(reach_k[k]);
    }
    // rows of 16-padded scores; `panels` brings them to the kernel's order when the batch is full
    for (std::size_t i = 0; i < n; ++i)
      for (std::int64_t k = 0; k < K; ++k)
        score[(rows + i) * std::size_t(Kp) + std::size_t(k)] = float(t[std::int64_t(i) * p.n_scores + k] - m[k]);
    const std::size_t F = std::size_t(2 * J);
    columns.resize((rows + n) * F);
    share(J, alone ? threads : 1, [&](std::int64_t j) {
      thread_local std::vector<double> column;
      column.resize(n);
      float* const to = columns.data() + rows * F;
      for (std::size_t i = 0; i < n; ++i) {
        column[i] = f[std::int64_t(i) * p.n_values + j];
        to[i * F + std::size_t(j)] = float(column[i] - fm[std::size_t(j)]);
      }
      (n <= kShort ? kernels::active().mid_ranks : long_ranks)(column.data(), p.weight, p.n, to + J + j, 2 * J);
    });
  }

  /// [rows][Kp] to [Kp / 16][rows][16], or, for few scores, to a panel of every 16 tilts.
  const float* panels(const std::vector<float>& x, std::vector<float>& out) const {
    const std::int64_t rows = std::int64_t(x.size()) / Kp;
    out.resize(x.size());
    for (std::int64_t q = 0; q < Kp; q += 16)
      for (std::int64_t i = 0; i < rows; ++i) std::copy_n(&x[i * Kp + q], 16, &out[q * rows + i * 16]);
    return out.data();
  }
  const float* spread(const std::vector<float>& x, std::vector<float>& out) const {
    const std::int64_t rows = std::int64_t(x.size()) / Kp, n = tilts();
    out.resize(std::size_t(rows * n));
    std::fill(out.begin() + (n - 16) * rows, out.end(), 0.0f);  // the padding of the last panel
    for (std::int64_t lane = 0; lane < K * B; ++lane)
      for (std::int64_t i = 0; i < rows; ++i) out[lane / 16 * 16 * rows + i * 16 + lane % 16] = x[i * Kp + lane / B];
    return out.data();
  }
};

void Tilt::prompts(const Prompt* p, std::int64_t n) {
  std::int64_t i = 0;
  const bool lanes = single && !share_of_n && kernels::active().tilt_batch && n_values <= kernels::kBatchValues;
  // the first prompt sets what errors are measured from
  for (; i < n && (!lanes || !gains.settled() || !unbiased.covariance.settled() || n_prompts == 0); ++i) prompt(p[i]);
  for (; i < n; ++i) {
    const std::int64_t run = p[i].first / kBatchRows;
    if (batch && batch->run != run) flush();
    if (!batch) {
      batch = spare();
      batch->begin(n_scores, n_values, n_betas);
      batch->run = run;
    }
    const bool closed = p[i].cluster_begins && p[i].cluster_ends && p[i].n <= kMostRows;
    if (!closed || !batch->take(p[i], score_at, value_at)) prompt(p[i]);
  }
}

void Tilt::flush() {
  if (!batch) return;
  const std::shared_ptr<Batch> full = std::move(batch);
  batch.reset();
  if (full->prompts()) absorb(*full);
  if (spares().size() < kSpares) spares().push_back(full);
}

/// Batches that have grown to their size, one thread's.
std::vector<std::shared_ptr<Tilt::Batch>>& Tilt::spares() {
  thread_local std::vector<std::shared_ptr<Batch>> some;
  return some;
}
std::shared_ptr<Tilt::Batch> Tilt::spare() {
  if (spares().empty()) return std::make_shared<Batch>();
  std::shared_ptr<Batch> one = std::move(spares().back());
  spares().pop_back();
  return one;
}

/// Fills what a call of the kernels takes, but for the pilot and the sums.
kernels::TiltBatch Tilt::arrays(Batch& b) const {
  const std::int64_t M = b.tilts(), Kp = b.Kp;
  b.lam.assign(std::size_t(M), 0.0f);
  for (std::int64_t lane = 0; lane < M; ++lane) {
    const std::int64_t cell = b.cell(lane);
    if (cell < 0) continue;
    const double l = 1 / betas[cell];
    b.lam[lane] = l == 0 ? 0.0f : l > 1e-30 && l < 1e30 ? float(l) : -1.0f;
  }
  b.own.resize(std::size_t(Kp / 16));
  for (std::int64_t g = 0; g < Kp / 16; ++g) b.own[g] = g;
  b.panel.resize(std::size_t(M / 16));
  for (std::int64_t g = 0; g < M / 16; ++g) b.panel[g] = b.few() ? g : g % (Kp / 16);
  kernels::TiltBatch batch{};
  batch.n_prompts = b.prompts(), batch.n_tilts = M, batch.n_values = b.J;
  batch.offsets = b.offsets.data();
  batch.omega = b.omega.data(), batch.unbias = b.unbias.data(), batch.weight = b.weight.data();
  batch.columns = b.columns.data();
  const float* const direct = b.panels(b.score, b.direct);
  batch.score = b.few() ? b.spread(b.score, b.wide) : direct;
  batch.top = b.few() ? b.spread(b.top, b.wide_top) : b.panels(b.top, b.direct_top);
  batch.reach = b.few() ? b.spread(b.reach, b.wide_reach) : b.panels(b.reach, b.direct_reach);
  batch.panel = b.panel.data(), batch.lam = b.lam.data();
  return batch;
}

void Tilt::absorb(Batch& b) {
  const std::int64_t J = n_values, P = b.prompts(), M = b.tilts(), Kp = b.Kp;
  kernels::TiltBatch batch = arrays(b);
  b.pilot.assign(std::size_t(J * M), 0.0f);
  for (std::int64_t lane = 0; lane < M; ++lane)
    for (std::int64_t j = 0; b.cell(lane) >= 0 && j < J; ++j)
      b.pilot[j * M + lane] = float(gains.pilot_of(b.cell(lane), j));
  b.sums.resize(std::size_t(kernels::tilt_sums(J) * M));
  b.left.assign(std::size_t(P * M), 0);
  batch.pilot = b.pilot.data(), batch.sums = b.sums.data(), batch.left_out = b.left.data();
  kernels::active().tilt_batch(batch);
  add_batch(b);
  for (std::int64_t p = 0; p < P; ++p) {
    std::vector<std::int64_t> cells;
    for (std::int64_t lane = 0; lane < M; ++lane)
      if (b.left[p * M + lane] && b.cell(lane) >= 0) cells.push_back(b.cell(lane));
    if (!cells.empty()) left_out(b.view(p), cells);
  }
  if (J == 0) return;
  b.pilot.assign(std::size_t(J * Kp), 0.0f);
  b.sums.resize(std::size_t(kernels::cumulant_sums(J) * Kp));
  for (std::int64_t k = 0; k < n_scores; ++k)
    for (std::int64_t j = 0; j < J; ++j) b.pilot[j * Kp + k] = float(unbiased.covariance.pilot_of(k, j));
  batch.n_tilts = Kp;
  batch.score = b.direct.data();
  batch.panel = b.own.data(), batch.pilot = b.pilot.data(), batch.sums = b.sums.data();
  kernels::active().cumulant_batch(batch);
  add_cumulants(b);
}

/// The kernel's sums and what counts prompts into the state.
void Tilt::add_batch(const Batch& b) {
  const std::int64_t J = n_values, M = b.tilts();
  for (std::int64_t p = 0; p < b.prompts(); ++p) {
    const Prompt& one = b.kept[p];
    mass += one.omega;
    n_prompts += 1;
    for (std::int64_t k = 0; k < n_scores; ++k) mean[k] += one.omega * b.mean[p * n_scores + k];
    gains.count_closed(one.omega);
    const std::vector<double> o(std::size_t(J), one.omega);
    baseline.add(b.baseline.data() + p * J, o.data(), true, true);
    if (one.unbias != 0) unbiased.covariance.count_closed(one.omega);
  }
  const auto row = [&](std::int64_t i) { return b.sums.data() + i * M; };
  for (std::int64_t lane = 0; lane < M; ++lane) {
    const std::int64_t cell = b.cell(lane);
    if (cell < 0) continue;
    kl[cell] += row(0)[lane];
    reverse_kl[cell] += row(1)[lane];  // with centred scores they are one and the same
    log_partition_centred[cell] += row(1)[lane];
    chi2[cell] += row(2)[lane];
    ess[cell] += row(3)[lane];
    ess_min[cell] = std::min(ess_min[cell], double(row(4)[lane]));
    max_log_ratio[cell] = std::max(max_log_ratio[cell], double(row(5)[lane]));
    gains.add_sums(cell, row(6) + lane, row(6 + J) + lane, row(6 + 3 * J) + lane, M);
    for (std::int64_t j = 0; j < J; ++j) win[cell * J + j] += row(6 + 2 * J + j)[lane];
  }
  // a win rate is one half and the kernel's sum
  double total = 0;
  for (const Prompt& p : b.kept) total += p.omega;
  for (double& x : win) x += 0.5 * total;
}

void Tilt::add_cumulants(const Batch& b) {
  const std::int64_t J = n_values, Kp = b.Kp;
  for (std::int64_t k = 0; k < n_scores; ++k) {
    for (std::int64_t i = 0; i < 3 * J; ++i) cumulants[3 * k * J + i] += b.sums[i * Kp + k];
    const float* const at = b.sums.data() + 3 * J * Kp + k;
    unbiased.covariance.add_sums(k, at, at + J * Kp, at + 2 * J * Kp, Kp);
  }
}

/// Slices of a long prompt, shared by threads and added in order; sums (3 + 2 J, tilts).
void Tilt::slices(Batch& b, std::vector<double>& sums) const {
  const std::int64_t rows = b.offsets.back(), P = (rows + kSliceRows - 1) / kSliceRows, M = b.tilts();
  const std::int64_t width = (3 + 2 * n_values) * M;
  kernels::TiltBatch batch = arrays(b);
  std::vector<std::int64_t> borders;
  for (std::int64_t p = 0; p <= P; ++p) borders.push_back(std::min(rows, p * kSliceRows));
  b.sums.resize(std::size_t(P * width));
  batch.n_prompts = P, batch.offsets = borders.data(), batch.sums = b.sums.data();
  share(P, n_threads, [&](std::int64_t p) { kernels::active().tilt_slices(batch, p, p + 1); });
  sums.assign(std::size_t(width), 0);
  for (std::int64_t p = 0; p < P; ++p)
    for (std::int64_t i = 0; i < width; ++i) sums[i] += b.sums[p * width + i];
}

/// k2, k3, k4 of a long prompt in f64, scores innermost.
void Tilt::long_cumulants(const Batch& b, Work& w) const {
  const std::int64_t J = n_values, K = n_scores, rows = b.offsets.back();
  std::vector<double> sum(std::size_t(3 * J * K), 0), variance(std::size_t(K), 0), one(std::size_t(3 * K));
  for (std::int64_t i = 0; i < rows; ++i) {
    const float* const t = b.score.data() + i * b.Kp;
    for (std::int64_t k = 0; k < K; ++k) {
      const double x = t[k], wx = double(b.weight[i]) * x;
      one[k] = wx;
      one[K + k] = wx * x;
      one[2 * K + k] = wx * x * x;
      variance[k] += wx * x;
    }
    for (std::int64_t j = 0; j < J; ++j) {
      const double f = b.columns[i * 2 * J + j];
      for (std::int64_t m = 0; m < 3 * K; ++m) sum[j * 3 * K + m] += f * one[m];
    }
  }
  for (std::int64_t k = 0; k < K; ++k)
    for (std::int64_t j = 0; j < J; ++j) {
      const double* const s = sum.data() + j * 3 * K + k;
      w.k234[3 * k * J + j] = s[0];
      w.k234[(3 * k + 1) * J + j] = s[K];
      w.k234[(3 * k + 2) * J + j] = s[2 * K] - 3 * s[0] * variance[k];
    }
}

/// A prompt longer than a leaf in f32 lanes; false leaves it for f64.
bool Tilt::long_prompt(const Prompt& p) {
  const bool lanes = single && !share_of_n && kernels::active().tilt_slices && n_values <= kernels::kBatchValues;
  if (!lanes || p.n <= kLongRows) return false;
  const std::shared_ptr<Batch> taken = spare();
  Batch& b = *taken;
  b.begin(n_scores, n_values, n_betas);
  b.alone = true;
  b.threads = n_threads;
  if (!b.take(p, score_at, value_at)) return false;
  std::vector<double> sums;
  slices(b, sums);
  Work w = work();
  const std::int64_t J = n_values, M = b.tilts();
  std::vector<std::int64_t> exact;
  for (std::int64_t lane = 0; lane < M; ++lane) {
    const std::int64_t cell = b.cell(lane);
    if (cell < 0) continue;
    const double m = sums[lane], L = std::log1p(m), kl_ = sums[M + lane] / (1 + m) - L;
    const double chi = (sums[2 * M + lane] - m * m) / ((1 + m) * (1 + m)), tilt = double(b.lam[lane]);
    const double top = b.top[cell / n_betas];
    const bool safe = tilt * top <= 40 && kl_ * 32 >= L && kl_ >= 1e-24;
    if (tilt < 0 || (tilt * top != 0 && !safe)) {
      exact.push_back(cell);
      continue;
    }
    kl[cell] += p.omega * kl_;
    reverse_kl[cell] += p.omega * L;
    log_partition_centred[cell] += p.omega * L;
    chi2[cell] += p.omega * chi;
    ess[cell] += p.omega / (1 + chi);
    ess_min[cell] = std::min(ess_min[cell], 1 / (1 + chi));
    max_log_ratio[cell] = std::max(max_log_ratio[cell], tilt * top - L);
    for (std::int64_t j = 0; j < J; ++j) {
      w.gain[cell * J + j] = sums[(3 + j) * M + lane] / (1 + m);
      w.win[cell * J + j] = 0.5 + sums[(3 + J + j) * M + lane] / (1 + m);
    }
  }
  long_cumulants(b, w);
  for (std::int64_t j = 0; j < J; ++j) {
    w.o[j] = p.omega;
    w.base[j] = b.baseline[j];
    w.unbiased_o[j] = p.unbias != 0 ? p.omega : 0;
    for (std::int64_t k = 0; k < n_scores; ++k) w.c[k * J + j] = p.unbias * w.k234[3 * k * J + j];
  }
  for (std::int64_t k = 0; k < n_scores; ++k) mean[k] += p.omega * b.mean[k];
  if (!exact.empty())
    for_each_labelled(p, score_at, n_scores, value_at, n_values, [&](const Labelled& l) { view(p, l, exact, w); });
  add(p, w);
  return true;
}

/// Cells of a counted prompt that f32 could not hold, in f64.
void Tilt::left_out(const Prompt& p, const std::vector<std::int64_t>& cells) {
  const std::size_t J = std::size_t(n_values);
  Work w;
  w.gain.assign(betas.size() * J, 0);
  w.win.assign(betas.size() * J, 0);
  w.base.assign(J, 0);
  w.o.assign(J, 0);
  for_each_labelled(p, score_at, n_scores, value_at, n_values, [&](const Labelled& l) { view(p, l, cells, w); });
  for (std::int64_t cell : cells) {
    gains.add_cell(cell, w.gain.data() + cell * n_values, p.omega);
    // the half has been counted with the batch
    for (std::int64_t j = 0; j < n_values; ++j)
      win[cell * n_values + j] += p.omega * (w.win[cell * n_values + j] - 0.5);
  }
}

}  // namespace clinometer
