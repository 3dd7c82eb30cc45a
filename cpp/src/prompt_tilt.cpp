#include <clinometer/prompt_tilt.hpp>

#include <algorithm>
#include <cmath>
#include <tuple>
#include <vector>

#include "src/share.hpp"

namespace clinometer {
namespace {

constexpr double kMostPairs = 16;  // responses up to which two are left out: n^2/2 ways, and little bias beyond
constexpr double kHeavy = 0.9;     // tilted mass beyond which the rest is summed anew, not by subtraction

/// A prompt's responses; `tilted` and `base` sum to 1 over those that count.
struct Sample {
  std::vector<double> score, base, tilted, copies;
  std::int64_t n = 0;  // rows
  double responses = 0;
};

/// First moments of a tilt: of the score t, a value f, and their products.
struct TiltMoments {
  double t = 0, tt = 0, f = 0, ft = 0, base_f = 0, mass = 1;
  double covariance() const { return ft - f * t; }
};

/// Rows of base weight 0 are left out: they are no part of the policy's support.
void take(const PromptRows& rows, std::int64_t g, const double* score, double lam, Sample& s, double& log_z) {
  const std::int64_t from = rows.offset[g];
  s.n = rows.offset[g + 1] - from;
  for (auto* x : {&s.score, &s.base, &s.tilted, &s.copies}) x->resize(std::size_t(s.n));
  double mean = 0, top = -INFINITY;
  for (std::int64_t i = 0; i < s.n; ++i) mean += rows.weight[from + i] * (score[from + i] - score[from]);
  mean += score[from];
  s.responses = 0;
  for (std::int64_t i = 0; i < s.n; ++i) {
    s.base[i] = rows.weight[from + i];
    s.copies[i] = s.base[i] > 0 ? (rows.copies ? rows.copies[from + i] : 1) : 0;
    s.responses += s.copies[i];
    s.score[i] = s.base[i] > 0 ? score[from + i] - mean : 0;
    if (s.base[i] > 0) top = std::max(top, s.score[i]);
  }
  double sum = 0;
  for (std::int64_t i = 0; i < s.n; ++i) sum += s.tilted[i] = s.base[i] * std::exp(lam * (s.score[i] - top));
  for (std::int64_t i = 0; i < s.n; ++i) s.tilted[i] /= sum;
  log_z = std::log(sum) + lam * top;
}

/// One or two copies of rows that are left out: their rows (j = -1: one), tilted masses q and base masses b.
struct LeftOut {
  std::int64_t i, j;
  double qi, qj, bi, bj;
  double tilted() const { return qi + qj; }
  double base() const { return bi + bj; }
  double share(const Sample& s, std::int64_t l) const { return (s.copies[l] - (l == i) - (l == j)) / s.copies[l]; }
};

LeftOut left_out(const Sample& s, std::int64_t i, std::int64_t j) {
  const double ci = s.copies[i], cj = j < 0 ? 1 : s.copies[j];
  return {i, j, s.tilted[i] / ci, j < 0 ? 0 : s.tilted[j] / cj, s.base[i] / ci, j < 0 ? 0 : s.base[j] / cj};
}

/// Moments of the other responses, summed anew.
TiltMoments summed_without(const Sample& s, const double* f, const LeftOut& o) {
  double mass = 0, base = 0;
  TiltMoments m;
  for (std::int64_t l = 0; l < s.n; ++l) {
    if (s.copies[l] == 0) continue;
    const double share = o.share(s, l), p = share * s.tilted[l];
    mass += p;
    base += share * s.base[l];
    m.t += p * s.score[l], m.tt += p * s.score[l] * s.score[l];
    m.f += p * f[l], m.ft += p * f[l] * s.score[l], m.base_f += share * s.base[l] * f[l];
  }
  for (double* x : {&m.t, &m.tt, &m.f, &m.ft}) *x = mass > 0 ? *x / mass : 0;
  m.base_f = base > 0 ? m.base_f / base : 0;
  m.mass = mass;
  return m;
}

/// The same from the moments of all, by taking away what the copies add.
TiltMoments without(const TiltMoments& all, const Sample& s, const double* f, const LeftOut& o) {
  if (o.tilted() > kHeavy) return summed_without(s, f, o);
  const double ti = s.score[o.i], fi = f[o.i], tj = o.j < 0 ? 0 : s.score[o.j], fj = o.j < 0 ? 0 : f[o.j];
  const double left = 1 / (1 - o.tilted());
  TiltMoments m;
  m.t = (all.t - o.qi * ti - o.qj * tj) * left;
  m.tt = (all.tt - o.qi * ti * ti - o.qj * tj * tj) * left;
  m.f = (all.f - o.qi * fi - o.qj * fj) * left;
  m.ft = (all.ft - o.qi * fi * ti - o.qj * fj * tj) * left;
  m.base_f = (all.base_f - o.bi * fi - o.bj * fj) / (1 - o.base());
  m.mass = 1 - o.tilted();
  return m;
}

/// f(left out, its weight) for every way to leave out one response, or two; weights sum to 1.
template <class F>
void each(const Sample& s, int how_many, const F& f) {
  const double n = s.responses;
  for (std::int64_t i = 0; i < s.n; ++i) {
    if (s.copies[i] == 0) continue;
    if (how_many == 1) {
      f(left_out(s, i, -1), s.copies[i] / n);
      continue;
    }
    const double pairs = n * (n - 1) / 2;
    if (s.copies[i] > 1) f(left_out(s, i, i), s.copies[i] * (s.copies[i] - 1) / 2 / pairs);
    for (std::int64_t j = i + 1; j < s.n; ++j)
      if (s.copies[j] > 0) f(left_out(s, i, j), s.copies[i] * s.copies[j] / pairs);
  }
}

/// Whether that many are to be left out, anything is left to compare, and the ways are few enough.
bool can_leave_out(const Sample& s, int orders, int how_many) {
  return (orders >> how_many & 1) && s.responses >= how_many + 1 && (how_many == 1 || s.responses <= kMostPairs);
}

TiltMoments moments(const Sample& s, const double* f) {
  TiltMoments m;
  for (std::int64_t i = 0; i < s.n; ++i) {
    const double p = s.tilted[i], t = s.score[i];
    m.t += p * t, m.tt += p * t * t, m.f += p * f[i], m.ft += p * f[i] * t, m.base_f += s.base[i] * f[i];
  }
  return m;
}

/// out: KL and its slope, of all responses, without one, and without two.
void of_prompt(const Sample& s, double lam, double log_z, int orders, const double* none, double* out,
               std::int64_t step) {
  const TiltMoments all = moments(s, none);
  out[0] = std::max(lam * all.t - log_z, 0.0);
  out[step] = lam * std::max(all.tt - all.t * all.t, 0.0);
  for (int m = 1; m <= 2; ++m) {
    double kl = 0, slope = 0;
    if (can_leave_out(s, orders, m)) {
      // logarithms of products: one for eight ways that weigh the same
      double product = 1, weighs = 0;
      int many = 0;
      const auto settle = [&] { kl -= weighs * std::log(product), product = 1, many = 0; };
      each(s, m, [&](const LeftOut& o, double weight) {
        const TiltMoments w = without(all, s, none, o);
        if (weight != weighs || many == 8) settle(), weighs = weight;
        if (w.mass > 1e-30) product *= w.mass / (1 - o.base()), ++many, kl += weight * (lam * w.t - log_z);
        slope += weight * lam * std::max(w.tt - w.t * w.t, 0.0);
      });
      settle();
      kl = std::max(kl, 0.0);
    }
    out[2 * m * step] = kl;
    out[(2 * m + 1) * step] = slope;
  }
}

/// Mid-ranks of a value: mass of base responses it beats, of tilted ones that beat it, and of these times their score.
struct Ranks {
  std::vector<double> beats, beaten, beaten_t;
};

void rank(const Sample& s, const double* f, const std::int32_t* order, std::int64_t labelled, Ranks& r) {
  for (auto* x : {&r.beats, &r.beaten, &r.beaten_t}) x->assign(std::size_t(s.n), 0.0);
  double below = 0, passed = 0, passed_t = 0, total_t = 0, total = 0;
  for (std::int64_t i = 0; i < s.n; ++i) total += s.tilted[i], total_t += s.tilted[i] * s.score[i];
  for (std::int64_t from = 0, to; from < labelled; from = to) {
    double base = 0, tilted = 0, tilted_t = 0;
    for (to = from; to < labelled && f[order[to]] == f[order[from]]; ++to) {
      const std::int32_t i = order[to];
      base += s.base[i], tilted += s.tilted[i], tilted_t += s.tilted[i] * s.score[i];
    }
    for (std::int64_t a = from; a < to; ++a) {
      r.beats[order[a]] = below + base / 2;
      r.beaten[order[a]] = total - passed - tilted / 2;
      r.beaten_t[order[a]] = total_t - passed_t - tilted_t / 2;
    }
    below += base, passed += tilted, passed_t += tilted_t;
  }
}

double over(double a, double b) { return a > b ? 1 : a == b ? 0.5 : 0; }

/// Win rate and its slope among the other responses, of whose moments `m` are.
void wins_without(const Sample& s, const double* f, const Ranks& r, const LeftOut& o, const TiltMoments& m, double all,
                  double all_t, double& win, double& slope) {
  double sum = all, sum_t = all_t;
  if (o.tilted() > kHeavy) {  // summed anew: little is left
    sum = sum_t = 0;
    for (std::int64_t l = 0; l < s.n; ++l) {
      if (s.copies[l] == 0) continue;
      const double p = s.tilted[l] * o.share(s, l);
      double c = r.beats[l] - o.bi * over(f[l], f[o.i]);
      if (o.j >= 0) c -= o.bj * over(f[l], f[o.j]);
      sum += p * c, sum_t += p * c * s.score[l];
    }
  } else {
    for (const auto& [i, q, b] : {std::tuple{o.i, o.qi, o.bi}, std::tuple{o.j, o.qj, o.bj}}) {
      if (i < 0) continue;
      sum += q * b / 2 - q * r.beats[i] - b * r.beaten[i];
      sum_t += (q * b / 2 - q * r.beats[i]) * s.score[i] - b * r.beaten_t[i];
    }
    if (o.j >= 0) {
      const double ij = over(f[o.i], f[o.j]);
      sum += o.qi * o.bj * ij + o.qj * o.bi * (1 - ij);
      sum_t += o.qi * s.score[o.i] * o.bj * ij + o.qj * s.score[o.j] * o.bi * (1 - ij);
    }
  }
  const double mass = m.mass * (1 - o.base());
  win = mass > 0 ? sum / mass : 0.5;
  slope = mass > 0 ? sum_t / mass - win * m.t : 0;
}

/// Gain and win rate of one value on its labelled rows, which carry all of base and tilted mass in `s`.
void of_value(const Sample& s, const double* f, const Ranks& r, int orders, double* out, std::int64_t step) {
  const TiltMoments all = moments(s, f);
  double win = 0, win_t = 0, square = 0;
  for (std::int64_t i = 0; i < s.n; ++i)
    win += s.tilted[i] * r.beats[i], win_t += s.tilted[i] * r.beats[i] * s.score[i];
  const double gain = all.f - all.base_f, n = s.responses;
  double found[kValueFields] = {gain, all.covariance(), 0, 0, 0, 0, win, win_t - win * all.t};
  for (int m = 1; m <= 2; ++m)
    if (can_leave_out(s, orders, m))
      each(s, m, [&](const LeftOut& o, double weight) {
        const TiltMoments w = without(all, s, f, o);
        double rate, slope;
        wins_without(s, f, r, o, w, win, win_t, rate, slope);
        const double one = w.f - w.base_f;
        found[2 * m] += weight * one, found[2 * m + 1] += weight * w.covariance();
        found[6 + 2 * m] += weight * rate, found[7 + 2 * m] += weight * slope;
        if (m == 1) square += weight * (one - gain) * (one - gain);
      });
  const double shift = found[2] - gain;
  found[12] = can_leave_out(s, orders, 1) ? (n - 1) * (square - shift * shift) : 0;
  for (std::int64_t a = 0; a < kValueFields; ++a) out[a * step] = found[a];
}

/// The rows of `s` that carry a label, masses renormalised, values less their mean; how many there are.
std::int64_t labelled(const Sample& s, const double* value, Sample& own, std::vector<double>& f) {
  own = s;
  f.assign(std::size_t(s.n), 0.0);
  double base = 0, tilted = 0, mean = 0;
  std::int64_t known = 0;
  own.responses = 0;
  for (std::int64_t i = 0; i < s.n; ++i) {
    known += !std::isnan(value[i]);
    if (std::isnan(value[i])) own.base[i] = own.tilted[i] = own.copies[i] = 0;
    base += own.base[i], tilted += own.tilted[i], own.responses += own.copies[i];
  }
  if (!(base > 0 && tilted > 0)) return -1;
  for (std::int64_t i = 0; i < s.n; ++i) {
    own.base[i] /= base, own.tilted[i] /= tilted;
    if (own.copies[i] > 0) mean += own.base[i] * value[i];
  }
  for (std::int64_t i = 0; i < s.n; ++i) f[i] = own.copies[i] > 0 ? value[i] - mean : 0;
  return known;
}

}  // namespace

void prompt_tilt(const PromptRows& rows, const double* score, double lam, int orders, std::int64_t n_threads,
                 double* out, const std::function<void()>& poll) {
  const std::int64_t G = rows.n_prompts, N = G ? rows.offset[G] : 0;
  constexpr std::int64_t kBlock = 64;  // prompts that share their scratch memory
  share((G + kBlock - 1) / kBlock, n_threads, poll, [&](std::int64_t block, int) {
    Sample s, own;
    Ranks ranks;
    std::vector<double> f, none;
    for (std::int64_t g = block * kBlock; g < std::min(G, (block + 1) * kBlock); ++g) {
      double log_z;
      take(rows, g, score, lam, s, log_z);
      none.assign(std::size_t(s.n), 0.0);
      of_prompt(s, lam, log_z, orders, none.data(), out + g, G);
      for (std::int64_t j = 0; j < rows.n_values; ++j) {
        double* const to = out + (kPromptFields + kValueFields * j) * G + g;
        const std::int64_t at = j * N + rows.offset[g], known = labelled(s, rows.value + at, own, f);
        if (known < 0) {  // no label: the prompt has no share in this value
          for (std::int64_t a = 0; a < kValueFields; ++a) to[a * G] = 0;
          continue;
        }
        rank(own, rows.value + at, rows.ranked + at, known, ranks);
        of_value(own, f.data(), ranks, orders, to, G);
      }
    }
  });
}

}  // namespace clinometer
