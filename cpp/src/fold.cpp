#include <clinometer/fold.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <thread>

#include "kernels/table.hpp"

namespace clinometer {
namespace {

constexpr std::int64_t kPilotRows = 16;
constexpr std::int64_t kPanelRows = 512;
constexpr std::int64_t kWindowLeaves = 8;
// beyond these a product of two float lanes may overflow or vanish: such blocks are done in double
constexpr double kHuge = 1e15, kTiny = 1e-15;

template <class L>
const kernels::LaneTable<L>& lanes() {
  if constexpr (sizeof(L) == 4) {
    return kernels::active().f32;
  } else {
    return kernels::active().f64;
  }
}

/// Stops a pass: set by the first error of any thread, polled between row blocks.
struct Stop {};

}  // namespace

/// One absorb() call: the inputs, where leaves begin, and the directions in lanes.
struct Pass {
  const Rows& rows;
  Prompts prompts;  // begin and end move with the window
  const Scored& scored;
  const Options& options;
  std::int64_t base_row;
  bool rows_needed;
  std::int64_t ld;
  std::int64_t n_projected, n_scores;
  std::vector<float> u32;
  std::vector<double> u64, scale;
  std::atomic<bool> stop{false};
  std::atomic<std::int64_t> done{0};
  std::int64_t total = 0;

  Pass(const Rows& r, const Prompts& p, const Scored& s, const Options& o, std::int64_t base, bool needed)
      : rows(r),
        prompts(p),
        scored(s),
        options(o),
        base_row(base),
        rows_needed(needed && !s.kept),
        ld(kernels::padded(r.d)),
        n_projected(s.n_directions * s.n_folds),
        n_scores(s.n_directions + s.n_columns) {
    u64.assign(std::size_t(n_projected * ld), 0);
    u32.assign(u64.size(), 0);
    scale.assign(std::size_t(n_projected), 1);
    for (std::int64_t k = 0; rows_needed && k < n_projected; ++k) {
      double largest = 0;
      for (std::int64_t c = 0; c < rows.d; ++c) largest = std::max(largest, std::abs(s.directions[k * rows.d + c]));
      // a power of two brings each direction to unit size: exact, and no lane overflows on its account
      if (largest > 0) scale[k] = std::ldexp(1.0, std::ilogb(largest));
      for (std::int64_t c = 0; c < rows.d; ++c) {
        u64[k * ld + c] = s.directions[k * rows.d + c] / scale[k];
        u32[k * ld + c] = static_cast<float>(u64[k * ld + c]);
      }
    }
  }
  template <class L>
  const L* directions() const {
    if constexpr (sizeof(L) == 4) {
      return u32.data();
    } else {
      return u64.data();
    }
  }
  std::int64_t row(std::int64_t canonical) const { return prompts.order ? prompts.order[canonical] : canonical; }
  void check_stop() const {
    if (stop.load(std::memory_order_relaxed)) throw Stop{};
  }
};

namespace {

/// The pieces of the prompts in canonical rows [first, first + n), and their weights.
void cut(const Pass& pass, std::int64_t first, std::int64_t n, std::vector<Piece>& pieces,
         std::vector<double>& weight) {
  const Prompts& p = pass.prompts;
  pieces.clear();
  weight.resize(std::size_t(n));
  std::int64_t x = std::upper_bound(p.offsets, p.offsets + p.n_prompts + 1, first) - p.offsets - 1;
  for (std::int64_t at = first; at < first + n; ++x) {
    const std::int64_t begin = p.offsets[x], end = p.offsets[x + 1], size = end - begin;
    const std::int64_t stop = std::min(end, first + n);
    const bool same_before = p.cluster && x > 0 && p.cluster[x - 1] == p.cluster[x];
    const bool same_after = p.cluster && x + 1 < p.n_prompts && p.cluster[x + 1] == p.cluster[x];
    pieces.push_back({x, at - first, stop - at, at == begin, stop == end, p.omega ? p.omega[x] : 1.0,
                      p.unbias   ? p.unbias[x]
                      : size > 1 ? double(size) / double(size - 1)
                                 : 0.0,
                      !same_before, !same_after, p.fold ? p.fold[x] : 0});
    for (; at < stop; ++at) weight[at - first] = p.weight ? p.weight[at] : 1.0 / double(size);
  }
}

/// Rows of a block: about `wanted`, ending with a prompt where one ends.
std::int64_t block_rows(const Pass& pass, std::int64_t first, std::int64_t end, std::int64_t wanted) {
  if (end - first <= wanted) return end - first;
  const Prompts& p = pass.prompts;
  const std::int64_t border = *(std::upper_bound(p.offsets, p.offsets + p.n_prompts + 1, first + wanted) - 1);
  return border > first ? border - first : wanted;
}

template <class L>
class LaneTile : public Tile {
 public:
  std::vector<L> x;
  std::int64_t n = 0;
  void accumulate(const double* weights, std::int64_t m, double* out) const override {
    std::vector<L> w(weights, weights + n * m);
    lanes<L>().accumulate(x.data(), n, ld, w.data(), m, m, out, ld);
  }
};

/// Reads, shifts, projects: turns canonical rows into Blocks. One per thread.
class Reader {
 public:
  explicit Reader(const Pass& pass) : pass_(pass) {}

