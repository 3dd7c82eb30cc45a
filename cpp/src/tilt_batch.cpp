// The usual prompts of a block together, in f32 lanes: whole, closed, fully labelled, of scores and values that
// f32 holds with room to spare. Everything else, and every lane the kernel gives back, goes through Tilt::prompt.
#include <clinometer/statistics/tilt.hpp>

#include <algorithm>
#include <cstring>

#include "kernels/table.hpp"
#include "src/share.hpp"
#include "src/sorted.hpp"

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
constexpr std::int64_t kLongRows = 8192;            // longer prompts are cut into slices, which threads share
constexpr std::int64_t kSliceRows = 4096;           // f32 within a slice, f64 across
constexpr double kNearReach = 1, kSmallSum = 0.02;  // below, sums of E itself have lost too much

/// Mid-ranks less 1/2 under w, by sorting.
void long_ranks(const double* f, const double* w, std::int64_t n, float* out, std::int64_t stride) {
  const std::vector<Keyed> order = sorted(f, n);
  double below = 0;
  for (std::int64_t i = 0; i < n;) {
    std::int64_t end = i;
    double tied = 0;
    for (; end < n && order[end].key == order[i].key; ++end) tied += w[order[end].row];
    for (; i < end; ++i) out[order[i].row * stride] = float(below + tied / 2 - 0.5);
    below += tied;
  }
}

bool within(double largest, double low, double high) { return largest == 0 || (largest >= low && largest <= high); }

}  // namespace

/// Arrays of a run of canonical rows (kernels/table.hpp), filled prompt by prompt, and the sums of the runs of a leaf.
struct Tilt::Batch {
  std::int64_t K = 0, J = 0, B = 0, Kp = 0, F = 0;  // Kp: K padded to 16; F: columns
  bool extras = true;
  std::int64_t run = -1;     // which run of canonical rows
  std::vector<Prompt> kept;  // of which only what is no pointer outlives a block: view()
  std::vector<double> raw;   // scores, values and weights of each prompt, for lanes that are given back
  std::vector<std::size_t> at;
  std::vector<std::int64_t> offsets{0};
  std::vector<float> omega, unbias, even, weight, columns, score, top, reach;
  std::vector<float> spread_score, spread_top, spread_reach;  // for few scores: 16 tilts a panel
  std::vector<double> mean, column;                           // (K,), scratch

  // what the kernels take besides, and the sums of a leaf
  std::vector<float> lam, pilot, cumulant_pilot;
  std::vector<std::int64_t> panel, source;
  std::vector<double> sums, cumulant_sums;
  std::vector<char> left;
  double leaf_mass = 0;

  void begin(const Tilt& t) {
    K = t.n_scores, J = t.n_values, B = t.n_betas, Kp = kernels::padded(K);
    extras = t.extras;
    F = extras ? 2 * J : J;
    mean.resize(std::size_t(K));
    pilot.clear();
    leaf_mass = 0;
    const std::int64_t M = tilts();
    sums.assign(std::size_t(kernels::tilt_sums(J, extras) * M), 0);
    if (extras) {
      std::fill_n(sums.begin() + kernels::ess_min_row(J) * M, M, kInf);
      std::fill_n(sums.begin() + (kernels::ess_min_row(J) + 1) * M, M, -kInf);
    }
    cumulant_sums.assign(extras ? std::size_t(kernels::cumulant_sums(J) * Kp) : 0, 0);
    lam.assign(std::size_t(M), 0.0f);
    for (std::int64_t lane = 0; lane < M; ++lane) {
      if (cell(lane) < 0) continue;
      const double l = 1 / t.betas[cell(lane)];
      lam[lane] = l == 0 ? 0.0f : l > 1e-30 && l < 1e30 ? float(l) : -1.0f;
    }
    panel.resize(std::size_t(M / 16));
    for (std::int64_t g = 0; g < M / 16; ++g) panel[g] = few() ? g : g % (Kp / 16);
    source.assign(std::size_t(M), K);  // the first column of padding
    for (std::int64_t lane = 0; few() && lane < K * B; ++lane) source[lane] = lane / B;
    clear(-1);
  }
  void clear(std::int64_t next_run) {
    run = next_run;
    kept.clear();
    raw.clear();
    at.clear();
    offsets.assign(1, 0);
    for (auto* v :
         {&omega, &unbias, &even, &weight, &columns, &score, &top, &reach, &spread_score, &spread_top, &spread_reach})
      v->clear();
  }
  bool few() const { return K < kFewScores; }
  std::int64_t tilts() const { return few() ? kernels::padded(K * B) : B * Kp; }
  std::int64_t panels() const { return (few() ? tilts() : Kp) / 16; }
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
  bool take(const Prompt& p, const Tilt& t) {
    const std::size_t rows = std::size_t(offsets.back()), P = kept.size();
    grow(rows + std::size_t(p.n), P + 1);
    const std::int64_t n[] = {0, p.n};
    if (!weights(p, t) || !values(p, t, 1) || !scores(p, t, n, 1, 1)) {
      grow(rows, P);
      return false;
    }
    kept.push_back(p);
    at.push_back(raw.size());
    raw.insert(raw.end(), p.score, p.score + p.n * p.n_scores);
    raw.insert(raw.end(), p.value, p.value + p.n * p.n_values);
    raw.insert(raw.end(), p.weight, p.weight + p.n);
    close(p);
    return true;
  }
  /// Takes in a long prompt alone, scores by slice; its rows stay with the caller.
  bool take_slices(const Prompt& p, const Tilt& t, const std::vector<std::int64_t>& borders) {
    grow(std::size_t(p.n), 1);
    const auto slices = std::int64_t(borders.size()) - 1;
    if (!weights(p, t) || !values(p, t, t.n_threads) || !scores(p, t, borders.data(), slices, t.n_threads))
      return false;
    even.assign(std::size_t(slices), even[0]);
    offsets = borders;
    return true;
  }

