// Both ends of a prompt's game in lanes: from values to centred rows, and from witnesses to bounds.
#pragma once
#include "kernels/lp_lanes.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

void centre(const double* s, const double* w, const double* by, std::int64_t k, std::int64_t n, double* m, double* blur,
            std::int64_t* exponent, std::int64_t* fine) {
  const Doubles none{}, infinite = broadcast(__builtin_inf());
  Doubles largest{}, poison{}, offset{};
  auto good = ~Wide::Index{};
  for (std::int64_t j = 0; j < k; ++j) {
    Doubles low = infinite, high = none - infinite, mean{}, rest{};
    for (std::int64_t i = 0; i < n; ++i) {
      const Doubles v = loadu<double>(s + (i * k + j) * kPace), weight = loadu<double>(w + i * kPace);
      const auto counts = less(none, weight);
      low = choose(counts & less(v, low), v, low);
      high = choose(counts & less(high, v), v, high);
      mean = mean + weight * v;
      poison = poison + v * 0.0;
    }
    for (std::int64_t i = 0; i < n; ++i)
      rest = rest + loadu<double>(w + i * kPace) * (loadu<double>(s + (i * k + j) * kPace) - mean);
    mean = mean + rest;  // what rounding left in the first mean
    const Doubles far = larger(magnitude(low), magnitude(high)), size = far * 1e-3, scale = broadcast(1 / by[j]);
    good = good & less(larger(size, scale) * 1e-12, high - low);
    const Doubles factor = broadcast(by[j]);
    offset = larger(far * factor, offset);
    largest = larger(larger(magnitude(high - mean), magnitude(low - mean)) * factor, largest);
    storeu<double>(m + j * n * kPace, mean);  // until the row itself comes here
  }
  const auto biased = (Wide::Index)((Vec<std::uint64_t>)largest >> 52);
  good = good & (Wide::Index)(poison == none) & (Wide::Index)(biased > 200) & (Wide::Index)(biased < 1800);
  const Doubles factor = (Doubles)((Vec<std::uint64_t>)(2045 - choose(good, biased, Wide::Index{} + 1022)) << 52);
  for (std::int64_t j = 0; j < k; ++j) {
    const Doubles mean = loadu<double>(m + j * n * kPace), scale = factor * by[j];
    for (std::int64_t i = 0; i < n; ++i)
      storeu<double>(m + (j * n + i) * kPace, (loadu<double>(s + (i * k + j) * kPace) - mean) * scale);
  }
  // The mean after one correction, a difference and two products: within a few roundings of the largest value.
  storeu<double>(blur, offset * factor * 0x1p-50);
  for (int l = 0; l < kPace; ++l) {
    exponent[l] = biased[l] - 1022;
    fine[l] = good[l] != 0;
  }
}

void settle(const double* m, const double* rows, const double* x, const double* high, const double* y, std::int64_t k,
            std::int64_t n, double* lower, double* upper) {
  const Doubles none{}, infinite = broadcast(__builtin_inf());
  const double terms = double((n + 2) * (n + 2)) * 0x1p-98;
  Doubles size{}, level = none - infinite, above{}, least = infinite;
  for (std::int64_t i = 0; i < k; ++i) {
    const Doubles row = loadu<double>(rows + i * kPace), lowest = row - (magnitude(row) * 0x1p-52 + terms);
    least = choose(less(lowest, least), lowest, least);
    size = size + loadu<double>(y + i * kPace);
  }
  const auto price = [&](std::int64_t j) {
    Doubles sum{};
    for (std::int64_t i = 0; i < k; ++i)
      sum = multiply_add(loadu<double>(y + i * kPace), loadu<double>(m + (i * n + j) * kPace), sum);
    return sum;
  };
  for (std::int64_t j = 0; j < n; ++j) {
    const Doubles room = loadu<double>(high + j * kPace), worth = price(j);
    const auto free = less(none, room) & less(loadu<double>(x + j * kPace), room);
    level = choose(free & less(level, worth), worth, level);
  }
  level = choose(less(none - infinite, level), level, none);
  for (std::int64_t j = 0; j < n; ++j) {
    const Doubles over = price(j) - level, room = loadu<double>(high + j * kPace);
    above = above + choose(less(none, over) & less(none, room), room * over, none);
  }
  // A price is within k roundings of `size` of the truth, and so is the sum of x times prices.
  const Doubles slack = 0x1p-52 * double(n + 4) * (above + magnitude(level)) + 0x1p-52 * double(k + 2) * size;
  storeu<double>(lower, least);
  storeu<double>(upper, (level + above + slack) / size * (1 + 0x1p-51));
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
