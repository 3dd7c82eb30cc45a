// What a statistic is given: consecutive rows of one leaf, in canonical order, with their scores,
// values, base weights and the prompts they belong to. Blocks never cross a leaf; where prompts are
// short, blocks end with a prompt. Nothing in a block depends on threads or on how a dump is cut.
#pragma once
#include <cstdint>
#include <vector>

namespace clinometer {

/// The part of one prompt that lies in this block.
struct Piece {
  std::int64_t prompt;  // canonical index
  std::int64_t first;   // first row of the piece, counted in the block
  std::int64_t count;
  bool begins, ends;  // the prompt's first / last row is here
  double omega;       // prompt weight, not normalised
  double unbias;      // factor from ddof 0 to ddof 1 covariance; 0 where it is undefined (n < 2)
  bool cluster_begins, cluster_ends;
  std::int64_t fold;               // cross-fitting fold of the prompt, 0 without folds
  const double* origin = nullptr;  // (n_scores,) what the prompt's scores are relative to; until the leaf ends
};

/// Decoded rows: stored - shift, in lanes of float or double, whichever the precision asks for.
class Tile {
 public:
  virtual ~Tile() = default;
  /// out[m, c] += sum_i weights[i, m] (x[i, c] - shift[c]); out is (M, d) f64.
  virtual void accumulate(const double* weights, std::int64_t n_weights, double* out) const = 0;
  const double* shift = nullptr;  // (d,)
  std::int64_t d = 0;
};

/// What lies in an array that outlives the states.
struct Lasting {
  bool score = false, value = false, weight = false;
};

struct Block {
  std::int64_t first = 0;  // canonical index of the first row
  std::int64_t n = 0;
  const std::int64_t* row = nullptr;  // (n,) index in the dump
  const double* score = nullptr;      // (n, n_scores), relative to the origin of the row's prompt
  Lasting lasting;
  const double* absolute = nullptr;  // (n, n_scores) with the origin added, where a statistic asks for it
  std::int64_t n_scores = 0;
  const double* value = nullptr;  // (n, n_values); NaN means unlabelled
  std::int64_t n_values = 0;
  const double* weight = nullptr;  // (n,) base weight inside the prompt, sums to 1 over it
  std::vector<Piece> pieces;
  const Tile* tile = nullptr;  // null where a pass runs on kept scores
};

}  // namespace clinometer