 private:
  static constexpr double kInf = std::numeric_limits<double>::infinity();

  /// Room for rows and prompts; what lies there is written before it is read.
  void grow(std::size_t rows, std::size_t prompts) {
    ensure(weight, rows);
    ensure(columns, rows * std::size_t(F));
    ensure(score, rows * std::size_t(Kp));
    even.resize(prompts);
    for (auto* v : {&top, &reach}) v->resize(prompts * std::size_t(Kp));
    if (!few()) return;
    ensure(spread_score, rows * std::size_t(tilts()));
    for (auto* v : {&spread_top, &spread_reach}) v->resize(prompts * std::size_t(tilts()));
  }
  template <class T>
  static void ensure(std::vector<T>& v, std::size_t n) {
    if (v.size() < n) v.resize(n + n / 2);
  }
  void close(const Prompt& p) {
    offsets.push_back(offsets.back() + p.n);
    omega.push_back(float(p.omega));
    unbias.push_back(float(p.unbias));
  }

  bool weights(const Prompt& p, const Tilt&) {
    float* const to = weight.data() + offsets.back();
    bool positive = p.n > 0, same = true;
    for (std::int64_t i = 0; i < p.n; ++i) {
      positive = positive && p.weight[i] > 0;
      same = same && p.weight[i] == p.weight[0];
      to[i] = float(p.weight[i]);
    }
    even.back() = same && positive ? to[0] : 0.0f;
    return positive;
  }

  /// Centred values and their mid-ranks; false where f32 has no room for them or a label is missing.
  bool values(const Prompt& p, const Tilt& t, std::int64_t threads) {
    if (J == 0) return true;
    const kernels::Table& table = kernels::active();
    const double* const f = p.value + t.value_at;
    float* const to = columns.data() + offsets.back() * F;
    baseline.assign(f, f + J);
    double sum[kernels::kBatchValues] = {};
    table.weighted_differences(f, p.n_values, p.weight, p.n, J, f, sum);
    for (std::int64_t j = 0; j < J; ++j) baseline[j] += sum[j];
    float high[16] = {}, wide[16] = {};
    ensure(centred, std::size_t(p.n) * 16);
    table.centred_floats(f, p.n_values, p.n, J, baseline.data(), centred.data(), high, wide);
    for (std::int64_t j = 0; j < J; ++j)
      if (std::isnan(baseline[j]) || !within(double(wide[j]), kSmallestValue, kLargestValue)) return false;
    for (std::int64_t i = 0; i < p.n; ++i)
      for (std::int64_t j = 0; j < J; ++j) to[i * F + j] = centred[std::size_t(i * 16 + j)];
    if (!extras) return true;
    const auto rank = [&](std::int64_t j, std::vector<double>& own) {
      ensure(own, std::size_t(p.n));
      for (std::int64_t i = 0; i < p.n; ++i) own[i] = f[i * p.n_values + j];
      (p.n <= std::int64_t(kShort) ? table.mid_ranks : long_ranks)(own.data(), p.weight, p.n, to + J + j, F);
    };
    if (threads == 1) {
      for (std::int64_t j = 0; j < J; ++j) rank(j, column);
    } else {
      share(J, threads, [&](std::int64_t j) {
        std::vector<double> own;
        rank(j, own);
      });
    }
    return true;
  }