  /// The leaf's shift: mean of its first finite rows, representable in the lanes. Undone in f64.
  void begin_leaf(std::int64_t first, std::int64_t n) {
    const std::int64_t d = pass_.rows.d;
    shift_.assign(std::size_t(d), 0);
    wide_leaf_ = pass_.options.in_double;
    if (!pass_.rows_needed) return;
    const std::int64_t m = std::min(n, kPilotRows);
    std::vector<const void*> at(1);
    std::vector<double> pilot(std::size_t(m * pass_.ld)), largest(std::size_t(d), 0);
    std::int64_t used = 0;
    for (std::int64_t i = 0; i < m; ++i) {
      at[0] = pass_.rows.at(pass_.row(first + i));
      double* to = pilot.data() + used * pass_.ld;
      used +=
          lanes<double>().decode[int(pass_.rows.dtype)](at.data(), 1, d, shift_.data(), to, pass_.ld).first_nonfinite ==
          1;
    }
    std::vector<double> mean(std::size_t(d), 0);
    for (std::int64_t i = 0; i < used; ++i)
      for (std::int64_t c = 0; c < d; ++c) mean[c] += (pilot[i * pass_.ld + c] - mean[c]) / double(i + 1);
    for (std::int64_t i = 0; i < used; ++i)
      for (std::int64_t c = 0; c < d; ++c)
        largest[c] = std::max(largest[c], std::abs(pilot[i * pass_.ld + c] - mean[c]));
    for (std::int64_t c = 0; c < d; ++c) {
      shift_[c] = std::abs(mean[c]) < 1e38 ? double(static_cast<float>(mean[c])) : 0;
      if (largest[c] > kHuge || (largest[c] > 0 && largest[c] < kTiny)) wide_leaf_ = true;
    }
    offset_.assign(std::size_t(pass_.n_projected), 0);
    for (std::int64_t k = 0; k < pass_.n_projected; ++k)
      for (std::int64_t c = 0; c < d; ++c) offset_[k] += pass_.u64[k * pass_.ld + c] * shift_[c];
  }

  void read(std::int64_t first, std::int64_t n, Block& b) {
    cut(pass_, first, n, b.pieces, weight_);
    b.first = pass_.base_row + first - pass_.prompts.begin;
    b.n = n;
    row_.resize(std::size_t(n));
    for (std::int64_t i = 0; i < n; ++i) row_[i] = pass_.row(first + i);
    const Scored& s = pass_.scored;
    b.row = row_.data();
    b.weight = weight_.data();
    b.n_values = s.n_values;
    gather(s.values, s.n_values, value_);
    b.value = value_.data();
    b.n_scores = pass_.n_scores;
    b.tile = nullptr;
    if (s.kept) {
      b.score = s.kept + first * pass_.n_scores;
      return;
    }
    score_.assign(std::size_t(n * pass_.n_scores), 0);
    if (pass_.rows_needed) {
      if (wide_leaf_ || !rows(narrow_, n, b)) rows(wide_, n, b);
    }
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t k = 0; k < s.n_columns; ++k)
        score_[i * pass_.n_scores + s.n_directions + k] = s.columns[row_[i] * s.n_columns + k];
    b.score = score_.data();
  }

