// The value of a witness: M x and M' y with the rounding error of every operation carried along (Ogita, Rump and
// Oishi's Dot2), so that signs come from about twice the working precision. And prices of many columns.
#pragma once
#include "kernels/lp_lanes.hpp"
#include "kernels/table.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {
namespace {

/// sum + error, the running dot product in twice the precision.
template <class R>
struct Compensated {
  R sum, error;
  CLINOMETER_INLINE void add(R a, R b) {
    const R p = a * b, s = sum + p;
    error = error + (product_error(a, b, p) + sum_error(sum, p, s));
    sum = s;
  }
};

template <class K>
CLINOMETER_INLINE void keep(double* to, typename K::Real v) {
  if constexpr (K::kCount > 1) {
    storeu<double>(to, v);
  } else {
    *to = v;
  }
}

template <class K>
void evaluate(const double* m, std::int64_t k, std::int64_t n, const double* x, const double* y, double* rows,
              double* columns) {
  constexpr std::int64_t w = K::kCount;
  const auto none = real<K>(0);
  for (std::int64_t i = 0; i < k; ++i) {
    Compensated<typename K::Real> dot{none, none};
    for (std::int64_t j = 0; j < n; ++j) dot.add(load<K>(m + (i * n + j) * w), load<K>(x + j * w));
    keep<K>(rows + i * w, dot.sum + dot.error);
  }
  for (std::int64_t j = 0; j < n && columns != nullptr; ++j) {
    Compensated<typename K::Real> dot{none, none};
    for (std::int64_t i = 0; i < k; ++i) dot.add(load<K>(m + (i * n + j) * w), load<K>(y + i * w));
    keep<K>(columns + j * w, dot.sum + dot.error);
  }
}

template <class T>
CLINOMETER_INLINE Doubles widened(const T* from) {
  return to_double(loadu<T, kPace>(from));
}

template <class T>
double price(const T* m, std::int64_t stride, std::int64_t k, std::int64_t n, const double* y, double* prices) {
  constexpr std::int64_t step = 4 * kPace;
  Doubles high = broadcast(-__builtin_inf());
  double top = -__builtin_inf();
  std::int64_t p = 0;
  for (; p + step <= n; p += step) {
    Doubles a{}, b{}, c{}, e{};
    for (std::int64_t i = 0; i < k; ++i) {
      const T* const row = m + i * stride + p;
      const Doubles by = broadcast(y[i]);
      a = multiply_add(by, widened(row), a);
      b = multiply_add(by, widened(row + kPace), b);
      c = multiply_add(by, widened(row + 2 * kPace), c);
      e = multiply_add(by, widened(row + 3 * kPace), e);
    }
    storeu<double>(prices + p, a), storeu<double>(prices + p + kPace, b);
    storeu<double>(prices + p + 2 * kPace, c), storeu<double>(prices + p + 3 * kPace, e);
    high = larger(larger(a, b), larger(larger(c, e), high));
  }
  for (; p < n; ++p) {
    double sum = 0;
    for (std::int64_t i = 0; i < k; ++i) sum = multiply_add(y[i], double(m[i * stride + p]), sum);
    prices[p] = sum;
    top = sum > top ? sum : top;
  }
  for (int l = 0; l < kPace; ++l) top = high[l] > top ? high[l] : top;
  return top;
}

template <class T>
std::int64_t sift(const T* m, std::int64_t stride, std::int64_t k, std::int64_t n, const double* y, const double* scale,
                  double reach, double cutoff, std::int32_t* at, double* prices, double* squares) {
  constexpr std::int64_t step = 8 * kPace;
  const double far = reach * reach;
  std::int64_t count = 0, p = 0;
  for (; p + step <= n; p += step) {
    Doubles price[8] = {}, size[8] = {};
    for (std::int64_t i = 0; i < k; ++i) {
      const T* const row = m + i * stride + p;
      const Doubles by = broadcast(y[i]), unit = broadcast(scale[i]);
      CLINOMETER_UNROLL
      for (int v = 0; v < 8; ++v) {
        const Doubles x = widened(row + v * kPace), part = x * unit;
        __builtin_prefetch(row + v * kPace + 2 * step);
        price[v] = multiply_add(by, x, price[v]);
        size[v] = multiply_add(part, part, size[v]);
      }
    }
    CLINOMETER_UNROLL
    for (int v = 0; v < 8; ++v) {
      const Doubles lack = cutoff - price[v];
      const auto kept = ~(less(Doubles{}, lack) & less(far * size[v], lack * lack));
      if (!any(kept)) continue;
      squeeze(kept, price[v], prices + count);
      squeeze(kept, size[v], squares + count);
      count += squeeze(kept, std::int32_t(p + v * kPace), at + count);
    }
  }
  for (; p < n; ++p) {
    double price = 0, size = 0;
    for (std::int64_t i = 0; i < k; ++i) {
      const double x = double(m[i * stride + p]), part = x * scale[i];
      price = multiply_add(y[i], x, price);
      size = multiply_add(part, part, size);
    }
    const double lack = cutoff - price;
    if (lack > 0 && far * size < lack * lack) continue;
    at[count] = std::int32_t(p), prices[count] = price, squares[count] = size;
    ++count;
  }
  return count;
}

template <class T>
double scan(const T* row, std::int64_t n, double offset, double* least, double* size, double* top) {
  Doubles big{}, high = broadcast(-__builtin_inf()), poison{};
  const Doubles shift = broadcast(offset);
  double bad = 0;
  std::int64_t p = 0;
  for (; p + kPace <= n; p += kPace) {
    const Doubles x = widened(row + p), over = x - shift, held = loadu<double>(least + p);
    big = larger(magnitude(x), big);
    high = larger(x, high);
    poison = poison + x * 0.0;
    storeu<double>(least + p, over < held ? over : held);
  }
  for (int l = 0; l < kPace; ++l) {
    *size = big[l] > *size ? big[l] : *size;
    *top = high[l] > *top ? high[l] : *top;
    bad += poison[l];
  }
  for (; p < n; ++p) {
    const double x = row[p], over = x - offset, length = x < 0 ? -x : x;
    *size = length > *size ? length : *size;
    *top = x > *top ? x : *top;
    bad += x * 0.0;
    least[p] = over < least[p] ? over : least[p];
  }
  return bad;
}

bool dominated(const double* front, std::int64_t blocks, std::int64_t k, const double* point) {
  constexpr int parts = int(kMostLanes) / kPace;
  for (std::int64_t b = 0; b < blocks; ++b, front += kMostLanes * k) {
    Wide::Index above[parts];
    for (int v = 0; v < parts; ++v) above[v] = ~Wide::Index{};
    bool left = true;
    for (std::int64_t j = 0; j < k && left; ++j) {
      const Doubles least = broadcast(point[j]);
      Wide::Index some{};
      for (int v = 0; v < parts; ++v) {
        above[v] = above[v] & ~less(loadu<double>(front + j * kMostLanes + v * kPace), least);
        some = some | above[v];
      }
      if ((j & 1) != 0 || j + 1 == k) left = any(some);
    }
    if (left) return true;
  }
  return false;
}

}  // namespace
}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