  /// Centred scores in panels, slice by slice; false where f32 has no room for them.
  bool scores(const Prompt& p, const Tilt& t, const std::int64_t* borders, std::int64_t slices, std::int64_t threads) {
    const kernels::Table& table = kernels::active();
    const double* const from = p.score + t.score_at;
    std::vector<double>& part = parts;
    part.assign(std::size_t(slices * K), 0);
    share(slices, threads, [&](std::int64_t s) {
      const std::int64_t i = borders[s], n = borders[s + 1] - i;
      for (std::int64_t q = 0; q < K; q += 16)
        table.weighted_differences(from + i * p.n_scores + q, p.n_scores, p.weight + i, n,
                                   std::min<std::int64_t>(16, K - q), from + q, &part[s * K + q]);
    });
    for (std::int64_t k = 0; k < K; ++k) mean[k] = from[k];
    for (std::int64_t s = 0; s < slices; ++s)
      for (std::int64_t k = 0; k < K; ++k) mean[k] += part[s * K + k];
    std::vector<float>& ends = extents;
    ends.assign(std::size_t(slices * 2 * Kp), 0.0f);
    share(slices, threads, [&](std::int64_t s) {
      const std::int64_t i = borders[s], n = borders[s + 1] - i;
      float* const to = score.data() + (offsets.back() + i) * Kp;
      for (std::int64_t q = 0; q < K; q += 16)
        table.centred_floats(from + i * p.n_scores + q, p.n_scores, n, std::min<std::int64_t>(16, K - q), &mean[q],
                             to + q * n, &ends[s * 2 * Kp + q], &ends[(s * 2 + 1) * Kp + q]);
      if (few()) spread(to, n, 16, spread_score.data() + (offsets.back() + i) * tilts());
    });
    float* const high = &top[top.size() - std::size_t(Kp)];
    float* const wide = &reach[reach.size() - std::size_t(Kp)];
    std::fill_n(high, Kp, 0.0f);
    std::fill_n(wide, Kp, 0.0f);
    for (std::int64_t s = 0; s < slices; ++s)
      for (std::int64_t k = 0; k < Kp; ++k) {
        high[k] = std::max(high[k], ends[s * 2 * Kp + k]);
        wide[k] = std::max(wide[k], ends[(s * 2 + 1) * Kp + k]);
      }
    if (few()) {
      spread(high, 1, Kp, &spread_top[spread_top.size() - std::size_t(tilts())]);
      spread(wide, 1, Kp, &spread_reach[spread_reach.size() - std::size_t(tilts())]);
    }
    return std::all_of(wide, wide + K, [](float r) { return within(double(r), kSmallestScore, kLargestScore); });
  }

  /// Rows of own scores to panels of 16 tilts.
  void spread(const float* x, std::int64_t n, std::int64_t stride, float* to) const {
    for (std::int64_t g = 0; g < tilts(); g += 16) {
      const std::int64_t* const from = source.data() + g;
      if (K == 1 && g + 16 <= B) {
        for (std::int64_t i = 0; i < n; ++i, to += 16) std::fill_n(to, 16, x[i * stride]);
        continue;
      }
      for (std::int64_t i = 0; i < n; ++i, to += 16)
        for (std::int64_t l = 0; l < 16; ++l) to[l] = x[i * stride + from[l]];
    }
  }

 public:
  std::vector<double> baseline;  // (J,) of the prompt taken in last

 private:
  std::vector<double> parts;
  std::vector<float> extents, centred;
};

