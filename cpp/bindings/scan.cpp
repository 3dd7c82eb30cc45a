// Scan for Python: arrays in, pointers out, the GIL released for the length of a pass.
#include "bindings/scan.hpp"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>
#include <clinometer/fold.hpp>

#include <atomic>
#include <cmath>
#include <optional>

#include "bindings/bind.hpp"
#include "kernels/table.hpp"

namespace clinometer::bindings {
namespace {

namespace py = pybind11;
template <class T>
using Array = py::array_t<T, py::array::c_style>;
template <class T>
using Maybe = std::optional<Array<T>>;

template <class T>
const T* data(const Maybe<T>& a) {
  return a ? a->data() : nullptr;
}

/// As if the array began with row 0.
template <class T>
const T* from(const Maybe<T>& a, std::int64_t first) {
  return a ? a->data() - first : nullptr;
}

template <class T>
void need(const Maybe<T>& a, std::int64_t size, const char* name) {
  if (a && a->size() != size)
    throw py::value_error(std::string(name) + " has " + std::to_string(a->size()) + " entries, wanted " +
                          std::to_string(size));
}

/// phi as a list of (array, row_start); dtype as the index of Dtype.
Rows rows_of(const py::list& segments, int dtype, std::int64_t n, std::int64_t d) {
  if (dtype < 0 || dtype >= kDtypes) throw py::value_error("dtype: unknown index");
  Rows rows{static_cast<Dtype>(dtype), n, d, {}};
  std::int64_t next = 0;
  for (const py::handle& h : segments) {
    const auto pair = h.cast<py::tuple>();
    const auto a = pair[0].cast<py::array>();
    const auto start = pair[1].cast<std::int64_t>();
    if (a.ndim() != 2 || a.shape(1) != d || a.itemsize() != kItemBytes[dtype] || start != next ||
        (a.shape(0) > 0 && d > 1 && a.strides(1) != kItemBytes[dtype]))
      throw py::value_error("segments: need 2-D arrays with adjacent elements in ascending, gapless rows");
    rows.segments.push_back({static_cast<const std::byte*>(a.data()), start, a.shape(0), a.strides(0)});
    next += a.shape(0);
  }
  if (next < n) throw py::value_error("segments: fewer rows than declared");
  return rows;
}

/// A scan is one thread's at a time: of two inside a pass, which runs without the GIL, the second is refused.
class Turn {
 public:
  explicit Turn(std::atomic<bool>& busy) : busy_(busy) {
    if (busy_.exchange(true)) throw std::runtime_error("Scan: another thread is using it");
  }
  ~Turn() { busy_ = false; }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  std::atomic<bool>& busy_;
};

struct Inputs {
  Rows rows;
  Prompts prompts;
  Scored scored;
};

class PyScan {
 public:
  PyScan(const std::vector<std::shared_ptr<Statistic>>& statistics, std::int64_t first_leaf)
      : scan_(statistics, first_leaf), statistics_(statistics), first_leaf_(first_leaf) {
    for (const auto& s : statistics) needs_rows_ = needs_rows_ || s->needs_rows();
    if (first_leaf < 0) throw py::value_error("first_leaf: negative");
  }

