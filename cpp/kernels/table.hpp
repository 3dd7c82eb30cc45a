// The table of hot loops. One instance per instruction-set level; dispatch.cpp picks one at start.
// Everything is raw pointers; L is the lane type (float inside "mixed" blocks, double in "double").
// Tiles are row-major (n, ld) with ld a multiple of 16, unaligned, columns d..ld-1 zero.
// Sums run in lanes of L inside one call (a block of at most a few hundred rows) and leave as f64.
#pragma once
#include <clinometer/rows.hpp>
#include <cstdint>

namespace clinometer::kernels {

using clinometer::Dtype;
using clinometer::kDtypes;
/// Tile widths and direction strides are padded to this many elements.
inline constexpr std::int64_t kPad = 16;
constexpr std::int64_t padded(std::int64_t n) { return (n + kPad - 1) / kPad * kPad; }

/// What decoding saw: the largest |stored - shift|, and the first row holding NaN or Inf (n if none).
struct Decoded {
  double max_abs;
  std::int64_t first_nonfinite;
};

template <class L>
struct LaneTable {
  /// tile[i, c] = rows[i][c] - shift[c]; the stored value is widened exactly before the subtraction
  /// (f64 rows are shifted in f64, then rounded to L). shift has d entries.
  Decoded (*decode[kDtypes])(const void* const* rows, std::int64_t n, std::int64_t d, const double* shift, L* tile,
                             std::int64_t ld);
  /// scores[i, k] = sum_c tile[i, c] * directions[k, c]; directions are (K, ldu), zero padded to ldu = ld.
  void (*project)(const L* tile, std::int64_t n, std::int64_t ld, const L* directions, std::int64_t n_directions,
                  double* scores, std::int64_t lds);
  /// out[m, c] += sum_i weights[i, m] * tile[i, c], c < ld. out is (M, ldo) f64 with ldo >= ld.
  void (*accumulate)(const L* tile, std::int64_t n, std::int64_t ld, const L* weights, std::int64_t n_weights,
                     std::int64_t ldw, double* out, std::int64_t ldo);
  /// out[a, b] += sum_i tile[i, a] * tile[i, b] for a in [a0, a1), b in [b0, b1); borders are
  /// multiples of 16 (or ld). out is (ld, ldo) f64.
  void (*gram)(const L* tile, std::int64_t n, std::int64_t ld, std::int64_t a0, std::int64_t a1, std::int64_t b0,
               std::int64_t b1, double* out, std::int64_t ldo);
};

/// Sums over one prompt for M tilts side by side (theory 2). Lanes run over m.
struct TiltSums {
  double* log_partition;  // (M,) L = log sum_i w_i exp(x_im), x = lam * centred score, minus lam * reference
  double* max_ratio;      // (M,) largest l_im
  double* kl;             // (M,) sum w (e^l l - expm1 l)
  double* reverse_kl;     // (M,) sum w (expm1 l - l)
  double* chi2;           // (M,) sum w expm1(l)^2
  double* square;         // (M,) sum (w e^l)^2
  double* gain;           // (F, M) sum w expm1(l) f_j, f_j centred under w
};

/// A bounded game: max t with (M x)_i - g_i t >= 0, low <= x <= high and, if asked, sum x = 1 (theory 9).
/// Interleaved by problem: element e of problem l stands at [e * lanes + l]. Entries of M are at most 1 in size.
struct Game {
  const double* m;     // (k, n)
  const double* g;     // (k,) in [0, 1]; rows with g = 0 must hold at the start
  const double* low;   // (n,)
  const double* high;  // (n,), may be infinite with sum_to_one
  std::int64_t k, n;
  bool sum_to_one;
  std::int64_t start;  // with sum_to_one: the column that holds all mass at first, or -1 to fill greedily
  double* work;        // game_workspace(k, n) doubles for each problem
  double* x;           // (n,) out
  double* y;           // (k,) out: prices of the rows, sum g y = 1
  double* y_low;       // (k,) out of solve_pairs: what rounding y to double dropped; may be null
  std::int64_t* done;  // (lanes,) out: 1 where the method came to its end
};
constexpr std::int64_t game_workspace(std::int64_t k, std::int64_t n) {
  return 2 * ((k + 1) * (n + 1) + 10 * (n + k + 4));  // twice: pairs of doubles may live here
}

/// Hot loops of the small games; `lanes` problems side by side, or one problem in double or in pairs.
struct LpTable {
  std::int64_t lanes;
  void (*solve)(const Game& game);
  void (*solve_one)(const Game& game);
  void (*solve_pairs)(const Game& game);  // one problem in about 106 bits
  /// rows = M x and columns = M' y in compensated arithmetic, (k,) and (n,), interleaved. Each is within
  /// 2^-53 |result| + 2^-100 (n + 2)^2 sum |terms| of the truth. columns may be null.
  void (*evaluate)(const double* m, std::int64_t k, std::int64_t n, const double* x, const double* y, double* rows,
                   double* columns);
  void (*evaluate_one)(const double* m, std::int64_t k, std::int64_t n, const double* x, const double* y, double* rows,
                       double* columns);
  /// min y' G y / 2 - sum y over y >= 0, (k, k) Grams with entries at most 1, interleaved; done = 0 where G
  /// is singular on the way (to `floor` of a diagonal entry). work: 2 k (k + 4) doubles for each problem.
  void (*min_norm)(const double* gram, std::int64_t k, double floor, double* work, double* y, std::int64_t* done);
  /// Games of prompts, interleaved: m (k, n) = (s - mean) * by * 2^-exponent from values s (n, k) under weights w (n,),
  /// largest entry in [1/2, 1); blur bounds the rounding of its entries. fine[l] = 0 where a value is constant to 1e-12
  /// on the support, not finite or out of range: such a prompt is for the slow road.
  void (*centre)(const double* s, const double* w, const double* by, std::int64_t k, std::int64_t n, double* m,
                 double* blur, std::int64_t* exponent, std::int64_t* fine);
  /// Bounds of capped games from `evaluate`: lower = min of rows, upper = max over the capped simplex of the columns by
  /// the threshold that x suggests (any threshold is valid), both rounded outward.
  void (*settle)(const double* rows, const double* columns, const double* x, const double* high, const double* y,
                 std::int64_t k, std::int64_t n, double* lower, double* upper);
  /// prices (n,) = sum_i y_i m[i * stride + p] for p < n, in row order; returns the largest.
  double (*price)(const double* m, std::int64_t stride, std::int64_t k, std::int64_t n, const double* y,
                  double* prices);
  /// least[p] = min(least[p], row[p] - offset); size and top the largest |row[p]| and row[p] so far. Returns a NaN
  /// where the row holds NaN or Inf, else 0.
  double (*scan)(const double* row, std::int64_t n, double offset, double* least, double* size, double* top);
};

struct Table {
  const char* name;
  LaneTable<float> f32;
  LaneTable<double> f64;
  /// x (n, M), M a multiple of 8: lam * (score - reference). w (n,) positive, sum 1. f (n, F) centred
  /// columns, row-major. small (M,): 1 where every |x| < 1 and x is centred under w (then
  /// L = log1p(sum w (expm1 x - x))), 0 where x <= 0 with maximum 0 (then L = log sum w e^x).
  /// x may hold -inf. All terms are formed without cancellation: for |l| < 1,
  /// expm1(l) - l by its series sum_{m>=2} l^m / m!.
  void (*tilt)(const double* x, const double* w, const double* f, const std::int64_t* small, std::int64_t n,
               std::int64_t n_tilts, std::int64_t n_columns, TiltSums out);
  const LpTable* lp;
};

/// The table in use: the widest level this CPU runs, or the one CLINOMETER_ISA names.
const Table& active();
/// Levels this build holds and this CPU runs, narrowest first; "baseline" is always among them.
int available(const Table** out, int capacity);
/// Select by name; false if it is not available here.
bool select(const char* name);

}  // namespace clinometer::kernels
