// The table of contents of clinometer._core.
#include <clinometer/mapped_file.hpp>
#include <clinometer/pareto.hpp>
#include <clinometer/prompt_tilt.hpp>
#include <clinometer/ridge.hpp>
#include <clinometer/statistics/cross_covariance.hpp>
#include <clinometer/statistics/jackknife.hpp>
#include <clinometer/statistics/log_ratios.hpp>
#include <clinometer/statistics/moments.hpp>
#include <clinometer/statistics/pairs.hpp>
#include <clinometer/statistics/projection.hpp>
#include <clinometer/statistics/score_variance.hpp>
#include <clinometer/statistics/scores.hpp>
#include <clinometer/statistics/tilt.hpp>
#include <clinometer/statistics/tilted_mean.hpp>
#include <clinometer/statistics/weighted_rows.hpp>

#include <optional>

#include "bindings/bind.hpp"
#include "bindings/lp.hpp"
#include "bindings/probe.hpp"
#include "bindings/scan.hpp"
#include "kernels/table.hpp"

namespace {

using namespace clinometer;
using clinometer::bindings::beside;
using clinometer::bindings::bind;
using clinometer::bindings::class_of;
namespace py = pybind11;
using Array = py::array_t<double, py::array::c_style>;
using Ints = py::array_t<std::int64_t, py::array::c_style>;

std::vector<double> copy(const Array& a) { return {a.data(), a.data() + a.size()}; }

void* output(const py::array& a) { return const_cast<void*>(a.data()); }

void statistics(py::module_& m) {
  class_of<Statistic>(m, "Statistic", "A mergeable state of one pass.")
      .def(
          "merge", [](Statistic& a, Statistic& later) { a.merge(later); },
          "Absorb the state of later rows; it is used up.")
      .def("finish", [](const Statistic& s) { return bindings::to_python(s.finish()); })
      .def("empty", [](const Statistic& s) { return std::shared_ptr<Statistic>(s.empty()); })
      .def_property_readonly("span", &Statistic::span, "Leaves that share a state: where a pass may be cut.")
      .def("state", [](const Statistic& s) { return py::bytes(serialise(s)); })
      .def("settings", &bindings::settings, "What it was made with, arrays by name; states merge where this agrees.")
      .def("__eq__", [](const Statistic& a, const Statistic& b) { return serialise(a) == serialise(b); });

  bind<Moments>(m, "Moments", "Mean and covariance by fold.",
                py::init([](std::int64_t d, std::int64_t j, std::int64_t folds, std::int64_t ddof, bool covariance) {
                  return std::make_shared<Moments>(d, j, folds, ddof, covariance);
                }));
  bind<CovarianceProjection>(m, "CovarianceProjection", "Sigma U without Sigma.",
                             py::init([](std::int64_t d, std::int64_t score_at, std::int64_t k, std::int64_t ddof) {
                               return std::make_shared<CovarianceProjection>(d, score_at, k, ddof);
                             }));
  bind<PerPrompt<CrossCovariance>>(
      m, "CrossCovariance", "Covariance of scores and values.",
      py::init([](std::int64_t score_at, std::int64_t k, std::int64_t value_at, std::int64_t j, std::int64_t ddof) {
        return std::make_shared<PerPrompt<CrossCovariance>>(CrossCovariance(score_at, k, value_at, j, ddof));
      }));
  bind<PerPrompt<Tilt>>(m, "Tilt", "Exact tilt with its expansions and errors.",
                        py::init([](std::int64_t score_at, std::int64_t k, std::int64_t value_at, std::int64_t j,
                                    const Array& betas, bool share_of_n, bool single, bool extras) {
                          return std::make_shared<PerPrompt<Tilt>>(
                              Tilt(score_at, k, value_at, j, copy(betas), share_of_n, single, extras));
                        }),
                        py::arg("score_at"), py::arg("n_scores"), py::arg("value_at"), py::arg("n_values"),
                        py::arg("betas"), py::arg("share_of_n"), py::arg("single"), py::arg("extras") = true);
  bind<PerPrompt<Jackknife>>(m, "Jackknife", "Delete-one biases of each judge's own gain and KL, and the gain's error.",
                             py::init([](std::int64_t k, const Array& betas, bool kl_too) {
                               return std::make_shared<PerPrompt<Jackknife>>(Jackknife(k, copy(betas), kl_too));
                             }),
                             py::arg("n_scores"), py::arg("betas"), py::arg("kl_too") = false);
  bind<PerPrompt<ScoreVariance>>(
      m, "ScoreVariance", "Variance of each score inside prompts.",
      py::init([](std::int64_t k) { return std::make_shared<PerPrompt<ScoreVariance>>(ScoreVariance(k)); }));
  bind<TiltedMean>(m, "TiltedMean", "Mean representation under each tilt.",
                   py::init([](std::int64_t d, std::int64_t score_at, std::int64_t k, const Array& betas) {
                     return std::make_shared<TiltedMean>(d, score_at, k, copy(betas));
                   }));
  bind<Scores>(m, "Scores", "Writes scores.",
               py::init([](std::int64_t score_at, std::int64_t k, const py::array& out, bool single, bool canonical,
                           bool relative) {
                 return beside(out, Scores(score_at, k, output(out), single, canonical, relative));
               }))
      .def(
          "take", [](Scores& s, const py::array& out, std::int64_t first) { s.write_to(output(out), first); },
          py::keep_alive<1, 2>(), "In a part of a pass: the table that its rows go to, from canonical row `first` on.")
      .def(
          "receive",
          [](Scores& s, const py::array& table, std::int64_t first, const std::optional<Ints>& row) {
            if (row && row->size() != table.shape(0)) throw py::value_error("receive: a row number for each row");
            s.receive(table.data(), first, table.shape(0), row ? row->data() : nullptr);
          },
          "Rows that a part has written, which are `row` in the dump.");
  bind<PerPrompt<LogRatios>>(m, "LogRatios", "Writes log-ratios.",
                             py::init([](std::int64_t score_at, std::int64_t k, const Array& betas, const Array& out) {
                               LogRatios made(score_at, k, copy(betas), static_cast<double*>(output(out)),
                                              out.shape(1));
                               return beside(out, PerPrompt<LogRatios>(std::move(made)));
                             }));
  class_of<PairList>(m, "PairList", "Pairs of canonical rows with their labels.")
      .def(py::init([](const Ints& first, const Ints& second, const Array& label, const Array& weight) {
        auto list = std::make_shared<PairList>();
        list->n = first.size();
        if (second.size() != list->n || weight.ndim() != 2 || weight.shape(0) != list->n || label.ndim() != 2 ||
            label.shape(0) != list->n || (weight.shape(1) != 1 && weight.shape(1) != label.shape(1)))
          throw py::value_error("PairList: wanted first (P,), second (P,), label (P, K), weight (P, 1 or K)");
        list->n_weights = weight.shape(1);
        list->first.assign(first.data(), first.data() + first.size());
        list->second.assign(second.data(), second.data() + second.size());
        list->label = copy(label);
        list->weight = copy(weight);
        list->sort();
        return list;
      }))
      .def(py::pickle(
          [](const PairList& p) { return py::make_tuple(p.first, p.second, p.label, p.weight, p.n_weights); },
          [](const py::tuple& t) {
            auto list = std::make_shared<PairList>();
            list->first = t[0].cast<std::vector<std::int64_t>>();
            list->second = t[1].cast<std::vector<std::int64_t>>();
            list->label = t[2].cast<std::vector<double>>();
            list->weight = t[3].cast<std::vector<double>>();
            list->n_weights = t[4].cast<std::int64_t>();
            list->n = std::int64_t(list->first.size());
            const std::int64_t k = list->n ? std::int64_t(list->label.size()) / list->n : 0, w = list->n_weights;
            if (std::int64_t(list->second.size()) != list->n || std::int64_t(list->label.size()) != list->n * k ||
                std::int64_t(list->weight.size()) != list->n * w || (list->n && w != 1 && w != k))
              throw py::value_error("PairList: the parts of a pickled list do not fit each other");
            list->sort();
            return list;
          }));
  bind<Pairs>(
      m, "Pairs", "Bradley-Terry loss and gradient.",
      py::init([](std::int64_t d, std::int64_t score_at, std::int64_t k, std::shared_ptr<PairList> list,
                  const Array& bias) { return std::make_shared<Pairs>(d, score_at, k, std::move(list), copy(bias)); }))
      .def(
          "part",
          [](const Pairs& s, std::int64_t begin, std::int64_t end) {
            return std::make_shared<PairList>(s.pairs()->touching(begin, end));
          },
          "The pairs that canonical rows [begin, end) take part in.")
      .def(
          "take", [](Pairs& s, std::shared_ptr<PairList> list, std::int64_t) { s.take_pairs(std::move(list)); },
          "In a part of a pass: the pairs of its rows.");
  bind<WeightedRows>(m, "WeightedRows", "Weighted sums of rows.", py::init([](std::int64_t d, const Array& weights) {
                       return beside(weights, WeightedRows(d, weights.data(), weights.shape(1)));
                     }))
      .def(
          "part",
          [](const WeightedRows& s, std::int64_t begin, std::int64_t end) {
            return Array({end - begin, s.weights_per_row()}, s.at(begin));
          },
          "The weights of canonical rows [begin, end).")
      .def(
          "take", [](WeightedRows& s, const Array& weights, std::int64_t first) { s.weigh_by(weights.data(), first); },
          py::keep_alive<1, 2>(), "In a part of a pass: the weights of its rows, from canonical row `first` on.");
}

void files(py::module_& m) {
  class_of<MappedFile>(m, "MappedFile", py::buffer_protocol(),
                       "A read-only map of a plain file that survives the file shrinking.")
      .def(py::init([](const std::string& path) { return std::make_shared<MappedFile>(path); }), py::arg("path"))
      .def("check", &MappedFile::check)
      .def("release", &MappedFile::release)
      .def_property_readonly("size", &MappedFile::size)
      .def_property_readonly("path", &MappedFile::path)
      .def_buffer([](MappedFile& f) {
        return py::buffer_info(const_cast<std::byte*>(f.data()), 1, py::format_descriptor<std::uint8_t>::format(), 1,
                               {py::ssize_t(f.size())}, {1}, true);
      });
  py::register_local_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const dump_changed& e) {
      py::set_error(py::module_::import("clinometer.errors").attr("DumpChangedError"), e.what());
    } catch (const std::system_error& e) {
      py::object error = py::module_::import("builtins").attr("OSError")(e.code().value(), e.code().message());
      error.attr("filename") = e.what();
      PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
    }
  });
}