  void absorb(const py::list& segments, int dtype, std::int64_t n_dump, std::int64_t d, std::int64_t n_rows,
              const Array<std::int64_t>& offsets, const Maybe<std::int64_t>& order, const Maybe<double>& weight,
              const Maybe<double>& omega, const Maybe<double>& unbias, const Maybe<std::int64_t>& cluster,
              const Maybe<std::int64_t>& fold, const Maybe<double>& directions, std::int64_t n_folds,
              const Maybe<double>& columns, const Maybe<double>& values, const Maybe<double>& kept,
              std::optional<Array<double>> origins, std::int64_t n_threads, bool in_double, bool rounded,
              const py::object& progress, std::int64_t begin, std::int64_t end, std::int64_t first_row,
              std::int64_t first_dump_row) {
    const Turn turn(busy_);
    const bool part = first_row >= 0;  // arrays of rows hold those from first_row on, values from first_dump_row on
    const std::int64_t at = part ? first_row : 0, stop = end < 0 ? n_rows : end, held = (part ? stop : n_rows) - at;
    const std::int64_t G = offsets.size() - 1;
    Inputs in{kept ? Rows{} : rows_of(segments, dtype, n_dump, d), {}, {}};
    in.prompts = {n_rows,           G,           begin,        stop,          from(order, at), offsets.data(),
                  from(weight, at), data(omega), data(unbias), data(cluster), data(fold)};
    need(order, held, "order");
    need(weight, held, "weight");
    need(omega, G, "omega");
    need(unbias, G, "unbias");
    need(cluster, G, "cluster");
    need(fold, G, "fold");
    if (offsets.size() < 1 || offsets.at(0) < 0 || offsets.at(0) > at || offsets.at(G) != n_rows)
      throw py::value_error("offsets: must run from 0 to n_rows");
    if (begin < at || begin > stop || stop > n_rows) throw py::value_error("begin, end: outside the rows");
    for (std::int64_t i = 0; order && i < held; ++i)
      if (order->at(i) < 0 || order->at(i) >= n_dump) throw py::value_error("order: a row is outside the dump");
    const auto width = [&](const Maybe<double>& a, std::int64_t rows, const char* name) -> std::int64_t {
      if (!a) return 0;
      if (a->ndim() != 2 || a->shape(0) != rows)
        throw py::value_error(std::string(name) + ": wanted one row for each of " + std::to_string(rows));
      return a->shape(1);
    };
    Scored& s = in.scored;
    if (directions &&
        (directions->ndim() != 2 || directions->shape(1) != d || n_folds < 1 || directions->shape(0) % n_folds))
      throw py::value_error("directions: wanted (K * n_folds, d)");
    s.n_folds = n_folds;
    s.n_directions = directions ? directions->shape(0) / n_folds : 0;
    s.directions = data(directions);
    const std::int64_t rows_of_values = part && values ? values->shape(0) : n_dump;
    const std::int64_t rows_of_columns = part && columns ? columns->shape(0) : n_dump;
    for (std::int64_t i = begin; part && (values || columns) && i < stop; ++i) {
      const std::int64_t row = (order ? order->at(i - at) : i) - first_dump_row;
      if (row < 0 || (values && row >= rows_of_values) || (columns && row >= rows_of_columns))
        throw py::value_error("values, columns: a row of this part is not among theirs");
    }
    s.n_columns = width(columns, rows_of_columns, "columns");
    s.columns = from(columns, first_dump_row * s.n_columns);
    s.n_values = width(values, rows_of_values, "values");
    s.values = from(values, first_dump_row * s.n_values);
    s.kept = data(kept);
    if (kept) {
      s.n_directions = width(kept, n_rows, "kept");
      s.n_columns = 0;
    }
    if (origins) {
      const std::int64_t from_leaf = part ? begin / kLeafRows : 0, leaf = 2 * n_folds * (s.n_directions + s.n_columns);
      need(origins, (((part ? stop : n_rows) + kLeafRows - 1) / kLeafRows - from_leaf) * leaf, "origins");
      if (begin % kLeafRows != 0 || (in.prompts.end != n_rows && in.prompts.end % kLeafRows != 0))
        throw py::value_error("origins: wanted a pass over whole leaves");
      s.origins = origins->mutable_data() - from_leaf * leaf;
    }
    if (kept)
      lent_.insert(lent_.end(),
                   {*kept, values ? py::object(*values) : py::none(), weight ? py::object(*weight) : py::none()});
    Options options{std::max<std::int64_t>(1, n_threads), in_double,
                    [&](std::int64_t done, std::int64_t total) {
                      py::gil_scoped_acquire hold;
                      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
                      if (!progress.is_none()) progress(done, total);
                    },
                    rounded};
    try {
      py::gil_scoped_release free;
      scan_.absorb(in.rows, in.prompts, s, options);
    } catch (const NonFiniteRow& e) {
      non_finite_ = e.row;
    }
  }

