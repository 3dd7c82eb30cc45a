#include "src/lp/prompt_data.hpp"

#include <clinometer/lp/certificate.hpp>
#include <cmath>
#include <limits>
#include <numeric>

#include "src/lp/parallel.hpp"
#include "src/lp/scaled.hpp"

namespace clinometer::lp {
namespace {

constexpr std::int64_t kBatch = 1024;

}  // namespace

bool varying(const Prompts& p, std::int64_t at, std::vector<std::int64_t>& rows) {
  rows.clear();
  const std::int64_t begin = p.begin[at], end = p.begin[at + 1];
  for (std::int64_t j = 0; j < p.k; ++j) {
    double low = std::numeric_limits<double>::infinity(), high = -low, poison = 0;
    for (std::int64_t i = begin; i < end; ++i) {
      const double v = p.values[i * p.k + j];
      poison += v * 0;
      if (p.weight[i] == 0) continue;
      low = v < low ? v : low;
      high = v > high ? v : high;
    }
    if (!(poison == 0)) return false;
    const double size = std::fmax(std::fmax(std::fabs(low), std::fabs(high)) * 1e-3, p.scale[j]);
    if (high - low > kConstant * size) rows.push_back(j);
  }
  return true;
}

void read_game(const Prompts& p, std::int64_t at, PromptGame& game) {
  const std::int64_t begin = p.begin[at];
  game.at = at, game.n = p.begin[at + 1] - begin, game.k = std::int64_t(game.rows.size());
  game.m.resize(std::size_t(game.k * game.n));
  double largest = 0, offset = 0;
  for (std::int64_t r = 0; r < game.k; ++r) {
    const double* const value = p.values + begin * p.k + game.rows[r];
    double* const row = game.m.data() + r * game.n;
    double mean = 0, rest = 0;
    for (std::int64_t i = 0; i < game.n; ++i) mean += p.weight[begin + i] * value[i * p.k];
    for (std::int64_t i = 0; i < game.n; ++i) rest += p.weight[begin + i] * (value[i * p.k] - mean);
    mean += rest;  // what rounding left in the first mean
    const double by = 1 / p.scale[game.rows[r]];
    for (std::int64_t i = 0; i < game.n; ++i) {
      row[i] = (value[i * p.k] - mean) * by;
      offset = std::fmax(offset, std::fabs(value[i * p.k] * by));
      largest = std::fabs(row[i]) > largest ? std::fabs(row[i]) : largest;
    }
  }
  game.exponent = largest > 0 ? exponent_of(largest) + 1 : 0;
  const double factor = scale_by(1.0, -game.exponent);
  for (double& entry : game.m) entry *= factor;
  game.blur = offset * factor * 0x1p-50;
}

Runs by_length(const Prompts& p) {
  Runs runs;
  const auto length = [&p](std::int64_t at) { return p.begin[at + 1] - p.begin[at]; };
  const auto shorter = [&length](std::int64_t a, std::int64_t b) { return length(a) < length(b); };
  runs.resize(std::size_t(p.count));
  std::iota(runs.begin(), runs.end(), std::int64_t{0});
  if (!std::is_sorted(runs.begin(), runs.end(), shorter)) std::stable_sort(runs.begin(), runs.end(), shorter);
  return runs;
}

bool nothing_improves(const Prompts& p, const PromptGame& game, const double* y) {
  const std::int64_t begin = p.begin[game.at];
  std::vector<std::int64_t> used;
  for (std::int64_t i = 0; i < game.n; ++i)
    if (p.weight[begin + i] > 0) used.push_back(begin + i);
  const std::int64_t d = std::int64_t(used.size()) - 1;
  std::vector<double> rows(std::size_t(game.k * d), 0), guess(std::size_t(game.k), 0);
  double blur = 0;
  for (std::int64_t r = 0; r < game.k; ++r) {
    const std::int64_t j = game.rows[r];
    const double last = p.values[used[d] * p.k + j];
    double largest = 0, lost = 0;
    for (std::int64_t i = 0; i < d; ++i) {
      const double first = p.values[used[i] * p.k + j], gap = first - last, other = gap - first;
      rows[r * d + i] = gap;
      lost = std::fmax(lost, std::fabs((first - (gap - other)) + (-last - other)));
      largest = std::fmax(largest, std::fabs(gap));
    }
    if (!(largest > 0)) return false;
    const int e = exponent_of(largest) + 1;
    for (std::int64_t i = 0; i < d; ++i) rows[r * d + i] = scale_by(rows[r * d + i], -e);
    blur = std::fmax(blur, scale_by(lost, -e));
    guess[r] = scale_by(y[r] / p.scale[j], e);
  }
  return holds_origin(rows.data(), game.k, d, guess.data(), nullptr, blur);
}

void stay(const Prompts& p, std::int64_t at, Status status, const PromptResults& out) {
  const double number = status == Status::invalid ? std::numeric_limits<double>::quiet_NaN() : 0;
  out.status[at] = status;
  out.lower[at] = out.upper[at] = number;
  for (std::int64_t j = 0; j < p.k; ++j) out.dual[at * p.k + j] = std::numeric_limits<double>::quiet_NaN();
  for (std::int64_t i = p.begin[at]; i < p.begin[at + 1]; ++i)
    out.weights[i] = status == Status::invalid ? number : p.weight[i];
}

bool alone(const Prompts& p, std::int64_t at, const PromptResults& out, PromptGame& game) {
  if (!varying(p, at, game.rows)) {
    stay(p, at, Status::invalid, out);
  } else if (game.rows.empty()) {
    stay(p, at, Status::blocked, out);
  } else {
    read_game(p, at, game);
    return true;
  }
  return false;
}

void answer(const Prompts& p, const PromptGame& game, Status status, double lower, double upper, const double* y,
            const PromptResults& out) {
  out.status[game.at] = status;
  out.lower[game.at] = scale_by(lower, game.exponent);
  out.upper[game.at] = scale_by(upper, game.exponent);
  double total = 0;
  for (std::int64_t r = 0; r < game.k; ++r) total += y[r];
  for (std::int64_t j = 0; j < p.k; ++j) out.dual[game.at * p.k + j] = std::numeric_limits<double>::quiet_NaN();
  for (std::int64_t r = 0; r < game.k; ++r) out.dual[game.at * p.k + game.rows[r]] = y[r] / total;
}

void within_variances(const Prompts& p, const Work& work, double* out) {
  const std::int64_t batches = (p.count + kBatch - 1) / kBatch;
  std::vector<double> sums(std::size_t(batches * p.k), 0);
  std::vector<std::int64_t> seen(std::size_t(batches), 0);
  parallel(batches, work, [&](std::int64_t batch, int) {
    std::vector<double> own(std::size_t(p.k), 0);
    for (std::int64_t at = batch * kBatch; at < std::min(p.count, (batch + 1) * kBatch); ++at) {
      double total = 0;
      for (std::int64_t j = 0; j < p.k; ++j) {
        double mean = 0, square = 0;
        for (std::int64_t i = p.begin[at]; i < p.begin[at + 1]; ++i) mean += p.weight[i] * p.values[i * p.k + j];
        for (std::int64_t i = p.begin[at]; i < p.begin[at + 1]; ++i) {
          const double off = p.values[i * p.k + j] - mean;
          square += p.weight[i] * off * off;
        }
        own[j] = square;
        total += square;
      }
      if (!(total - total == 0)) continue;
      ++seen[batch];
      for (std::int64_t j = 0; j < p.k; ++j) sums[batch * p.k + j] += own[j];
    }
  });
  const double count = double(std::accumulate(seen.begin(), seen.end(), std::int64_t{0}));
  for (std::int64_t j = 0; j < p.k; ++j) {
    double sum = 0;
    for (std::int64_t b = 0; b < batches; ++b) sum += sums[b * p.k + j];
    out[j] = count > 0 ? sum / count : 0;
  }
}

}  // namespace clinometer::lp