void small_solves(py::module_& m) {
  m.def(
      "solve_ridge",
      [](const Array& sigma, double ridge, const Array& rhs) -> py::object {
        if (sigma.ndim() != 2 || sigma.shape(0) != sigma.shape(1) || rhs.ndim() != 2 || rhs.shape(1) != sigma.shape(0))
          throw py::value_error("solve_ridge: wanted sigma (n, n) and rhs (m, n)");
        Array out({rhs.shape(0), rhs.shape(1)});
        bool good = false;
        {
          py::gil_scoped_release free;
          good = solve_ridge(sigma.data(), sigma.shape(0), ridge, rhs.data(), rhs.shape(0), out.mutable_data());
        }
        return good ? py::object(out) : py::none();
      },
      py::arg("sigma"), py::arg("ridge"), py::arg("rhs"),
      "rhs (sigma + ridge I)^-1, or None if not positive definite.");
}

/// What both functions of prompts take, checked and as pointers.
struct PromptArrays {
  PromptRows rows;
  PromptTilts tilts;

  PromptArrays(const Array& score, const Ints& column, const Array& lam, const Ints& node, const Ints& offsets,
               const Array& weight, const std::optional<Array>& copies, const Array& values,
               const py::array_t<std::int32_t, py::array::c_style>& ranked, const Array& blend) {
    const std::int64_t n = weight.size(), G = offsets.size() - 1, C = column.size();
    const bool fits = G >= 0 && offsets.at(0) == 0 && offsets.at(G) == n && score.ndim() == 2 && score.shape(0) == n &&
                      (!copies || copies->size() == n) && values.ndim() == 2 && values.shape(1) == n &&
                      ranked.ndim() == 2 && ranked.shape(0) == values.shape(0) && ranked.shape(1) == n &&
                      lam.size() == C && node.size() == C && blend.ndim() == 4 &&
                      blend.shape(1) == 1 + values.shape(0) && blend.shape(2) == 3 && blend.shape(3) == G;
    if (!fits) throw py::value_error("prompt_tilt: lengths of rows, values, tilts and offsets disagree");
    for (std::int64_t c = 0; c < C; ++c)
      if (column.at(c) < 0 || column.at(c) >= score.shape(1) || node.at(c) < 0 || node.at(c) >= blend.shape(0))
        throw py::value_error("prompt_tilt: no such column or node");
    for (std::int64_t g = 0; g < G; ++g)
      if (offsets.at(g + 1) <= offsets.at(g)) throw py::value_error("prompt_tilt: offsets must ascend");
    for (std::int64_t j = 0; j < values.shape(0); ++j)
      for (std::int64_t g = 0; g < G; ++g)
        for (std::int64_t i = offsets.at(g); i < offsets.at(g + 1); ++i)
          if (ranked.at(j, i) < 0 || ranked.at(j, i) >= offsets.at(g + 1) - offsets.at(g))
            throw py::value_error("prompt_tilt: ranked points out of a prompt");
    rows = {offsets.data(), G, weight.data(), copies ? copies->data() : nullptr, values.data(), ranked.data(),
            values.shape(0)};
    tilts = {score.data(), score.shape(1), column.data(), lam.data(), node.data(), blend.data(), C};
  }
};