  const std::vector<double>& shift() const { return shift_; }
  bool wide_leaf() const { return wide_leaf_; }

 private:
  const Pass& pass_;
  std::vector<double> shift_, offset_, weight_, value_, score_, projected_;
  std::vector<std::int64_t> row_;
  std::vector<const void*> at_;
  LaneTile<float> narrow_;
  LaneTile<double> wide_;
  bool wide_leaf_ = false;

  void gather(const double* from, std::int64_t width, std::vector<double>& to) {
    to.resize(row_.size() * std::size_t(width));
    for (std::size_t i = 0; i < row_.size(); ++i)
      std::copy_n(from + row_[i] * width, width, to.data() + std::int64_t(i) * width);
  }

  /// Decodes and projects in lanes of L; false if the block needs wider lanes.
  template <class L>
  bool rows(LaneTile<L>& tile, std::int64_t n, Block& b) {
    const std::int64_t ld = pass_.ld, d = pass_.rows.d;
    at_.resize(std::size_t(n));
    for (std::int64_t i = 0; i < n; ++i) at_[i] = pass_.rows.at(row_[i]);
    tile.x.resize(std::size_t(n * ld));
    tile.n = n;
    tile.d = d;
    tile.ld = ld;
    tile.shift = shift_.data();
    const kernels::Decoded seen =
        lanes<L>().decode[int(pass_.rows.dtype)](at_.data(), n, d, shift_.data(), tile.x.data(), ld);
    if (sizeof(L) == 4 && (seen.max_abs > kHuge || (seen.max_abs > 0 && seen.max_abs < kTiny) || !(seen.max_abs >= 0)))
      return false;
    if (seen.first_nonfinite < n) {
      if (sizeof(L) == 4) return false;  // a finite f64 may be infinite as a float
      throw NonFiniteRow{row_[seen.first_nonfinite]};
    }
    b.tile = &tile;
    if (pass_.n_projected) project(tile, n);
    return true;
  }

  template <class L>
  void project(const LaneTile<L>& tile, std::int64_t n) {
    const Scored& s = pass_.scored;
    const std::int64_t K = pass_.n_projected;
    projected_.assign(std::size_t(n * K), 0);
    lanes<L>().project(tile.x.data(), n, pass_.ld, pass_.template directions<L>(), K, projected_.data(), K);
    for (std::int64_t k = 0; k < K; ++k) {
      for (std::int64_t i = 0; i < n; ++i)
        projected_[i * K + k] = pass_.scale[k] * (projected_[i * K + k] + offset_[k]);
    }
    std::int64_t x = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t fold = s.n_folds > 1 ? fold_of(i, x) : 0;
      for (std::int64_t k = 0; k < s.n_directions; ++k)
        score_[i * pass_.n_scores + k] = projected_[i * K + k * s.n_folds + fold];
    }
  }

  std::int64_t fold_of(std::int64_t i, std::int64_t& x) {
    if (i == 0) {
      // the canonical row of the block's first row, found again from the pieces' prompt
      x = first_prompt_;
      within_ = first_within_;
    }
    while (within_ >= pass_.prompts.offsets[x + 1]) ++x;
    ++within_;
    return pass_.prompts.fold ? pass_.prompts.fold[x] : 0;
  }
  std::int64_t first_prompt_ = 0, first_within_ = 0, within_ = 0;

 public:
  void locate(std::int64_t first) {
    const Prompts& p = pass_.prompts;
    first_prompt_ = std::upper_bound(p.offsets, p.offsets + p.n_prompts + 1, first) - p.offsets - 1;
    first_within_ = first;
  }
};

/// Threads for the length of one absorb() call; nothing outlives it, so a fork finds no pool.
class Threads : public Team {
 public:
  Threads(std::int64_t n, Pass& pass) : pass_(pass) {
    for (std::int64_t i = 1; i < n; ++i) workers_.emplace_back([this] { serve(); });
  }
  ~Threads() override {
    {
      std::lock_guard lock(mutex_);
      closing_ = true;
    }
    wake_.notify_all();
    for (auto& w : workers_) w.join();
  }