void Tilt::prompts(const Prompt* p, std::int64_t n) {
  const bool lanes = single && !share_of_n && kernels::active().tilt_batch && n_values <= kernels::kBatchValues;
  for (std::int64_t i = 0; i < n; ++i) {
    const bool closed = p[i].cluster_begins && p[i].cluster_ends && p[i].n <= kMostRows;
    if (!lanes || !closed) {
      prompt(p[i]);
      continue;
    }
    if (!batch) {
      batch = spare();
      batch->begin(*this);
    }
    const std::int64_t run = p[i].first / kBatchRows;
    if (batch->run != run) {
      absorb(*batch);
      batch->clear(run);
    }
    if (batch->take(p[i], *this))
      count(p[i], *batch);
    else
      prompt(p[i]);
  }
}

void Tilt::flush() {
  if (!batch) return;
  const std::shared_ptr<Batch> full = std::move(batch);
  batch.reset();
  absorb(*full);
  settle(*full);
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

/// What counts prompts, as one is taken in.
void Tilt::count(const Prompt& p, Batch& b) {
  mass += p.omega;
  b.leaf_mass += p.omega;
  n_prompts += 1;
  for (std::int64_t k = 0; k < n_scores; ++k) mean[k] += p.omega * (p.origin[score_at + k] + b.mean[k]);
  baseline.add_closed(b.baseline.data(), p.omega);
}

/// What a call of the kernels takes, but for the pilots.
kernels::TiltBatch Tilt::arrays(Batch& b) const {
  kernels::TiltBatch out{};
  out.n_prompts = b.prompts(), out.n_tilts = b.tilts(), out.n_values = b.J, out.extras = b.extras;
  out.offsets = b.offsets.data(), out.omega = b.omega.data(), out.unbias = b.unbias.data();
  out.weight = b.weight.data(), out.even = b.even.data(), out.columns = b.columns.data(), out.n_columns = b.F;
  out.score = b.few() ? b.spread_score.data() : b.score.data(), out.n_panels = b.panels();
  out.top = b.few() ? b.spread_top.data() : b.top.data();
  out.reach = b.few() ? b.spread_reach.data() : b.reach.data();
  out.panel = b.panel.data(), out.lam = b.lam.data(), out.pilot = b.pilot.data(), out.sums = b.sums.data();
  out.left_out = b.left.data();
  return out;
}
/// The same for cumulants, whose lanes are scores.
kernels::TiltBatch Tilt::own_arrays(Batch& b) const {
  kernels::TiltBatch out = arrays(b);
  out.n_tilts = b.Kp, out.n_panels = b.Kp / 16, out.score = b.score.data();
  out.pilot = b.cumulant_pilot.data(), out.sums = b.cumulant_sums.data();
  return out;
}

/// What errors are measured from: the figures of the leaf's first prompt, where none has been counted before.
void Tilt::find_pilots(Batch& b) {
  const std::int64_t J = n_values, M = b.tilts(), Kp = b.Kp;
  b.pilot.assign(std::size_t(J * M), 0.0f);
  b.cumulant_pilot.assign(std::size_t(J * Kp), 0.0f);
  if (!extras) return;  // means alone are summed as they are
  const double o = b.kept[0].omega;
  if (!gains.settled() && o > 0) {
    kernels::TiltBatch first = arrays(b);
    std::vector<double> sums(b.sums.size(), 0);
    first.n_prompts = 1, first.sums = sums.data();
    kernels::active().tilt_batch(first);
    for (std::int64_t lane = 0; lane < M; ++lane)
      for (std::int64_t j = 0; b.cell(lane) >= 0 && j < J; ++j)
        gains.offer_pilot(b.cell(lane), j, sums[(2 + j) * M + lane] / o);
    std::fill(b.left.begin(), b.left.end(), 0);
  }
  if (!unbiased.covariance.settled() && o > 0 && b.unbias[0] != 0) {
    kernels::TiltBatch first = own_arrays(b);
    std::vector<double> sums(b.cumulant_sums.size(), 0);
    first.n_prompts = 1, first.sums = sums.data();
    kernels::active().cumulant_batch(first);
    for (std::int64_t k = 0; k < n_scores; ++k)
      for (std::int64_t j = 0; j < J; ++j) unbiased.covariance.offer_pilot(k, j, sums[(3 * J + j) * Kp + k] / o);
  }
  gains.hold();
  unbiased.covariance.hold();
  for (std::int64_t lane = 0; lane < M; ++lane)
    for (std::int64_t j = 0; b.cell(lane) >= 0 && j < J; ++j)
      b.pilot[j * M + lane] = float(gains.pilot_of(b.cell(lane), j));
  for (std::int64_t k = 0; k < n_scores; ++k)
    for (std::int64_t j = 0; j < J; ++j) b.cumulant_pilot[j * Kp + k] = float(unbiased.covariance.pilot_of(k, j));
}

/// A run that is complete, into the sums of its leaf.
void Tilt::absorb(Batch& b) {
  const std::int64_t P = b.prompts(), M = b.tilts();
  if (P == 0) return;
  b.left.assign(std::size_t(P * M), 0);
  if (b.pilot.empty()) find_pilots(b);
  kernels::active().tilt_batch(arrays(b));
  double o = 0, o2 = 0, n_unbiased = 0, unbiased_o = 0, unbiased_o2 = 0;
  for (const Prompt& p : b.kept) {
    o += p.omega;
    o2 += p.omega * p.omega;
    if (p.unbias == 0) continue;
    n_unbiased += 1;
    unbiased_o += p.omega;
    unbiased_o2 += p.omega * p.omega;
  }
  gains.count_closed(double(P), o, o2);
  if (n_unbiased > 0) unbiased.covariance.count_closed(n_unbiased, unbiased_o, unbiased_o2);
  if (std::memchr(b.left.data(), 1, b.left.size())) {
    for (std::int64_t p = 0; p < P; ++p) {
      std::vector<std::int64_t> cells;
      for (std::int64_t lane = 0; lane < M; ++lane)
        if (b.left[p * M + lane] && b.cell(lane) >= 0) cells.push_back(b.cell(lane));
      if (!cells.empty()) left_out(b.view(p), cells);
    }
  }
  if (extras && n_values > 0) kernels::active().cumulant_batch(own_arrays(b));
}

/// The sums of a leaf into the state.
void Tilt::settle(const Batch& b) {
  const std::int64_t J = n_values, M = b.tilts(), Kp = b.Kp;
  const auto row = [&](std::int64_t i) { return b.sums.data() + i * M; };
  const std::int64_t extremes = kernels::ess_min_row(J);
  for (std::int64_t lane = 0; lane < M; ++lane) {
    const std::int64_t cell = b.cell(lane);
    if (cell < 0) continue;
    kl[cell] += row(0)[lane];
    reverse_kl[cell] += row(1)[lane];  // with centred scores they are one and the same
    log_partition_centred[cell] += row(1)[lane];
    if (!extras) {
      gains.add_sums(cell, row(2) + lane, M);
      continue;
    }
    gains.add_sums(cell, row(2) + lane, row(2 + J) + lane, row(6 + 3 * J) + lane, M);
    // a win rate is one half and the kernel's sum
    for (std::int64_t j = 0; j < J; ++j) win[cell * J + j] += row(2 + 2 * J + j)[lane] + 0.5 * b.leaf_mass;
    chi2[cell] += row(extremes - 2)[lane];
    ess[cell] += row(extremes - 1)[lane];
    ess_min[cell] = std::min(ess_min[cell], row(extremes)[lane]);
    max_log_ratio[cell] = std::max(max_log_ratio[cell], row(extremes + 1)[lane]);
  }
  for (std::int64_t k = 0; extras && k < n_scores; ++k) {
    for (std::int64_t i = 0; i < 3 * J; ++i) cumulants[3 * k * J + i] += b.cumulant_sums[i * Kp + k];
    const double* const at = b.cumulant_sums.data() + 3 * J * Kp + k;
    unbiased.covariance.add_sums(k, at, at + J * Kp, at + 2 * J * Kp, Kp);
  }
}

/// Raw sums of the slices of a long prompt, shared by threads and added in order; (rows, lanes).
std::vector<double> Tilt::slices(kernels::TiltBatch batch, std::int64_t rows, bool of_cumulants) const {
  const auto kernel = of_cumulants ? kernels::active().cumulant_slices : kernels::active().tilt_slices;
  const std::int64_t width = rows * batch.n_tilts;
  std::vector<float> raw(std::size_t(batch.n_prompts * width));
  batch.raw = raw.data();
  share(batch.n_prompts, n_threads, [&](std::int64_t s) { kernel(batch, s, s + 1); });
  std::vector<double> sums(static_cast<std::size_t>(width), 0.0);
  for (std::int64_t s = 0; s < batch.n_prompts; ++s)
    for (std::int64_t i = 0; i < width; ++i) sums[i] += raw[s * width + i];
  return sums;
}

/// A prompt longer than a leaf in f32 lanes; false leaves it for f64.
bool Tilt::long_prompt(const Prompt& p) {
  const bool lanes = single && !share_of_n && kernels::active().tilt_slices && n_values <= kernels::kBatchValues;
  if (!lanes || p.n <= kLongRows) return false;
  std::vector<std::int64_t> borders{0};
  while (borders.back() < p.n) borders.push_back(std::min(p.n, borders.back() + kSliceRows));
  Batch b;
  b.begin(*this);
  if (!b.take_slices(p, *this, borders)) return false;
  kernels::TiltBatch batch = arrays(b);
  batch.n_prompts = std::int64_t(borders.size()) - 1;
  Work w = work();
  std::vector<std::int64_t> exact;
  if (!long_lanes(p, b, slices(batch, 3 + b.F, false), false, w, exact)) {
    batch.careful = true;
    long_lanes(p, b, slices(batch, 3 + b.F, false), true, w, exact);
  }
  long_cumulants(p, b, w);
  for (std::int64_t j = 0; j < n_values; ++j) {
    w.o[j] = p.omega;
    w.base[j] = b.baseline[j];
  }
  for (std::int64_t k = 0; k < n_scores; ++k) mean[k] += p.omega * (p.origin[score_at + k] + b.mean[k]);
  if (!exact.empty())
    for_each_labelled(p, score_at, n_scores, value_at, n_values, [&](const Labelled& l) { view(p, l, exact, w); });
  add(p, w);
  return true;
}

/// The tilts of a long prompt from their sums; false, before anything is added, where a short way was not right.
bool Tilt::long_lanes(const Prompt& p, const Batch& b, const std::vector<double>& sums, bool careful, Work& w,
                      std::vector<std::int64_t>& exact) {
  const std::int64_t J = n_values, M = b.tilts();
  const auto widest = [&](std::int64_t lane) {
    return b.cell(lane) < 0 ? 0.0 : double(b.lam[lane]) * double(b.reach[b.cell(lane) / n_betas]);
  };
  for (std::int64_t group = 0; !careful && group < M; group += 16) {  // lanes that may have gone the same way
    double most = 0;
    for (std::int64_t lane = group; lane < group + 16; ++lane) most = std::max(most, widest(lane));
    for (std::int64_t lane = group; most > kNearReach && lane < group + 16; ++lane)
      if (widest(lane) > 0 && sums[lane] < kSmallSum) return false;
  }
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
    for (std::int64_t j = 0; j < J; ++j) w.gain[cell * J + j] = sums[(3 + j) * M + lane] / (1 + m);
    if (!extras) continue;
    chi2[cell] += p.omega * chi;
    ess[cell] += p.omega / (1 + chi);
    ess_min[cell] = std::min(ess_min[cell], 1 / (1 + chi));
    max_log_ratio[cell] = std::max(max_log_ratio[cell], tilt * top - L);
    for (std::int64_t j = 0; j < J; ++j) w.win[cell * J + j] = 0.5 + sums[(3 + J + j) * M + lane] / (1 + m);
  }
  return true;
}

/// k2, k3, k4 of a long prompt.
void Tilt::long_cumulants(const Prompt& p, Batch& b, Work& w) const {
  const std::int64_t J = n_values, Kp = b.Kp;
  if (!extras || J == 0) return;
  kernels::TiltBatch batch = own_arrays(b);
  batch.n_prompts = std::int64_t(b.offsets.size()) - 1;
  const std::vector<double> sums = slices(batch, 1 + 3 * J, true);
  for (std::int64_t k = 0; k < n_scores; ++k)
    for (std::int64_t j = 0; j < J; ++j) {
      const double* const s = sums.data() + (1 + j) * Kp + k;
      w.k234[3 * k * J + j] = s[0];
      w.k234[(3 * k + 1) * J + j] = s[J * Kp];
      w.k234[(3 * k + 2) * J + j] = s[2 * J * Kp] - 3 * s[0] * sums[k];
      w.c[k * J + j] = p.unbias * s[0];
    }
  for (std::int64_t j = 0; j < J; ++j) w.unbiased_o[j] = p.unbias != 0 ? p.omega : 0;
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