  std::vector<std::shared_ptr<Statistic>> collapse() {
    const Turn turn(busy_);
    std::vector<std::shared_ptr<Statistic>> out;
    for (auto& s : scan_.collapse()) out.emplace_back(std::move(s));
    return out;
  }
  /// [(leaf, level, states)], in leaf order.
  py::list nodes() {
    const Turn turn(busy_);
    py::list out;
    for (const auto& s : statistics_)
      if (first_leaf_ % s->span() != 0)
        throw py::value_error("nodes: a statistic of wide rows or folds keeps one running state for " +
                              std::to_string(s->span()) + " leaves and cannot be cut at leaf " +
                              std::to_string(first_leaf_));
    for (Node& node : scan_.nodes()) {
      py::list states;
      for (std::size_t i = 0; i < node.states.size(); ++i)
        states.append(std::shared_ptr<Statistic>(node.states[i] ? std::move(node.states[i]) : statistics_[i]->empty()));
      out.append(py::make_tuple(node.leaf, node.level, states));
    }
    return out;
  }
  std::int64_t non_finite() const { return non_finite_; }
  bool needs_rows() const { return needs_rows_; }

 private:
  Scan scan_;
  std::atomic<bool> busy_{false};
  std::vector<std::shared_ptr<Statistic>> statistics_;
  std::int64_t first_leaf_;
  bool needs_rows_ = false;
  std::int64_t non_finite_ = -1;
  std::vector<py::object> lent_;  // arrays that open prompts may still point into
};

/// Rows that hold NaN or Inf, ascending: what the nonfinite policies name, count and drop.
Array<std::int64_t> non_finite_rows(const py::list& segments, int dtype, std::int64_t n, std::int64_t d) {
  const Rows rows = rows_of(segments, dtype, n, d);
  std::vector<std::int64_t> bad;
  {
    py::gil_scoped_release free;
    const std::vector<double> shift(std::size_t(d), 0);
    std::vector<double> tile(std::size_t(kernels::padded(d)));
    for (std::int64_t i = 0; i < n; ++i) {
      const void* at = rows.at(i);
      if (!std::isfinite(kernels::active().f64.decode[dtype](&at, 1, 0, d, shift.data(), false, tile.data(), 1)))
        bad.push_back(i);
      if (i % 65536 == 0) look_at_signals();
    }
  }
  return copied(bad);
}

}  // namespace

void bind_scan(py::module_& m) {
  using namespace py::literals;
  m.attr("LEAF_ROWS") = kLeafRows;
  m.def("non_finite_rows", &non_finite_rows, "segments"_a, "dtype"_a, "n"_a, "d"_a);
  class_of<PyScan>(m, "Scan", "The one ordered fold over any number of statistics.")
      .def(py::init([](const std::vector<std::shared_ptr<Statistic>>& statistics, std::int64_t first_leaf) {
             return std::make_shared<PyScan>(statistics, first_leaf);
           }),
           "statistics"_a, "first_leaf"_a = 0)
      .def("absorb", &PyScan::absorb, py::kw_only(), "segments"_a, "dtype"_a, "n_dump"_a, "d"_a, "n_rows"_a,
           "offsets"_a, "order"_a = py::none(), "weight"_a = py::none(), "omega"_a = py::none(),
           "unbias"_a = py::none(), "cluster"_a = py::none(), "fold"_a = py::none(), "directions"_a = py::none(),
           "n_folds"_a = 1, "columns"_a = py::none(), "values"_a = py::none(), "kept"_a = py::none(),
           "origins"_a = py::none(), "n_threads"_a = 1, "in_double"_a = false, "rounded"_a = false,
           "progress"_a = py::none(), "begin"_a = 0, "end"_a = -1, "first_row"_a = -1, "first_dump_row"_a = 0)
      .def("collapse", &PyScan::collapse)
      .def("nodes", &PyScan::nodes, "The states as nodes (leaf, level, states) of the tree over the grid.")
      .def_property_readonly("needs_rows", &PyScan::needs_rows,
                             "Whether a statistic looks at rows, and not only at their scores.")
      .def_property_readonly("non_finite", &PyScan::non_finite, "A row with NaN or Inf that ended a pass, or -1.");
}

}  // namespace clinometer::bindings