  void parallel(std::int64_t n, const std::function<void(std::int64_t)>& f) override {
    {
      std::lock_guard lock(mutex_);
      task_ = &f;
      size_ = n;
      next_ = 0;
      busy_ = std::int64_t(workers_.size());
      ++round_;
    }
    if (!workers_.empty()) wake_.notify_all();
    work(true);
    std::unique_lock lock(mutex_);
    while (busy_ > 0) {
      idle_.wait_for(lock, std::chrono::milliseconds(20));
      lock.unlock();
      poll();
      lock.lock();
    }
    if (error_) {
      std::exception_ptr e = error_;
      error_ = nullptr;
      std::rethrow_exception(e);
    }
  }

  /// On the calling thread: lets the caller look at signals and report progress.
  void poll() {
    const auto now = std::chrono::steady_clock::now();
    if (now - polled_ < std::chrono::milliseconds(20) || !pass_.options.poll || pass_.stop) return;
    polled_ = now;
    try {
      pass_.options.poll(std::min(pass_.done.load(), pass_.total), pass_.total);
    } catch (...) {
      fail(std::current_exception());
    }
  }
  void fail(std::exception_ptr e) {
    std::lock_guard lock(mutex_);
    if (!error_) error_ = e;
    pass_.stop = true;
  }
  std::int64_t size() const { return std::int64_t(workers_.size()) + 1; }
  bool calling_thread() const { return std::this_thread::get_id() == owner_; }

 private:
  Pass& pass_;
  std::vector<std::thread> workers_;
  std::thread::id owner_ = std::this_thread::get_id();
  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  const std::function<void(std::int64_t)>* task_ = nullptr;
  std::atomic<std::int64_t> next_{0};
  std::int64_t size_ = 0, busy_ = 0, round_ = 0;
  bool closing_ = false;
  std::exception_ptr error_;
  std::chrono::steady_clock::time_point polled_ = std::chrono::steady_clock::now();

  void work(bool caller) {
    try {
      for (std::int64_t i; (i = next_.fetch_add(1)) < size_;) {
        if (caller) poll();
        pass_.check_stop();
        (*task_)(i);
      }
    } catch (const Stop&) {
    } catch (...) {
      fail(std::current_exception());
    }
  }
  void serve() {
    std::int64_t seen = 0;
    for (;;) {
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return closing_ || round_ != seen; });
        if (closing_) return;
        seen = round_;
      }
      work(false);
      std::lock_guard lock(mutex_);
      if (--busy_ == 0) idle_.notify_all();
    }
  }
};

template <class L>
class LanePanel : public Panel {
 public:
  std::vector<L> x, work;
  std::vector<double> shift;

  void mean(std::int64_t first, std::int64_t count, const double* w, double* out) const override {
    std::vector<L> lane(w, w + count);
    lanes<L>().accumulate(x.data() + first * ld, count, ld, lane.data(), 1, 1, out, ld);
    for (std::int64_t c = 0; c < width; ++c) out[c] += shift[c];
  }
  void centre(std::int64_t from, const double* m, double factor, std::int64_t to) override {
    const L* a = x.data() + from * ld;
    L* b = work.data() + to * ld;
    for (std::int64_t c = 0; c < width; ++c) b[c] = L(factor) * (a[c] - L(m[c] - shift[c]));
    std::fill(b + width, b + ld, L(0));
  }
  void put(const double* m, double factor, std::int64_t to) override {
    L* b = work.data() + to * ld;
    for (std::int64_t c = 0; c < width; ++c) b[c] = L(factor * m[c]);
    std::fill(b + width, b + ld, L(0));
  }
  void reserve(std::int64_t n) override { work.resize(std::size_t(n * ld)); }
  void gram(std::int64_t r0, std::int64_t r1, std::int64_t a0, std::int64_t a1, std::int64_t b0, std::int64_t b1,
            double* out, std::int64_t ldo) const override {
    const L* from = work.data() + r0 * ld;
    if (a0 < a1) return lanes<L>().gram(from, r1 - r0, ld, a0, a1, b0, b1, out, ldo);
    for (std::int64_t i = 0; i < r1 - r0; ++i)  // the diagonal alone
      for (std::int64_t c = b0; c < b1; ++c) out[c] += double(from[i * ld + c]) * double(from[i * ld + c]);
  }
};

