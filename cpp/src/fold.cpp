#include <clinometer/fold.hpp>

#include <map>
#include <utility>

#include "src/fold/lane_panel.hpp"
#include "src/fold/reader.hpp"
#include "src/fold/threads.hpp"

namespace clinometer {
namespace {

constexpr std::int64_t kWindowLeaves = 8;

}  // namespace

void push(std::vector<Node>& nodes, Node next, std::vector<std::unique_ptr<Statistic>>* spent) {
  // a right child has its level's bit set; its sibling, if it is here, is the last node
  while (!nodes.empty() && nodes.back().level == next.level && (next.leaf >> next.level) % 2 == 1 &&
         nodes.back().leaf == next.leaf - (std::int64_t(1) << next.level)) {
    Node left = std::move(nodes.back());
    nodes.pop_back();
    for (std::size_t i = 0; i < left.states.size(); ++i) {
      if (!left.states[i]) {
        left.states[i] = std::move(next.states[i]);
        continue;
      }
      left.states[i]->merge(*next.states[i]);
      if (spent && next.states[i]->clear()) spent->push_back(std::move(next.states[i]));
    }
    ++left.level;
    next = std::move(left);
  }
  nodes.push_back(std::move(next));
}

Scan::States Scan::empty_states(Split split, States* spent) const {
  States out;
  for (const auto& s : prototypes_) {
    if (s->split() == split && spent && !spent->empty()) {
      out.push_back(std::move(spent->back()));
      spent->pop_back();
    } else {
      out.push_back(s->split() == split ? s->empty() : nullptr);
    }
  }
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
  const std::int64_t wanted = wanted_rows(pass);
  std::mutex mutex;
  std::vector<std::unique_ptr<Reader>> idle;  // buffers outlive a leaf
  std::map<std::int64_t, States> finished;
  std::int64_t next_push = 0;
  team.parallel(leaves, [&](std::int64_t leaf) {
    std::unique_ptr<Reader> reader;
    {
      std::lock_guard lock(mutex);
      if (!idle.empty()) {
        reader = std::move(idle.back());
        idle.pop_back();
      }
    }
    if (!reader) reader = std::make_unique<Reader>(pass);
    States states = empty_states(Split::rows);
    const std::int64_t first = begin + leaf * kLeafRows, end = std::min(n, first + kLeafRows);
    reader->begin_leaf(first, end - first);
    Block block;
    for (std::int64_t at = first; at < end; at += block.n) {
      if (threads.calling_thread()) threads.poll();
      pass.check_stop();
      reader->read(at, block_rows(pass, at, end, wanted), block);
      for (auto& s : states)
        if (s) s->absorb(block);
    }
    for (auto& s : states)
      if (s) s->leaf_ends();
    pass.done += end - first;
    std::lock_guard lock(mutex);
    idle.push_back(std::move(reader));
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
  LanePanel<float> narrow(pass);
  LanePanel<double> wide(pass);
  ReadAhead ahead(pass.rows);
  // a d x d state a leaf is much to give back to the system and to ask for again; of several statistics none is kept
  States kept;
  States* const spent =
      std::count_if(prototypes_.begin(), prototypes_.end(), [](auto& s) { return s->split() == Split::state; }) == 1
          ? &kept
          : nullptr;
  if (!pass.prompts.order) ahead.begin(pass.prompts.begin, n);
  for (std::int64_t leaf = pass.prompts.begin; leaf < n; leaf += kLeafRows) {
    const std::int64_t leaf_end = std::min(n, leaf + kLeafRows);
    reader.begin_leaf(leaf, leaf_end - leaf);
    States states = empty_states(Split::state, spent);
    const std::int64_t on_grid = (pass.base_row + leaf - pass.prompts.begin) / kLeafRows;
    for (std::size_t i = 0; !by_state_.empty() && i < states.size(); ++i)
      if (states[i] && on_grid % states[i]->span() != 0) states[i] = std::move(by_state_.back().states[i]);
    for (std::int64_t at = leaf; at < leaf_end;) {
      pass.check_stop();
      ahead.at(at);
      const std::int64_t rows = block_rows(pass, at, leaf_end, panel_rows(pass));
      if (!reader.wide_leaf()) narrow.take_rows(reader.shift(), at, rows);
      bool widened = false;
      for (auto& s : states) {
        if (!s || (!reader.wide_leaf() && s->absorb(narrow, team))) continue;
        if (!std::exchange(widened, true)) wide.take_rows(reader.shift(), at, rows);
        s->absorb(wide, team);
      }
      at += rows;
    }
    push(by_state_, {on_grid, 0, std::move(states)}, spent);
    pass.done += leaf_end - leaf;
  }
}

void Scan::absorb(const Rows& rows, const Prompts& prompts, const Scored& scored, const Options& options) {
  const std::int64_t n = prompts.end - prompts.begin;
  if (n <= 0) return;
  bool by_rows = false, by_state = false, needs_rows = scored.n_directions > 0, needs_prompts = false;
  for (const auto& s : prototypes_) {
    (s->split() == Split::rows ? by_rows : by_state) = true;
    needs_rows = needs_rows || s->needs_rows();
    needs_prompts = needs_prompts || s->needs_prompts();
  }
  Pass pass(rows, prompts, scored, options, base_row_, needs_rows, needs_prompts);
  // small work stays on the calling thread; more threads than leaves help only inside a leaf's panels
  const double work = double(n) * double(std::max<std::int64_t>(rows.d, 16));
  const std::int64_t useful =
      by_state ? options.n_threads : std::min(options.n_threads, (n + kLeafRows - 1) / kLeafRows);
  Threads team(work < 1e6 ? 1 : std::max<std::int64_t>(useful, 1), pass);
  pass.total = n;
  for (auto& s : prototypes_) {
    s->use_threads(team.size());
    pass.n_weights = std::max(pass.n_weights, s->weights_per_row());
    pass.absolute = pass.absolute || s->needs_absolute();
    pass.relative = pass.relative || s->needs_relative();
  }
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
