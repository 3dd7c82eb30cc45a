#include <clinometer/prompt_tilt.hpp>

#include <algorithm>
#include <cmath>
#include <vector>

#include "src/share.hpp"

namespace clinometer {
namespace {

constexpr double kMostPairs = 16;    // responses up to which two are left out: n^2/2 ways, and little bias beyond
constexpr double kHeavy = 0.9;       // tilted mass beyond which the rest is summed anew, not by subtraction
constexpr std::int64_t kBlock = 64;  // prompts that share their scratch memory

/// Responses that count; `tilted` and `base` sum to 1.
struct Sample {
  std::vector<double> score, base, tilted, copies;
  std::int64_t n = 0;              // rows
  double responses = 0, mean = 0;  // the tilted mean of the score

  void resize(std::int64_t rows) {
    n = rows;
    for (auto* x : {&score, &base, &tilted, &copies}) x->resize(std::size_t(rows));
  }
  void settle() {
    mean = 0;
    for (std::int64_t i = 0; i < n; ++i) mean += tilted[i] * score[i];
  }
};

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

/// f(left out, its weight) for every way to leave out one response, or two; weights sum to 1.
template <class F>
void each(const Sample& s, int how_many, const F& f) {
  const double n = s.responses;
  for (std::int64_t i = 0; i < s.n; ++i) {
    if (how_many == 1) {
      f(left_out(s, i, -1), s.copies[i] / n);
      continue;
    }
    const double pairs = n * (n - 1) / 2;
    if (s.copies[i] > 1) f(left_out(s, i, i), s.copies[i] * (s.copies[i] - 1) / 2 / pairs);
    for (std::int64_t j = i + 1; j < s.n; ++j) f(left_out(s, i, j), s.copies[i] * s.copies[j] / pairs);
  }
}

/// Whether anything is left to compare without that many, and the ways are few enough.
bool can_leave_out(const Sample& s, int how_many) {
  return s.responses >= how_many + 1 && (how_many == 1 || s.responses <= kMostPairs);
}

/// Of the other responses: tilted mass, mean score and mean square.
struct Others {
  double mass, t, tt;
};

Others others(const Sample& s, double tt, const LeftOut& o) {
  if (o.tilted() <= kHeavy) {
    const double ti = s.score[o.i], tj = o.j < 0 ? 0 : s.score[o.j], mass = 1 - o.tilted(), left = 1 / mass;
    return {mass, (s.mean - o.qi * ti - o.qj * tj) * left, (tt - o.qi * ti * ti - o.qj * tj * tj) * left};
  }
  Others sum{0, 0, 0};
  for (std::int64_t l = 0; l < s.n; ++l) {
    const double p = o.share(s, l) * s.tilted[l];
    sum.mass += p, sum.t += p * s.score[l], sum.tt += p * s.score[l] * s.score[l];
  }
  if (!(sum.mass > 0)) return {0, 0, 0};
  return {sum.mass, sum.t / sum.mass, sum.tt / sum.mass};
}

/// A mean and its slope in lam.
struct Slope {
  double at = 0, slope = 0;
  void add(double weight, const Slope& x) { at += weight * x.at, slope += weight * x.slope; }
};

/// KL and its slope, the mean over the ways to leave out so many responses.
Slope kl_without(const Sample& s, double lam, double log_z, double tt, int how_many) {
  if (how_many == 0) return {std::max(lam * s.mean - log_z, 0.0), lam * std::max(tt - s.mean * s.mean, 0.0)};
  Slope kl;
  // logarithms of products: one for eight ways that weigh the same
  double product = 1, weighs = 0;
  int many = 0;
  const auto settle = [&] { kl.at -= weighs * std::log(product), product = 1, many = 0; };
  each(s, how_many, [&](const LeftOut& o, double weight) {
    const Others w = others(s, tt, o);
    if (weight != weighs || many == 8) settle(), weighs = weight;
    if (w.mass > 1e-30) product *= w.mass / (1 - o.base()), ++many, kl.at += weight * (lam * w.t - log_z);
    kl.slope += weight * lam * std::max(w.tt - w.t * w.t, 0.0);
  });
  settle();
  kl.at = std::max(kl.at, 0.0);
  return kl;
}

/// A value on the responses that carry it, less their mean, with what no tilt changes.
struct Label {
  std::vector<std::int64_t> row;                      // of the prompt's sample
  std::vector<double> value, f, base, copies, beats;  // beats: base mass of what a response beats
  std::vector<double> over;                           // 1, 1/2 or 0 by whether i beats j, over pairs i < j
  std::vector<std::int32_t> order, border;            // ascending, and where in it equal ones begin, and its end
  bool whole = false;                                 // every response that counts carries it