/// Decodes canonical rows into a panel with the values as further columns; false if L is too narrow.
template <class L>
bool fill_panel(LanePanel<L>& panel, Pass& pass, const Reader& reader, std::int64_t first, std::int64_t n,
                std::vector<double>& weight, Team& team) {
  const std::int64_t d = pass.rows.d, extra = pass.scored.n_values;
  panel.n = n;
  panel.d = d;
  panel.width = d + extra;
  panel.ld = kernels::padded(d + extra);
  panel.base_row = pass.base_row + first - pass.prompts.begin;
  panel.shift = reader.shift();
  for (std::int64_t j = 0; j < extra; ++j) panel.shift.push_back(pass.scored.values[pass.row(first) * extra + j]);
  for (double& s : panel.shift)
    if (!std::isfinite(s)) s = 0;
  cut(pass, first, n, panel.pieces, weight);
  panel.weight = weight.data();
  panel.x.resize(std::size_t(n * panel.ld));
  std::atomic<bool> narrow{false};
  std::atomic<std::int64_t> bad{-1};
  const std::int64_t step = 64;
  team.parallel((n + step - 1) / step, [&](std::int64_t block) {
    std::vector<const void*> at(1);
    for (std::int64_t i = block * step; i < std::min(n, (block + 1) * step); ++i) {
      const std::int64_t row = pass.row(first + i);
      at[0] = pass.rows.at(row);
      L* to = panel.x.data() + i * panel.ld;
      const kernels::Decoded seen =
          lanes<L>().decode[int(pass.rows.dtype)](at.data(), 1, d, panel.shift.data(), to, panel.ld);
      if (seen.first_nonfinite == 0) bad = row;
      if (!(seen.max_abs <= kHuge)) narrow = true;
      for (std::int64_t j = 0; j < extra; ++j) {
        const double v = pass.scored.values[row * extra + j];
        to[d + j] = std::isfinite(v) ? L(v - panel.shift[d + j]) : L(0);
      }
    }
  });
  if (sizeof(L) == 4 && (narrow || bad >= 0)) return false;
  if (bad >= 0) throw NonFiniteRow{bad};
  return true;
}

}  // namespace

void push(std::vector<Node>& nodes, Node next) {
  // a right child has its level's bit set; its sibling, if it is here, is the last node
  while (!nodes.empty() && nodes.back().level == next.level && (next.leaf >> next.level) % 2 == 1 &&
         nodes.back().leaf == next.leaf - (std::int64_t(1) << next.level)) {
    Node left = std::move(nodes.back());
    nodes.pop_back();
    for (std::size_t i = 0; i < left.states.size(); ++i) {
      if (left.states[i])
        left.states[i]->merge(*next.states[i]);
      else
        left.states[i] = std::move(next.states[i]);
    }
    ++left.level;
    next = std::move(left);
  }
  nodes.push_back(std::move(next));
}

Scan::States Scan::empty_states(Split split) const {
  States out;
  for (const auto& s : prototypes_) out.push_back(s->split() == split ? s->empty() : nullptr);
  return out;
}

std::vector<Node> Scan::nodes() {
  std::vector<Node> out = std::move(by_rows_.empty() ? by_state_ : by_rows_);
  for (std::size_t n = 0; n < std::min(out.size(), by_state_.size()); ++n)
    for (std::size_t i = 0; i < prototypes_.size(); ++i)
      if (by_state_[n].states[i]) out[n].states[i] = std::move(by_state_[n].states[i]);
  by_rows_.clear();
  by_state_.clear();
  return out;
}

std::vector<std::unique_ptr<Statistic>> Scan::collapse() {
  States total;
  for (const auto& s : prototypes_) total.push_back(s->empty());
  for (Node& node : nodes())
    for (std::size_t i = 0; i < total.size(); ++i) {
      if (node.states[i]) total[i]->merge(*node.states[i]);
      node.states[i].reset();
    }
  return total;
}

