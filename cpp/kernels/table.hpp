// The table of hot loops. One instance per instruction-set level; dispatch.cpp picks one at start.
// Everything is raw pointers; L is the lane type (float inside "mixed" blocks, double in "double").
// A tile holds shifted rows as panels of 16 columns: tile[c / 16][i][c % 16], `rows` rows apart from panel to
// panel. One layout serves both products: a panel is read as vectors along its columns, or as factors
// down its rows, always contiguous. Columns past the last are zero.
// Sums run in lanes of L inside one call and leave as f64.
#pragma once
#include <clinometer/rows.hpp>
#include <cstdint>

namespace clinometer::kernels {

using clinometer::Dtype;
using clinometer::kDtypes;
/// Width of a panel; directions, weights and results are padded to it.
inline constexpr std::int64_t kPad = 16;
/// Directions up to here are scored by dot products straight from the stored rows, which memory alone limits.
inline constexpr std::int64_t kDots = 4;
/// Beyond, that many rows of that many bytes of lanes are decoded at once: they fill half of the first cache.
inline constexpr std::int64_t kSpanRows = 6, kSpanBytes = 2048;
inline constexpr std::int64_t kSpanWork = kSpanRows * (kSpanBytes / 4 + kPad);
/// Weights up to here are applied straight to the stored rows, without a tile.
inline constexpr std::int64_t kFewWeights = 4;
// Inlined even where nothing is optimised: the linker could keep a wide copy for a narrow machine.
[[gnu::always_inline]] constexpr std::int64_t padded(std::int64_t n) { return (n + kPad - 1) / kPad * kPad; }

/// The order of columns that lane tables ask for: of each whole run of 2 `pair` columns first the even ones.
template <class L>
void to_pairs(const L* from, std::int64_t d, std::int64_t pair, L* to) {
  std::int64_t c = 0;
  for (; pair > 0 && c + 2 * pair <= d; c += 2 * pair)
    for (std::int64_t j = 0; j < pair; ++j) {
      to[c + j] = from[c + 2 * j];
      to[c + pair + j] = from[c + 2 * j + 1];
    }
  for (; c < d; ++c) to[c] = from[c];
}

template <class L>
struct LaneTable {
  /// tile = rows[i][c] - shift[c] for c in [begin, end), begin a multiple of 16; panels counted from begin.
  /// Returns the largest magnitude of the differences, infinity where one is NaN or infinite; 0 without a look if
  /// they were seen before.
  double (*decode[kDtypes])(const void* const* rows, std::int64_t n, std::int64_t begin, std::int64_t end,
                            const L* shift, bool seen, L* tile, std::int64_t tile_rows);
  /// scores[i, k] = sum_c (rows[i][c] - shift[c]) directions[k, c], K = 1, 2 or 4 of them in rows of
  /// ld >= padded(d), zero from d on; columns of shift and directions in the order of `paired`. A row that holds NaN
  /// or Inf gets scores that are NaN or infinite.
  void (*dots[kDtypes])(const void* const* rows, std::int64_t n, std::int64_t d, const L* shift, const L* directions,
                        std::int64_t ld, std::int64_t n_directions, double* scores, std::int64_t lds);
  /// Four directions in rows of ld >= padded(d), zero from d on, columns in the order of `paired`, into their places
  /// `first` to first + 3 among n_directions * padded(d) packed lanes.
  void (*pack)(const L* four, std::int64_t ld, std::int64_t d, std::int64_t first, std::int64_t n_directions, L* to);
  /// scores[i, k] += what `dots` gives, for K packed directions, a multiple of 4; work of kSpanWork lanes. Behind the n
  /// rows may stand others, up to `known` in all, that are likely to be read next.
  void (*scores[kDtypes])(const void* const* rows, std::int64_t n, std::int64_t known, std::int64_t d, const L* shift,
                          const L* packed, std::int64_t n_directions, L* work, double* scores, std::int64_t lds);
  /// Order of columns for dots, pack, scores and weigh: p > 0 takes even and odd columns of 2 p apart, see `to_pairs`.
  std::int64_t paired[kDtypes];
  /// out[m, c] = sum_i weights[i, m] (rows[i][c] - shift[c]), M = 1, 2 or 4; ldo >= padded(d). Shift in the order of
  /// `paired`, out in that of the columns. Returns what decode returns, or if rows were seen before, 0 where all of
  /// out is finite and infinity elsewhere. Behind the n rows may stand others, up to `known` in all, that are likely to
  /// be read next.
  double (*weigh[kDtypes])(const void* const* rows, std::int64_t n, std::int64_t known, std::int64_t d, const L* shift,
                           const L* weights, std::int64_t n_weights, bool seen, L* out, std::int64_t ldo);
  /// Of a panel (n, 16), lanes at whole vectors: mean (16,) = sum_i w_i x_i, to_i = factor_i (x_i - mean).
  void (*deviations)(const L* panel, std::int64_t n, const double* w, const L* factor, L* mean, L* to);
  /// to[c] += factor * from[c]
  void (*add)(const L* from, std::int64_t n, double factor, double* to);
  /// out[m, c] += sum_i weights[i, m] tile[i, c]; weights (n, ldw), out (M, ldo) f64, M a multiple of 4, M <= ldw.
  void (*accumulate)(const L* tile, std::int64_t n, std::int64_t tile_rows, std::int64_t width, const L* weights,
                     std::int64_t n_weights, std::int64_t ldw, double* out, std::int64_t ldo);
  /// out[a, b] += sum_i tile[i, a] tile[i, b] for a in [a0, a1), b in [b0, b1), borders multiples of 16, wherever
  /// b >= a. Below the diagonal an entry may or may not be added to.
  void (*gram)(const L* tile, std::int64_t n, std::int64_t tile_rows, std::int64_t a0, std::int64_t a1, std::int64_t b0,
               std::int64_t b1, double* out, std::int64_t ldo);
};

/// Sums over one prompt for M tilts at a time (theory 2.2). Lanes run over m.
struct TiltSums {
  double* log_partition;  // (M,) L = log sum_i w_i exp(x_im), x = lam * centred score, minus lam * reference
  double* max_ratio;      // (M,) largest l_im
  double* kl;             // (M,) sum w (e^l l - expm1 l)
  double* reverse_kl;     // (M,) sum w (expm1 l - l)
  double* chi2;           // (M,) sum w expm1(l)^2
  double* square;         // (M,) sum (w e^l)^2
  double* gain;           // (F, M) sum w expm1(l) f_j, f_j centred under w
};

/// How exponentials are formed where all |x| are at most kNear (near), at most kFar (far, between), or any (careful).
/// Far sums E itself, which is right where m has not come out small beside its terms.
enum class Way : char { near, far, between, careful };
inline constexpr float kNear = 1.0f, kFar = 86.0f;

/// Whole prompts, fully labelled, in f32: what tilt_batch and cumulant_batch take in and where their sums go.
/// Tilts and directions come in lanes; n_tilts is a multiple of 16.
struct TiltBatch {
  std::int64_t n_prompts, n_tilts, n_values;  // n_values <= kBatchValues
  bool extras;                                // what tilt_sums counts; without, columns are values alone
  const Way* way;                             // (n_tilts / 16,) of slices
  const std::int64_t* offsets;                // (P + 1,) rows of the batch
  const float* omega;                         // (P,)
  const float* unbias;                        // (P,) factor from ddof 0 to 1; 0 where it is undefined
  const float* weight;                        // (rows,) base weights, positive, of sum 1 in a prompt
  const float* even;                          // (P,) the weight of every row, 0 where they differ
  const float* columns;                       // (rows, n_columns): centred values, then their mid-ranks less 1/2
  std::int64_t n_columns;                     // 2 J, or J without extras
  const float* score;                         // [prompt][panel][row][16] centred scores
  std::int64_t n_panels;
  const std::int64_t* panel;  // (n_tilts / 16,) panel of each 16 tilts
  const float *top, *reach;   // [P][panel][16] largest score, largest magnitude
  const float* lam;           // (n_tilts,) 1 / beta; negative: always left out
  float* pilot;               // (J, n_tilts) near the gains: what errors are measured from
  bool no_pilots;             // of groups: to be found and written
  double* sums;               // (tilt_sums or cumulant_sums(J), n_tilts), added to
  float* extremes;            // of groups: (n_tilts, 2, 16) smallest ess and largest log-ratio so far
  float* raw;                 // of slices, written
  char* left_out;             // (P, n_tilts) zero before; 1 where f32 would not do
};
/// Columns of sixteen prompts, one lane a prompt.
struct SideBySide {
  const double* const* from;           // (16,) first row of each
  const std::int64_t* n;               // (16,) rows of each, at least 1
  std::int64_t rows, stride, width;    // of the longest, at most 64; doubles from row to row; columns
  const double* weight;                // (rows, 16), 0 from a prompt's end on
  bool even;                           // all are of one length and each has one weight for all its rows
  double* mean;                        // (width, 16)
  float *out, *rank;                   // centred numbers, mid-ranks less 1/2 or null: 16 lanes at
  std::int64_t row_step, column_step;  // row * row_step + column * column_step
  float *top, *reach;                  // (width, 16) largest value, at least 0, and magnitude
  double* work;                        // (rows, width, 16)
};

/// More values than this go the way of f64.
inline constexpr std::int64_t kBatchValues = 64;
/// kl and log-partition by o, the prompt's omega; per value d = o (gain - pilot), without extras o gain. Extras: per
/// value d o and o win; chi2 and ess by o, ess_min, max log-ratio; pairs d_j d_i, i <= j.
[[gnu::always_inline]] constexpr std::int64_t tilt_sums(std::int64_t J, bool extras) {
  return extras ? 6 + 3 * J + J * (J + 1) / 2 : 2 + J;
}
[[gnu::always_inline]] constexpr std::int64_t ess_min_row(std::int64_t J) { return 4 + 3 * J; }
/// Per value k2, k3, k4 by omega; d, d o of the unbiased covariance; pairs.
[[gnu::always_inline]] constexpr std::int64_t cumulant_sums(std::int64_t J) { return 5 * J + J * (J + 1) / 2; }

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

/// The game over a simplex, max t with M x >= t, sum x = 1, 0 <= x <= high, interleaved too; entries at most 1.
struct MixtureGame {
  const double* m;     // (k, n)
  const double* high;  // (n,), may be infinite; null: no caps
  std::int64_t k, n;
  double* work;        // mixture_workspace(k, n) doubles for each problem
  double* x;           // (n,) out; without caps (k,): the weights of columns `at`
  std::int64_t* at;    // (k,) out, without caps only; n or more: no column, weight 0
  double* y;           // (k,) out: prices of the rows
  double* bounds;      // (2,) out, without caps only: what x attains (compensated) and what y proves, rounded outward
  std::int64_t* done;  // (lanes,) out: 0 where nothing of this is to be used
};
constexpr std::int64_t mixture_workspace(std::int64_t k, std::int64_t n) { return n + (k + 1) * (k + 6); }

/// No level has more lanes.
inline constexpr std::int64_t kMostLanes = 8;
/// Rows of a prompt up to which `delete_one` keeps the tilted weights; beyond, it forms them twice.
inline constexpr std::int64_t kDeleteOneRows = 4096, kDeleteOneWork = kDeleteOneRows * kMostLanes;

/// Hot loops over many columns held in T, row i at m + i * stride; all arithmetic in double.
template <class T>
struct ColumnTable {
  /// prices (n,) = sum_i y_i m[i * stride + p] for p < n, in row order; returns the largest.
  double (*price)(const T* m, std::int64_t stride, std::int64_t k, std::int64_t n, const double* y, double* prices);
  /// Columns p < n whose price may reach `cutoff` while prices stay within `reach` of y, by the length of
  /// (y_i / scale_i): those with y.m_p + reach |(scale_i m_ip)| >= cutoff, or with NaN or Inf. Returns how many and
  /// writes, each with room for n + kMostLanes, their p, y.m_p and |(scale_i m_ip)|^2.
  std::int64_t (*sift)(const T* m, std::int64_t stride, std::int64_t k, std::int64_t n, const double* y,
                       const double* scale, double reach, double cutoff, std::int32_t* at, double* prices,
                       double* squares);
  /// least[p] = min(least[p], row[p] - offset); size and top the largest |row[p]| and row[p] so far. Returns a NaN
  /// where the row holds NaN or Inf, else 0.
  double (*scan)(const T* row, std::int64_t n, double offset, double* least, double* size, double* top);
};

/// Hot loops of the small games; `lanes` problems at a time, or one problem in double or in pairs.
struct LpTable {
  std::int64_t lanes;
  void (*solve)(const Game& game);
  void (*solve_one)(const Game& game);
  void (*solve_pairs)(const Game& game);     // one problem in about 106 bits
  void (*mixture)(const MixtureGame& game);  // lanes of them
  /// rows = M x and columns = M' y in compensated arithmetic, (k,) and (n,), interleaved. Each is within
  /// 2^-53 |result| + 2^-100 (n + 2)^2 sum |terms| of the truth. columns may be null.
  void (*evaluate)(const double* m, std::int64_t k, std::int64_t n, const double* x, const double* y, double* rows,
                   double* columns);
  void (*evaluate_one)(const double* m, std::int64_t k, std::int64_t n, const double* x, const double* y, double* rows,
                       double* columns);
  /// min y' G y / 2 - sum y over y >= 0, (k, k) Grams with entries at most 1, interleaved; done = 0 where G
  /// is singular on the way (to `floor` of a diagonal entry). work: 2 k (k + 4) doubles for each problem.
  void (*min_norm)(const double* gram, std::int64_t k, double floor, double* work, double* y, std::int64_t* done);
  /// Between problems apart, one pointer a lane, and interleaved ones: to[e * lanes + l] = from[l][e], and back.
  void (*pack)(const double* const* from, std::int64_t count, double* to);
  void (*unpack)(const double* from, std::int64_t count, double* const* to);
  /// Games of prompts, interleaved: m (k, n) = (s - mean) * by * 2^-exponent from values s (n, k) under weights w (n,),
  /// largest entry in [1/2, 1); blur bounds the rounding of its entries. fine[l] = 0 where a value is constant to 1e-12
  /// on the support, not finite or out of range: such a prompt is for the slow road.
  void (*centre)(const double* s, const double* w, const double* by, std::int64_t k, std::int64_t n, double* m,
                 double* blur, std::int64_t* exponent, std::int64_t* fine);
  /// Bounds of capped games: lower = min of rows (M x from `evaluate`), upper = max over the capped simplex of M' y by
  /// the threshold that x suggests (any is valid), both rounded outward.
  void (*settle)(const double* m, const double* rows, const double* x, const double* high, const double* y,
                 std::int64_t k, std::int64_t n, double* lower, double* upper);
  ColumnTable<double> wide;
  ColumnTable<float> narrow;
  /// Whether a point of the front is at least as large as `point` (k,) everywhere. The front comes in blocks of
  /// kMostLanes points, coordinate by coordinate: [block][j][kMostLanes], filled up with -infinity.
  bool (*dominated)(const double* front, std::int64_t blocks, std::int64_t k, const double* point);
};

/// Panels of n rows as `split` leaves them, one after the other.
struct GramParts {
  const void* items;
  const std::uint8_t* parts;
  std::int64_t n;
};

/// Products on a matrix unit that multiplies bf16: split f32 numbers (matrix_parts.hpp). Memory at multiples of 64
/// bytes.
struct MatrixTable {
  /// From so many directions on it is the fastest way.
  std::int64_t least[kDtypes];
  /// K directions in rows of ld >= padded(d) floats, zero from d on, in the order of `paired`, split.
  void (*pack)(const float* directions, std::int64_t ld, std::int64_t d, std::int64_t n_directions, void* to);
  /// scores[i, k] += what `dots` gives, K at most 8 or a multiple of 16; work of matrix_work(K). Behind the n rows may
  /// stand others, up to `known` in all, which are likely to be read next.
  void (*scores[kDtypes])(const void* const* rows, std::int64_t n, std::int64_t known, std::int64_t d,
                          const float* shift, const void* packed, std::int64_t n_directions, void* work, double* scores,
                          std::int64_t lds);
  /// What `weigh` gives for up to kSumRows rows, as tiles: matrix_sums(d, M) floats, M a multiple of 16; work of
  /// matrix_sum_work(n, M).
  double (*sums[kDtypes])(const void* const* rows, std::int64_t n, std::int64_t d, const float* shift,
                          const float* weights, std::int64_t n_weights, bool seen, void* work, float* out);
  /// to[c] += factor * sum m of those tiles.
  void (*add_sums[kDtypes])(const float* sums, std::int64_t d, std::int64_t n_weights, std::int64_t m, double factor,
                            double* to);
  /// A panel (n, 16): mean (16,) under w, to = x - middle with a middle of few digits near the mean, rest = mean -
  /// middle.
  void (*centre)(const float* panel, std::int64_t n, const double* w, float* mean, float* rest, float* to);
  /// A panel (n, 16), split: matrix_panel(n) bytes, and (2, runs of 32 rows) counts.
  void (*split)(const float* panel, std::int64_t n, const float* weight, void* to, std::uint8_t* parts);
  /// out[a, b] += by sum_i weight_i x_ia x_ib, as LaneTable::gram.
  void (*gram)(const GramParts& g, std::int64_t a0, std::int64_t a1, std::int64_t b0, std::int64_t b1, double by,
               double* out, std::int64_t ldo);
};
/// Bytes that `pack` writes, and that `scores` works in.
[[gnu::always_inline]] constexpr std::int64_t matrix_packed(std::int64_t d, std::int64_t n_directions) {
  return (d + 31) / 32 * (n_directions <= 8 ? 2 : (n_directions + 15) / 16 * 3) * 1024;
}
constexpr std::int64_t matrix_work(std::int64_t n_directions) {
  return (24 << 10) + (n_directions + 31) / 32 * (8 << 10);
}
inline constexpr std::int64_t kSumRows = 256;
constexpr std::int64_t matrix_sums(std::int64_t d, std::int64_t n_weights) { return (d + 63) / 64 * 64 * n_weights; }
constexpr std::int64_t matrix_sum_work(std::int64_t n, std::int64_t n_weights) {
  const std::int64_t runs = (n + 31) / 32;
  return (runs * (n_weights / 16) + 4 * (runs > 2 ? runs : 2)) * (3 << 10);
}
constexpr std::int64_t matrix_panel(std::int64_t n) { return (n + 31) / 32 * (6 << 10); }

/// Scores of bf16 rows by directions that bf16 holds.
struct RoundedTable {
  /// K directions in rows of ld floats, zero from d on, in the order of the columns; K a multiple of 4, from
  /// kManyRounded on of 16. To
  /// rounded_packed(d, K) bytes.
  void (*pack)(const float* directions, std::int64_t ld, std::int64_t d, std::int64_t n_directions, void* to);
  /// scores[i, k] += sum_c rows[i][c] directions[k][c]. Behind the n rows may stand others, up to `known` in all, which
  /// are likely to be read next. A row that holds NaN or Inf gets scores that are NaN or infinite.
  void (*scores)(const void* const* rows, std::int64_t n, std::int64_t known, std::int64_t d, const void* packed,
                 std::int64_t n_directions, double* scores, std::int64_t lds);
};
inline constexpr std::int64_t kHalfStep = 32;  // columns that are packed together
inline constexpr std::int64_t kManyRounded = 32;
[[gnu::always_inline]] constexpr std::int64_t rounded_packed(std::int64_t d, std::int64_t n_directions) {
  return (d + kHalfStep - 1) / kHalfStep * kHalfStep * n_directions * 2;
}

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
  /// out = exp(x) to about 1 ulp; the two may be the same array.
  void (*exponentials)(const double* x, double* out, std::int64_t n);
  /// The L of `tilt` alone, (M,).
  void (*log_masses)(const double* x, const double* w, const std::int64_t* small, std::int64_t n, std::int64_t n_tilts,
                     double* out);
  /// kMostLanes tilts of one prompt of two rows or more by lam: t (n, lanes) centred under w, at most `top` where w is
  /// positive and `top` elsewhere. To out (4, lanes): gain of t and KL, and the sums over the rows of both without that
  /// row; the last is 0 without `kl_too`. work: kDeleteOneWork doubles.
  void (*delete_one)(const double* t, const double* w, std::int64_t n, const double* top, const double* lam,
                     bool kl_too, double* work, double* out);
  /// The sums of `tilt` in f32 lanes over many prompts; null at baseline, where everything goes through `tilt`.
  void (*tilt_batch)(const TiltBatch&);
  void (*cumulant_batch)(const TiltBatch&);
  /// The same over groups of sixteen prompts of at most 64 rows, tilts one by one, so panel is (n_tilts,). A group
  /// takes the place of a prompt, and its arrays and those of its rows are sixteen-fold, lanes last; sums (n_tilts,
  /// padded(tilt_sums)) without the two extremes.
  void (*tilt_groups)(const TiltBatch&);
  void (*cumulant_groups)(const TiltBatch&);
  void (*side_by_side)(const SideBySide&);
  /// One long prompt in slices: `offsets` are theirs, `top` and `reach` the prompt's own. Raw sums of slices
  /// [from, to) go to raw (slice, 3 + n_columns, n_tilts): sum w (E - x), or sum w E where that is as good; sum w x E,
  /// sum w E^2, sum w E columns. Of cumulants to raw (slice, 1 + 3 J, n_tilts): sum w t^2, k2, k3, and k4 without its
  /// product of two.
  void (*tilt_slices)(const TiltBatch&, std::int64_t from, std::int64_t to);
  void (*cumulant_slices)(const TiltBatch&, std::int64_t from, std::int64_t to);
  /// For up to 16 columns: sum[k] += sum_i w_i (x_ik - pilot_k), and out[i][k] = x_ik - mean_k as floats, 0 beyond
  /// `used`, with top and reach (16,) the largest value and magnitude so far. Null at baseline too.
  void (*weighted_differences)(const double* x, std::int64_t stride, const double* w, std::int64_t n, std::int64_t used,
                               const double* pilot, double* sum);
  void (*centred_floats)(const double* x, std::int64_t stride, std::int64_t n, std::int64_t used, const double* mean,
                         float* out, float* top, float* reach);
  const LpTable* lp;
  const MatrixTable* matrix;    // null where there is no such unit
  const RoundedTable* rounded;  // null where no instruction multiplies bf16
};

/// The table in use: the widest level this CPU runs, or the one CLINOMETER_ISA names.
const Table& active();
/// Levels this build holds and this CPU runs, narrowest first; "baseline" is always among them.
int available(const Table** out, int capacity);
/// Select by name; false if it is not available here.
bool select(const char* name);

}  // namespace clinometer::kernels