Array prompt_table(const Array& score, const Ints& column, const Array& lam, const Ints& node, const Ints& offsets,
                   const Array& weight, const std::optional<Array>& copies, const Array& values,
                   const py::array_t<std::int32_t, py::array::c_style>& ranked, const Array& blend,
                   std::int64_t n_threads) {
  const PromptArrays a(score, column, lam, node, offsets, weight, copies, values, ranked, blend);
  Array out({a.tilts.n_tilts, kPromptFields + kValueFields * a.rows.n_values, a.rows.n_prompts});
  double* const to = out.mutable_data();
  py::gil_scoped_release free;
  prompt_tilt(a.rows, a.tilts, n_threads, to, bindings::look_at_signals);
  return out;
}

Array prompt_means(const Array& score, const Ints& column, const Array& lam, const Ints& node, const Ints& offsets,
                   const Array& weight, const std::optional<Array>& copies, const Array& blend, const Array& omega,
                   std::int64_t n_threads) {
  const Array none(std::vector<py::ssize_t>{0, weight.size()});
  const py::array_t<std::int32_t, py::array::c_style> unranked(std::vector<py::ssize_t>{0, weight.size()});
  const PromptArrays a(score, column, lam, node, offsets, weight, copies, none, unranked, blend);
  if (omega.size() != a.rows.n_prompts) throw py::value_error("prompt_curve: wanted omega (G,)");
  Array out({a.tilts.n_tilts, std::int64_t(2)});
  double* const to = out.mutable_data();
  const double* const weights = omega.data();
  py::gil_scoped_release free;
  prompt_curve(a.rows, a.tilts, weights, n_threads, to, bindings::look_at_signals);
  return out;
}