void Scan::absorb_leaves(Pass& pass, Team& team) {
  auto& threads = static_cast<Threads&>(team);
  const std::int64_t begin = pass.prompts.begin, n = pass.prompts.end, leaves = (n - begin + kLeafRows - 1) / kLeafRows;
  const std::int64_t wanted = std::clamp<std::int64_t>(131072 / std::max<std::int64_t>(pass.ld, 1), 16, 256);
  std::mutex mutex;
  std::map<std::int64_t, States> finished;
  std::int64_t next_push = 0;
  team.parallel(leaves, [&](std::int64_t leaf) {
    Reader reader(pass);
    States states = empty_states(Split::rows);
    const std::int64_t first = begin + leaf * kLeafRows, end = std::min(n, first + kLeafRows);
    reader.begin_leaf(first, end - first);
    Block block;
    for (std::int64_t at = first; at < end; at += block.n) {
      if (threads.calling_thread()) threads.poll();
      pass.check_stop();
      reader.locate(at);
      reader.read(at, block_rows(pass, at, end, wanted), block);
      for (auto& s : states)
        if (s) s->absorb(block);
    }
    pass.done += end - first;
    std::lock_guard lock(mutex);
    finished[leaf] = std::move(states);
    for (auto it = finished.find(next_push); it != finished.end(); it = finished.find(++next_push)) {
      push(by_rows_, {(pass.base_row + next_push * kLeafRows) / kLeafRows, 0, std::move(it->second)});
      finished.erase(it);
    }
  });
}

void Scan::absorb_panels(Pass& pass, Team& team) {
  const std::int64_t n = pass.prompts.end;
  Reader reader(pass);
  LanePanel<float> narrow;
  LanePanel<double> wide;
  std::vector<double> weight;
  for (std::int64_t leaf = pass.prompts.begin; leaf < n; leaf += kLeafRows) {
    const std::int64_t leaf_end = std::min(n, leaf + kLeafRows);
    reader.begin_leaf(leaf, leaf_end - leaf);
    States states = empty_states(Split::state);
    for (std::size_t i = 0; !by_state_.empty() && i < states.size(); ++i)
      if (states[i] && states[i]->running()) states[i] = std::move(by_state_.back().states[i]);
    for (std::int64_t at = leaf; at < leaf_end;) {
      pass.check_stop();
      const std::int64_t rows = block_rows(pass, at, leaf_end, kPanelRows);
      Panel* panel = nullptr;
      if (!reader.wide_leaf() && fill_panel(narrow, pass, reader, at, rows, weight, team)) {
        panel = &narrow;
      } else {
        fill_panel(wide, pass, reader, at, rows, weight, team);
        panel = &wide;
      }
      for (auto& s : states)
        if (s) s->absorb(*panel, team);
      at += rows;
    }
    push(by_state_, {(pass.base_row + leaf - pass.prompts.begin) / kLeafRows, 0, std::move(states)});
    pass.done += leaf_end - leaf;
  }
}

void Scan::absorb(const Rows& rows, const Prompts& prompts, const Scored& scored, const Options& options) {
  const std::int64_t n = prompts.end - prompts.begin;
  if (n <= 0) return;
  bool by_rows = false, by_state = false, needs_rows = scored.n_directions > 0;
  for (const auto& s : prototypes_) {
    (s->split() == Split::rows ? by_rows : by_state) = true;
    needs_rows = needs_rows || s->needs_rows();
  }
  Pass pass(rows, prompts, scored, options, base_row_, needs_rows);
  // small work stays on the calling thread; more threads than leaves help only inside a leaf's panels
  const double work = double(n) * double(std::max<std::int64_t>(rows.d, 16));
  const std::int64_t useful =
      by_state ? options.n_threads : std::min(options.n_threads, (n + kLeafRows - 1) / kLeafRows);
  Threads team(work < 1e6 ? 1 : std::max<std::int64_t>(useful, 1), pass);
  pass.total = n;
  // statistics of both kinds take turns over windows of leaves, so that the disk is read once
  const std::int64_t step = by_rows && by_state ? kWindowLeaves * kLeafRows : n;
  for (std::int64_t at = prompts.begin; at < prompts.end; at += step) {
    pass.prompts.begin = at;
    pass.prompts.end = std::min(prompts.end, at + step);
    pass.base_row = base_row_ + at - prompts.begin;
    if (by_rows) absorb_leaves(pass, team);
    if (by_state) absorb_panels(pass, team);
  }
  if (options.poll) options.poll(n, n);
  base_row_ += n;
}

}  // namespace clinometer
