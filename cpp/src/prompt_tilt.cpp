#include <clinometer/prompt_tilt.hpp>

#include <algorithm>
#include <cmath>
#include <vector>

#include "src/share.hpp"

namespace clinometer {
namespace {

constexpr double kHeavy = 0.5;  // tilted mass of one response beyond which the rest is summed anew, not by subtraction

/// A prompt's responses; `tilted` and `base` sum to 1 over those that count.
struct Sample {
  std::vector<double> score, base, tilted, copies;
  std::int64_t n = 0;  // rows
  double responses = 0;
};

/// First moments of a tilt: of the score t, a value f, and their products.
struct TiltMoments {
  double t = 0, tt = 0, f = 0, ft = 0, base_f = 0;
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

/// TiltMoments of the responses but for one copy of row `out`, summed anew.
TiltMoments summed_without(const Sample& s, const double* f, std::int64_t out) {
  double mass = 0, base = 0;
  TiltMoments m;
  for (std::int64_t i = 0; i < s.n; ++i) {
    if (s.copies[i] == 0) continue;
    const double share = i == out ? (s.copies[i] - 1) / s.copies[i] : 1, p = share * s.tilted[i];
    mass += p;
    base += share * s.base[i];
    m.t += p * s.score[i], m.tt += p * s.score[i] * s.score[i];
    m.f += p * f[i], m.ft += p * f[i] * s.score[i], m.base_f += share * s.base[i] * f[i];
  }
  for (double* x : {&m.t, &m.tt, &m.f, &m.ft}) *x = mass > 0 ? *x / mass : 0;
  m.base_f = base > 0 ? m.base_f / base : 0;
  return m;
}

/// The same from the moments of all, by taking away what the copy adds.
TiltMoments without(const TiltMoments& all, const Sample& s, const double* f, std::int64_t i) {
  const double q = s.tilted[i] / s.copies[i], b = s.base[i] / s.copies[i], left = 1 / (1 - q), t = s.score[i];
  TiltMoments m;
  m.t = (all.t - q * t) * left, m.tt = (all.tt - q * t * t) * left;
  m.f = (all.f - q * f[i]) * left, m.ft = (all.ft - q * f[i] * t) * left;
  m.base_f = (all.base_f - b * f[i]) / (1 - b);
  return m;
}

TiltMoments moments(const Sample& s, const double* f) {
  TiltMoments m;
  for (std::int64_t i = 0; i < s.n; ++i) {
    const double p = s.tilted[i], t = s.score[i];
    m.t += p * t, m.tt += p * t * t, m.f += p * f[i], m.ft += p * f[i] * t, m.base_f += s.base[i] * f[i];
  }
  return m;
}

/// out: KL, its slope, and the means of both without one response.
void of_prompt(const Sample& s, double lam, double log_z, double* out, std::int64_t step) {
  const std::vector<double> none(std::size_t(s.n), 0.0);
  const TiltMoments all = moments(s, none.data());
  double kl = 0, slope = 0;
  if (s.responses >= 2)
    for (std::int64_t i = 0; i < s.n; ++i) {
      if (s.copies[i] == 0) continue;
      const double q = s.tilted[i] / s.copies[i], b = s.base[i] / s.copies[i];
      const TiltMoments m = q > kHeavy ? summed_without(s, none.data(), i) : without(all, s, none.data(), i);
      double mass = 1 - q;
      if (q > kHeavy) {
        mass = 0;
        for (std::int64_t l = 0; l < s.n; ++l)
          mass += s.tilted[l] * (l == i && s.copies[l] > 0 ? (s.copies[l] - 1) / s.copies[l] : 1);
      }
      if (mass > 0) kl += s.copies[i] * std::max(lam * m.t - log_z - std::log(mass / (1 - b)), 0.0);
      slope += s.copies[i] * lam * std::max(m.tt - m.t * m.t, 0.0);
    }
  const double n = s.responses >= 2 ? s.responses : 1;
  out[0] = std::max(lam * all.t - log_z, 0.0);
  out[step] = lam * std::max(all.tt - all.t * all.t, 0.0);
  out[2 * step] = kl / n;
  out[3 * step] = slope / n;
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

/// Win rate and its slope without one copy of row `out`, summed anew.
void wins_without(const Sample& s, const double* f, const Ranks& r, std::int64_t out, double& win, double& slope) {
  const double b = s.base[out] / s.copies[out];
  double mass = 0, sum = 0, sum_t = 0, mean_t = 0;
  for (std::int64_t l = 0; l < s.n; ++l) {
    if (s.copies[l] == 0) continue;
    const double p = s.tilted[l] * (l == out ? (s.copies[l] - 1) / s.copies[l] : 1);
    const double over = f[l] > f[out] ? 1 : f[l] == f[out] ? 0.5 : 0, c = (r.beats[l] - b * over) / (1 - b);
    mass += p, sum += p * c, sum_t += p * c * s.score[l], mean_t += p * s.score[l];
  }
  win = mass > 0 ? sum / mass : 0.5;
  slope = mass > 0 ? sum_t / mass - win * mean_t / mass : 0;
}

/// Gain and win rate of one value on its labelled rows, which carry all of base and tilted mass in `s`.
void of_value(const Sample& s, const double* f, const Ranks& r, double* out, std::int64_t step) {
  const TiltMoments all = moments(s, f);
  double win = 0, win_t = 0;
  for (std::int64_t i = 0; i < s.n; ++i)
    win += s.tilted[i] * r.beats[i], win_t += s.tilted[i] * r.beats[i] * s.score[i];
  double sums[4] = {0, 0, 0, 0}, square = 0;
  const double n = s.responses, gain = all.f - all.base_f;
  if (n >= 2)
    for (std::int64_t i = 0; i < s.n; ++i) {
      if (s.copies[i] == 0) continue;
      const double q = s.tilted[i] / s.copies[i], b = s.base[i] / s.copies[i], t = s.score[i];
      TiltMoments m;
      double w, w_slope;
      if (q > kHeavy) {
        m = summed_without(s, f, i);
        wins_without(s, f, r, i, w, w_slope);
      } else {
        m = without(all, s, f, i);
        const double left = 1 / ((1 - q) * (1 - b));
        w = (win - q * r.beats[i] - b * r.beaten[i] + q * b / 2) * left;
        w_slope = (win_t - q * r.beats[i] * t - b * r.beaten_t[i] + q * b * t / 2) * left - w * m.t;
      }
      const double one = m.f - m.base_f, c = s.copies[i];
      sums[0] += c * one, sums[1] += c * m.covariance(), sums[2] += c * w, sums[3] += c * w_slope;
      square += c * (one - gain) * (one - gain);
    }
  const double m = n >= 2 ? n : 1, shift = n >= 2 ? sums[0] / n - gain : 0;
  const double found[kValueFields] = {gain,
                                      all.covariance(),
                                      sums[0] / m,
                                      sums[1] / m,
                                      win,
                                      win_t - win * all.t,
                                      sums[2] / m,
                                      sums[3] / m,
                                      n >= 2 ? (n - 1) * (square / n - shift * shift) : 0};
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

void prompt_tilt(const PromptRows& rows, const double* score, double lam, std::int64_t n_threads, double* out) {
  const std::int64_t G = rows.n_prompts, N = G ? rows.offset[G] : 0;
  constexpr std::int64_t kBlock = 64;  // prompts that share their scratch memory
  share((G + kBlock - 1) / kBlock, n_threads, [&](std::int64_t block) {
    Sample s, own;
    Ranks ranks;
    std::vector<double> f;
    for (std::int64_t g = block * kBlock; g < std::min(G, (block + 1) * kBlock); ++g) {
      double log_z;
      take(rows, g, score, lam, s, log_z);
      of_prompt(s, lam, log_z, out + g, G);
      for (std::int64_t j = 0; j < rows.n_values; ++j) {
        double* const to = out + (kPromptFields + kValueFields * j) * G + g;
        const std::int64_t at = j * N + rows.offset[g], known = labelled(s, rows.value + at, own, f);
        if (known < 0) {  // no label: the prompt has no share in this value
          for (std::int64_t a = 0; a < kValueFields; ++a) to[a * G] = 0;
          continue;
        }
        rank(own, rows.value + at, rows.ranked + at, known, ranks);
        of_value(own, f.data(), ranks, to, G);
      }
    }
  });
}

}  // namespace clinometer