  std::int64_t n() const { return std::int64_t(row.size()); }
};

/// Sums over all ways to leave out one response, or two, in which a value is a factor: found once for all values.
class Ways {
 public:
  void of(const Sample& s, int how_many);
  /// The mean gain is sum gain f, its slope sum covariance f.
  Slope gain(const Label& v) const;
  Slope win(const Sample& s, const Label& v, const std::vector<double>& beaten, const std::vector<double>& beaten_t,
            const Slope& all) const;
  const std::vector<double>& coefficients() const { return gain_; }

 private:
  /// Weights of ways over the base mass they leave, the tilted mass, and both; the last two times the mean score too.
  struct Sums {
    double base = 0, tilted = 0, tilted_t = 0, both = 0, both_t = 0;
    void add(const Sums& x) {
      base += x.base, tilted += x.tilted, tilted_t += x.tilted_t, both += x.both, both_t += x.both_t;
    }
  };
  struct Heavy {
    LeftOut o;
    double weight;
    Others rest;
  };
  void leave(const Sample& s, const LeftOut& o, double weight);
  Slope summed_anew(const Sample& s, const Label& v, const Heavy& h) const;

  std::int64_t n_ = 0;
  std::vector<double> gain_, covariance_;  // coefficients of a value
  Sums all_;
  std::vector<Sums> without_;       // of the ways that leave out a response
  std::vector<double> at_, slope_;  // over pairs i < j that are left out: what i beating j adds to j beating i
  Slope back_;                      // the latter, summed; and two copies of one response
  std::vector<Heavy> heavy_;
};

void Ways::of(const Sample& s, int how_many) {
  n_ = s.n, all_ = {}, back_ = {};
  for (auto* x : {&gain_, &covariance_}) x->assign(std::size_t(n_), 0.0);
  without_.assign(std::size_t(n_), {});
  at_.clear(), slope_.clear(), heavy_.clear();
  each(s, how_many, [&](const LeftOut& o, double weight) { leave(s, o, weight); });
  for (std::int64_t l = 0; l < n_; ++l) {
    const Sums& own = without_[l];
    const double q = s.tilted[l], qc = q / s.copies[l], b = s.base[l], mass = q * all_.tilted - qc * own.tilted;
    gain_[l] += mass - (b * all_.base - b / s.copies[l] * own.base);
    covariance_[l] += s.score[l] * mass - (q * all_.tilted_t - qc * own.tilted_t);
  }
}

void Ways::leave(const Sample& s, const LeftOut& o, double weight) {
  const Others rest = others(s, 0, o);
  Sums x;
  x.base = weight / (1 - o.base());
  const bool heavy = o.tilted() > kHeavy;
  if (heavy) {
    heavy_.push_back({o, weight, rest});
    for (std::int64_t l = 0; l < s.n && rest.mass > 0; ++l) {
      const double p = weight * o.share(s, l) * s.tilted[l] / rest.mass;
      gain_[l] += p, covariance_[l] += p * (s.score[l] - rest.t);
    }
  } else {
    const double left = 1 / rest.mass;
    x.tilted = weight * left, x.both = x.base * left;
    x.tilted_t = x.tilted * rest.t, x.both_t = x.both * rest.t;
  }
  all_.add(x), without_[o.i].add(x);
  if (o.j < 0) return;
  without_[o.j].add(x);
  // the two were taken away one by one, and with them twice what they are to each other
  const double ij = x.both * o.qi * o.bj, ji = x.both * o.qj * o.bi, ji_t = ji * (s.score[o.j] - rest.t);
  back_.at += ji, back_.slope += ji_t;
  if (o.i == o.j) return;
  at_.push_back(ij - ji), slope_.push_back(ij * (s.score[o.i] - rest.t) - ji_t);
}

double dot(const std::vector<double>& x, const std::vector<double>& y) {
  double sum[4] = {};
  const std::size_t n = x.size(), even = n / 4 * 4;
  for (std::size_t i = 0; i < even; i += 4)
    for (std::size_t a = 0; a < 4; ++a) sum[a] += x[i + a] * y[i + a];
  for (std::size_t i = even; i < n; ++i) sum[0] += x[i] * y[i];
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

Slope Ways::gain(const Label& v) const { return {dot(gain_, v.f), dot(covariance_, v.f)}; }

double over(double a, double b) { return a > b ? 1 : a == b ? 0.5 : 0; }

Slope Ways::summed_anew(const Sample& s, const Label& v, const Heavy& h) const {
  Slope sum;
  for (std::int64_t l = 0; l < s.n; ++l) {
    const double p = s.tilted[l] * h.o.share(s, l);
    double c = v.beats[l] - h.o.bi * over(v.value[l], v.value[h.o.i]);
    if (h.o.j >= 0) c -= h.o.bj * over(v.value[l], v.value[h.o.j]);
    sum.at += p * c, sum.slope += p * c * s.score[l];
  }
  const double mass = h.rest.mass * (1 - h.o.base());
  if (!(mass > 0)) return {0.5, 0};
  return {sum.at / mass, sum.slope / mass - sum.at / mass * h.rest.t};
}

/// The mean win rate; `beaten` is the tilted mass of what beats a response, `beaten_t` its score, `all` sums over all.
Slope Ways::win(const Sample& s, const Label& v, const std::vector<double>& beaten, const std::vector<double>& beaten_t,
                const Slope& all) const {
  Slope out{all.at * all_.both + back_.at, all.slope * all_.both - all.at * all_.both_t + back_.slope};
  for (std::int64_t i = 0; i < n_; ++i) {
    const double q = s.tilted[i] / s.copies[i], b = s.base[i] / s.copies[i], own = q * b / 2 - q * v.beats[i];
    const double k = without_[i].both, kt = without_[i].both_t;
    out.at += k * (own - b * beaten[i]);
    out.slope += own * (s.score[i] * k - kt) - b * (beaten_t[i] * k - beaten[i] * kt);
  }
  if (!at_.empty()) out.at += dot(at_, v.over), out.slope += dot(slope_, v.over);
  for (const Heavy& h : heavy_) out.add(h.weight, summed_anew(s, v, h));
  return out;
}

/// One prompt at a time, with its scratch memory.
class AtPrompt {
 public:
  AtPrompt(const PromptRows& rows, const PromptTilts& tilts) : rows_(rows), tilts_(tilts) {
    labels_.resize(std::size_t(rows.n_values));
  }

  /// The responses that count; column and labels are taken when they are needed.
  void begin(std::int64_t g) {
    g_ = g, from_ = rows_.offset[g], size_ = rows_.offset[g + 1] - from_, column_ = -1;
    slot_.assign(std::size_t(size_), -1);
    std::int64_t n = 0;
    for (std::int64_t i = 0; i < size_; ++i)
      if (rows_.weight[from_ + i] > 0) slot_[i] = n++;  // others are no part of the policy's support
    s_.resize(n);
    s_.responses = 0;
    for (std::int64_t i = 0; i < size_; ++i) {
      if (slot_[i] < 0) continue;
      s_.base[slot_[i]] = rows_.weight[from_ + i];
      s_.responses += s_.copies[slot_[i]] = rows_.copies ? rows_.copies[from_ + i] : 1;
    }
  }

  void label() {
    for (std::int64_t j = 0; j < rows_.n_values; ++j) take(j);
  }

  void tilt(std::int64_t c) {
    c_ = c, lam_ = tilts_.lam[c];
    if (tilts_.column[c] != column_) take_column(tilts_.column[c]);
    double sum = 0;
    for (std::int64_t i = 0; i < s_.n; ++i) sum += s_.tilted[i] = s_.base[i] * std::exp(lam_ * (s_.score[i] - top_));
    for (std::int64_t i = 0; i < s_.n; ++i) s_.tilted[i] /= sum;
    log_z_ = std::log(sum) + lam_ * top_;
    s_.settle();
    known_[0] = known_[1] = false;
  }

  Slope kl() const {
    double tt = 0;
    for (std::int64_t i = 0; i < s_.n; ++i) tt += s_.tilted[i] * s_.score[i] * s_.score[i];
    Slope out;
    for (int m = 0; m <= 2; ++m)
      if (const double b = blend(0, m); b != 0 && (m == 0 || can_leave_out(s_, m)))
        out.add(b, kl_without(s_, lam_, log_z_, tt, m));
    return out;
  }

  /// Fields of a value, a step apart.
  void value(std::int64_t j, double* out, std::int64_t step);

 private:
  double blend(std::int64_t which, int m) const {
    const std::int64_t node = tilts_.node[c_];
    return tilts_.blend[((node * (1 + rows_.n_values) + which) * 3 + m) * rows_.n_prompts + g_];
  }
  void take_column(std::int64_t column);
  void take(std::int64_t j);
  const Sample* labelled(const Label& v);
  const Ways& ways(const Sample& s, bool whole, int m);
  void rank(const Sample& s, const Label& v);

  const PromptRows& rows_;
  const PromptTilts& tilts_;
  std::int64_t g_ = 0, from_ = 0, size_ = 0, column_ = -1, c_ = 0;
  double top_ = 0, lam_ = 0, log_z_ = 0;
  std::vector<std::int64_t> slot_, place_;  // of a row among the responses that count, and among those with a label
  Sample s_, own_;
  std::vector<Label> labels_;
  std::vector<double> beaten_, beaten_t_, coefficient_;
  Ways whole_[2], other_;
  bool known_[2] = {false, false};
};

void AtPrompt::take_column(std::int64_t column) {
  const double* const score = tilts_.score + from_ * tilts_.n_columns + column;
  double mean = 0;
  for (std::int64_t i = 0; i < size_; ++i) mean += rows_.weight[from_ + i] * (score[i * tilts_.n_columns] - score[0]);
  mean += score[0];
  top_ = -INFINITY;
  for (std::int64_t i = 0; i < size_; ++i)
    if (slot_[i] >= 0) top_ = std::max(top_, s_.score[slot_[i]] = score[i * tilts_.n_columns] - mean);
  column_ = column;
}

void AtPrompt::take(std::int64_t j) {
  const std::int64_t at = j * rows_.offset[rows_.n_prompts] + from_;
  const double* const value = rows_.value + at;
  Label& v = labels_[std::size_t(j)];
  for (auto* x : {&v.value, &v.base, &v.copies}) x->clear();
  v.row.clear(), v.order.clear();
  double base = 0, mean = 0;
  place_.assign(std::size_t(size_), -1);
  for (std::int64_t i = 0; i < size_; ++i) {
    if (slot_[i] < 0 || std::isnan(value[i])) continue;
    place_[i] = v.n();
    v.row.push_back(slot_[i]), v.value.push_back(value[i]);
    v.base.push_back(s_.base[slot_[i]]), v.copies.push_back(s_.copies[slot_[i]]);
    base += v.base.back();
  }
  v.whole = v.n() == s_.n;
  if (!v.whole)
    for (double& b : v.base) b /= base;
  for (std::int64_t i = 0; i < v.n(); ++i) mean += v.base[i] * v.value[i];
  v.f = v.value;
  for (double& f : v.f) f -= mean;
  for (std::int64_t i = 0; i < size_; ++i)
    if (const std::int64_t p = place_[rows_.ranked[at + i]]; p >= 0) v.order.push_back(std::int32_t(p));
  v.beats.resize(std::size_t(v.n()));
  v.border.assign(1, 0);
  double below = 0;
  for (std::int64_t from = 0, to; from < v.n(); from = to) {
    double equal = 0;
    for (to = from; to < v.n() && v.value[v.order[to]] == v.value[v.order[from]]; ++to) equal += v.base[v.order[to]];
    for (std::int64_t a = from; a < to; ++a) v.beats[v.order[a]] = below + equal / 2;
    below += equal;
    v.border.push_back(std::int32_t(to));
  }
  v.over.clear();
  if (double(v.n()) <= kMostPairs)
    for (std::int64_t i = 0; i < v.n(); ++i)
      for (std::int64_t k = i + 1; k < v.n(); ++k) v.over.push_back(over(v.value[i], v.value[k]));
}

/// The responses with that label, masses renormalised; null where there is no mass.
const Sample* AtPrompt::labelled(const Label& v) {
  if (v.whole) return v.n() ? &s_ : nullptr;
  own_.resize(v.n());
  double tilted = 0;
  own_.responses = 0;
  for (std::int64_t i = 0; i < v.n(); ++i) {
    own_.score[i] = s_.score[v.row[i]], own_.base[i] = v.base[i], own_.copies[i] = v.copies[i];
    tilted += own_.tilted[i] = s_.tilted[v.row[i]];
    own_.responses += v.copies[i];
  }
  if (!(tilted > 0)) return nullptr;
  for (std::int64_t i = 0; i < v.n(); ++i) own_.tilted[i] /= tilted;
  own_.settle();
  return &own_;
}

const Ways& AtPrompt::ways(const Sample& s, bool whole, int m) {
  Ways& w = whole ? whole_[m - 1] : other_;
  if (whole && known_[m - 1]) return w;
  w.of(s, m);
  if (whole) known_[m - 1] = true;
  return w;
}

/// Tilted mass of what beats each response, and its mass times score.
void AtPrompt::rank(const Sample& s, const Label& v) {
  beaten_.resize(std::size_t(s.n)), beaten_t_.resize(std::size_t(s.n));
  double above = 0, above_t = 0;
  for (std::size_t group = v.border.size() - 1; group-- > 0;) {
    const std::int64_t from = v.border[group], to = v.border[group + 1];
    double tilted = 0, tilted_t = 0;
    for (std::int64_t a = from; a < to; ++a) {
      const std::int32_t i = v.order[a];
      tilted += s.tilted[i], tilted_t += s.tilted[i] * s.score[i];
    }
    for (std::int64_t a = from; a < to; ++a)
      beaten_[v.order[a]] = above + tilted / 2, beaten_t_[v.order[a]] = above_t + tilted_t / 2;
    above += tilted, above_t += tilted_t;
  }
}

/// Jackknife variance of a gain inside the prompt.
double variance(const Sample& s, const Label& v, double f, double base_f) {
  double mean = 0, square = 0;
  each(s, 1, [&](const LeftOut& o, double weight) {
    double one = (f - o.qi * v.f[o.i]) / (1 - o.qi);
    if (o.qi > kHeavy) {
      double mass = 0;
      one = 0;
      for (std::int64_t l = 0; l < s.n; ++l) {
        const double p = o.share(s, l) * s.tilted[l];
        mass += p, one += p * v.f[l];
      }
      one = mass > 0 ? one / mass : 0;
    }
    one -= (base_f - o.bi * v.f[o.i]) / (1 - o.bi) + f - base_f;  // less the gain of all
    mean += weight * one, square += weight * one * one;
  });
  const double spread = square - mean * mean;  // of two responses it is 0, and what is left is rounding
  return spread > 1e-12 * square ? (s.responses - 1) * spread : 0;
}

/// Standard deviation of sum coefficient f over all orders of the values, copies written out.
double shuffled(const Sample& s, const Label& v, const std::vector<double>& coefficient) {
  double mean = 0, square = 0, coefficients = 0;
  for (std::int64_t i = 0; i < s.n; ++i) mean += s.copies[i] * v.f[i] / s.responses;
  for (std::int64_t i = 0; i < s.n; ++i) {
    square += s.copies[i] * (v.f[i] - mean) * (v.f[i] - mean);
    coefficients += coefficient[i] * coefficient[i] / s.copies[i];
  }
  return s.responses > 1 ? std::sqrt(coefficients * square / (s.responses - 1)) : 0;
}

void AtPrompt::value(std::int64_t j, double* out, std::int64_t step) {
  const Label& v = labels_[std::size_t(j)];
  const Sample* const s = labelled(v);
  for (std::int64_t a = 0; a < kValueFields; ++a) out[a * step] = 0;
  if (!s) return;  // no label: the prompt has no share in this value
  double f = 0, ft = 0, base_f = 0;
  Slope win, gains, wins;
  for (std::int64_t i = 0; i < s->n; ++i) {
    const double p = s->tilted[i], t = s->score[i];
    f += p * v.f[i], ft += p * v.f[i] * t, base_f += s->base[i] * v.f[i];
    win.at += p * v.beats[i], win.slope += p * v.beats[i] * t;
  }
  const double all = blend(1 + j, 0);
  coefficient_.resize(std::size_t(s->n));
  for (std::int64_t i = 0; i < s->n; ++i) coefficient_[i] = all * (s->tilted[i] - s->base[i]);
  if (all != 0) {
    gains.add(all, {f - base_f, ft - f * s->mean});
    wins.add(all, {win.at, win.slope - win.at * s->mean});
  }
  bool ranked = false;
  for (int m = 1; m <= 2; ++m) {
    const double b = blend(1 + j, m);
    if (b == 0 || !can_leave_out(*s, m)) continue;
    if (!ranked) rank(*s, v), ranked = true;
    const Ways& w = ways(*s, v.whole, m);
    gains.add(b, w.gain(v));
    for (std::int64_t i = 0; i < s->n; ++i) coefficient_[i] += b * w.coefficients()[i];
    wins.add(b, w.win(*s, v, beaten_, beaten_t_, win));
  }
  out[0] = gains.at, out[step] = gains.slope, out[2 * step] = wins.at, out[3 * step] = wins.slope;
  if (tilts_.node[c_] == 0 && can_leave_out(*s, 1)) out[4 * step] = variance(*s, v, f, base_f);
  out[5 * step] = shuffled(*s, v, coefficient_);
}

}  // namespace

void prompt_tilt(const PromptRows& rows, const PromptTilts& tilts, std::int64_t n_threads, double* out,
                 const std::function<void()>& poll) {
  const std::int64_t G = rows.n_prompts, fields = kPromptFields + kValueFields * rows.n_values;
  share((G + kBlock - 1) / kBlock, n_threads, poll, [&](std::int64_t block, int) {
    AtPrompt prompt(rows, tilts);
    for (std::int64_t g = block * kBlock; g < std::min(G, (block + 1) * kBlock); ++g) {
      prompt.begin(g);
      prompt.label();
      for (std::int64_t c = 0; c < tilts.n_tilts; ++c) {
        double* const to = out + c * fields * G + g;
        prompt.tilt(c);
        const Slope kl = prompt.kl();
        to[0] = kl.at, to[G] = kl.slope;
        for (std::int64_t j = 0; j < rows.n_values; ++j)
          prompt.value(j, to + (kPromptFields + kValueFields * j) * G, G);
      }
    }
  });
}

void prompt_curve(const PromptRows& rows, const PromptTilts& tilts, const double* omega, std::int64_t n_threads,
                  double* out, const std::function<void()>& poll) {
  const std::int64_t G = rows.n_prompts, C = tilts.n_tilts, blocks = (G + kBlock - 1) / kBlock;
  std::vector<double> part(std::size_t(blocks * C * 2), 0.0);  // added up in the order of the blocks
  share(blocks, n_threads, poll, [&](std::int64_t block, int) {
    AtPrompt prompt(rows, tilts);
    double* const to = part.data() + block * C * 2;
    for (std::int64_t g = block * kBlock; g < std::min(G, (block + 1) * kBlock); ++g) {
      if (omega[g] == 0) continue;
      prompt.begin(g);
      for (std::int64_t c = 0; c < C; ++c) {
        prompt.tilt(c);
        const Slope kl = prompt.kl();
        to[2 * c] += omega[g] * kl.at, to[2 * c + 1] += omega[g] * kl.slope;
      }
    }
  });
  std::fill(out, out + C * 2, 0.0);
  for (std::int64_t block = 0; block < blocks; ++block)
    for (std::int64_t i = 0; i < C * 2; ++i) out[i] += part[std::size_t(block * C * 2 + i)];
}

}  // namespace clinometer