Array tails_of(const Array& kept, const Array& betas, const Ints& offsets, const std::optional<Array>& weight,
               const std::optional<Array>& base, std::int64_t every, std::int64_t n_threads) {
  if (kept.ndim() != 2 || betas.ndim() != 2 || betas.shape(0) != kept.shape(1) || offsets.size() < 1 || every < 1)
    throw py::value_error("pareto_tails: wanted kept (n, K), betas (K, B), offsets and every >= 1");
  const std::int64_t n = kept.shape(0), prompts = offsets.size() - 1;
  bool fits = offsets.at(0) == 0 && offsets.at(prompts) == n;
  for (std::int64_t g = 0; g < prompts; ++g) fits = fits && offsets.at(g) < offsets.at(g + 1);
  if (!fits || (weight && weight->size() != n) || (base && base->size() != n))
    throw py::value_error("pareto_tails: lengths of rows and offsets disagree");
  Array out({betas.shape(0), betas.shape(1)});
  const KeptScores scores{kept.data(), kept.shape(1), offsets.data(), prompts, weight ? weight->data() : nullptr};
  const double *const at = betas.data(), *const extra = base ? base->data() : nullptr;
  double* const to = out.mutable_data();
  const std::int64_t B = betas.shape(1);
  py::gil_scoped_release free;
  pareto_tails(scores, at, B, extra, every, n_threads, bindings::look_at_signals, to);
  return out;
}

void tails(py::module_& m) {
  m.def("pareto_tails", tails_of, py::arg("kept"), py::arg("betas"), py::arg("offsets"), py::arg("weight"),
        py::arg("base"), py::arg("every"), py::arg("n_threads"), "Tail index of each tilt of kept scores, (K, B).");
  m.def("prompt_tilt", prompt_table, py::arg("score"), py::arg("column"), py::arg("lam"), py::arg("node"),
        py::arg("offsets"), py::arg("weight"), py::arg("copies"), py::arg("values"), py::arg("ranked"),
        py::arg("blend"), py::arg("n_threads"),
        "Tilts prompt by prompt, blended from those with and without each response and pair, (C, 2 + 6 J, G).");
  m.def("prompt_curve", prompt_means, py::arg("score"), py::arg("column"), py::arg("lam"), py::arg("node"),
        py::arg("offsets"), py::arg("weight"), py::arg("copies"), py::arg("blend"), py::arg("omega"),
        py::arg("n_threads"), "Mean KL of such tilts and its slope, (C, 2).");
}

void instruction_sets(py::module_& m) {
  m.def("isa", [] { return kernels::active().name; }, "The kernel table in use.");
  m.def(
      "isa_available",
      [] {
        const kernels::Table* tables[8];
        const int n = kernels::available(tables, 8);
        std::vector<std::string> names;
        for (int i = 0; i < n; ++i) names.emplace_back(tables[i]->name);
        return names;
      },
      "Kernel tables this build holds and this CPU runs, narrowest first.");
  m.def(
      "isa_select",
      [](const std::string& name) {
        if (!kernels::select(name.c_str())) throw py::value_error("isa: '" + name + "' is not available on this CPU");
      },
      py::arg("name"));
}

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
  m.doc() = "The compiled core of clinometer: kernels, the fold and its statistics.";
  statistics(m);
  files(m);
  small_solves(m);
  tails(m);
  instruction_sets(m);
  clinometer::bindings::bind_scan(m);
  clinometer::bindings::bind_probes(m);
  clinometer::bindings::bind_lp(m);
}
