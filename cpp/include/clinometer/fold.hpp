// The one ordered fold. A grid of leaves (kLeafRows rows) lies over the canonical row order and depends on
// nothing else; a leaf is absorbed in row order by one thread; leaf states merge along one binary tree over that
// grid. Threads, chunks, files and machines only decide who calls merge, so they change no bit.
#pragma once
#include <clinometer/rows.hpp>
#include <clinometer/statistic.hpp>

#include <functional>
#include <memory>

namespace clinometer {

inline constexpr std::int64_t kLeafRows = 8192;

/// Who belongs to which prompt and how much counts, in canonical order (rows of a prompt adjacent).
struct Prompts {
  std::int64_t n_rows = 0, n_prompts = 0;  // all rows described; [begin, end) of them are folded
  std::int64_t begin = 0, end = 0;
  const std::int64_t* order = nullptr;    // (n_rows,) row in the dump; null: identity
  const std::int64_t* offsets = nullptr;  // (n_prompts + 1,)
  const double* weight = nullptr;         // (n_rows,) canonical; null: 1 / n_x
  const double* omega = nullptr;          // (n_prompts,); null: 1
  const double* unbias = nullptr;         // (n_prompts,); null: n / (n - 1), 0 for n = 1
  const std::int64_t* cluster = nullptr;  // (n_prompts,) ascending; null: the prompt
  const std::int64_t* fold = nullptr;     // (n_prompts,); null: 0
};

/// What is scored: projections of the rows on directions, and finished columns beside them.
struct Scored {
  std::int64_t n_directions = 0, n_folds = 1;
  const double* directions = nullptr;  // (n_directions * n_folds, d): all folds of a direction adjacent
  std::int64_t n_columns = 0;
  const double* columns = nullptr;  // (N, n_columns) in dump order
  std::int64_t n_values = 0;
  const double* values = nullptr;  // (N, n_values) in dump order
  // (n_rows, n_directions + n_columns) canonical: no rows are read. Until the states are joined it stays where it is,
  // and so do the values and the weights of rows.
  const double* kept = nullptr;
  // (leaves, 2, n_folds, n_directions + n_columns) of a pass over all rows: origins of the scores of a leaf's own
  // prompts, then of the prompt that begins in the leaf and ends behind it. Written where rows are read, read with
  // kept scores; may be null.
  double* origins = nullptr;
};

struct Options {
  std::int64_t n_threads = 1;
  bool in_double = false;
  std::function<void(std::int64_t done, std::int64_t total)> poll;  // calling thread, every 20 ms; may throw
  bool rounded = false;  // directions hold bf16 numbers: rows of bf16 may be multiplied as they are
};

/// Thrown by a pass over a row with NaN or Inf.
struct NonFiniteRow {
  std::int64_t row;
};

/// The states of leaves [leaf, leaf + 2^level), a full node of the tree over the grid (the last leaf may be short).
struct Node {
  std::int64_t leaf = 0;
  int level = 0;
  std::vector<std::unique_ptr<Statistic>> states;  // null where another node, or list of nodes, holds the statistic
};

/// Adjacent nodes in leaf order. A node and its sibling become their parent, so the list is the same however the
/// leaves arrived and wherever it begins. States that were merged into others go, emptied, to `spent`
/// where their memory is worth keeping.
void push(std::vector<Node>& nodes, Node next, std::vector<std::unique_ptr<Statistic>>* spent = nullptr);

class Scan {
 public:
  /// first_leaf: where on the grid the first row lies, for a shard of a longer pass.
  explicit Scan(std::vector<std::shared_ptr<Statistic>> prototypes, std::int64_t first_leaf = 0)
      : prototypes_(std::move(prototypes)), base_row_(first_leaf * kLeafRows) {}
  /// Rows [begin, end), begin on a leaf border; all but the last call bring a multiple of kLeafRows rows.
  void absorb(const Rows& rows, const Prompts& prompts, const Scored& scored, const Options& options);
  /// The states of everything absorbed, merged in leaf order. Ends the scan.
  std::vector<std::unique_ptr<Statistic>> collapse();
  /// The states of everything absorbed as nodes of the tree, for a merge on the grid. Ends the scan.
  std::vector<Node> nodes();

 private:
  using States = std::vector<std::unique_ptr<Statistic>>;
  std::vector<std::shared_ptr<Statistic>> prototypes_;
  std::vector<Node> by_rows_, by_state_;  // one list for each kind of split: within a window one runs ahead
  std::int64_t base_row_;
  void absorb_leaves(struct Pass& pass, Team& team);
  void absorb_panels(struct Pass& pass, Team& team);
  States empty_states(Split split, States* spent = nullptr) const;
};

/// Runs f(0) .. f(n-1) on the threads of a pass; the calling thread takes part and polls.
class Team {
 public:
  virtual ~Team() = default;
  virtual void parallel(std::int64_t n, const std::function<void(std::int64_t)>& f) = 0;
};

/// Rows for a Split::state statistic, with `extra` f64 columns (values) behind the d of a row. The statistic
/// asks for prompts one by one, centred by their own mean into a work tile, and multiplies that.
class Panel {
 public:
  virtual ~Panel() = default;
  std::int64_t n = 0, d = 0, width = 0;  // width = d + extra columns
  std::int64_t ld = 0;
  const double* weight = nullptr;  // (n,)
  std::vector<Piece> pieces;
  std::vector<double> scratch;  // a statistic's own while it absorbs; its memory stays for the next panel
  /// Whether rows are centred by something near their mean, so that each piece needs a row for the remainder.
  virtual bool rests() const = 0;
  /// Room for `rows` rows in the work tile, and their weights, which stay where they are; that of a rest is negative.
  virtual void reserve(std::int64_t rows, const double* weight) = 0;
  /// Work rows `to`.. are a piece's rows, centred, in columns [from, end), multiples of 16 up to ld, and work row
  /// `rest` the rest of it, if there are rests; mean (width,) under w, which sums to 1. Any thread.
  virtual void centre(const Piece& piece, const double* w, std::int64_t to, std::int64_t rest, std::int64_t from,
                      std::int64_t end, double* mean) = 0;
  /// Whether the lanes hold all that has been centred; asked by the calling thread, before any of it is summed.
  virtual bool fits() const = 0;
  /// Work row 0 = x, of such a weight: the only row from now on.
  virtual void put(const double* x, double weight) = 0;
  /// Work rows [r0, r1) are what is summed from now on. By the calling thread.
  virtual void take(std::int64_t r0, std::int64_t r1, Team& team) = 0;
  /// out[a, b] += weighted sum over the rows taken of x_a x_b for one tile; its part below the diagonal may be left
  /// out. Any thread.
  virtual void gram(std::int64_t a0, std::int64_t a1, std::int64_t b0, std::int64_t b1, double* out,
                    std::int64_t ldo) const = 0;
  /// out[a] += weighted sum of x_a^2.
  virtual void squares(double* out) const = 0;
};

}  // namespace clinometer
