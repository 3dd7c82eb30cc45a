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
using clinometer::bindings::bind;
namespace py = pybind11;
using Array = py::array_t<double, py::array::c_style>;
using Ints = py::array_t<std::int64_t, py::array::c_style>;

std::vector<double> copy(const Array& a) { return {a.data(), a.data() + a.size()}; }

void* output(const py::array& a) { return const_cast<void*>(a.data()); }

void statistics(py::module_& m) {
  py::class_<Statistic, std::shared_ptr<Statistic>>(m, "Statistic", "A mergeable state of one pass.")
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
                py::init<std::int64_t, std::int64_t, std::int64_t, std::int64_t, bool>());
  bind<CovarianceProjection>(m, "CovarianceProjection", "Sigma U without Sigma.",
                             py::init<std::int64_t, std::int64_t, std::int64_t, std::int64_t>());
  bind<PerPrompt<CrossCovariance>>(
      m, "CrossCovariance", "Covariance of scores and values.",
      py::init([](std::int64_t score_at, std::int64_t k, std::int64_t value_at, std::int64_t j, std::int64_t ddof) {
        return PerPrompt<CrossCovariance>(CrossCovariance(score_at, k, value_at, j, ddof));
      }));
  bind<PerPrompt<Tilt>>(
      m, "Tilt", "Exact tilt with its expansions and errors.",
      py::init([](std::int64_t score_at, std::int64_t k, std::int64_t value_at, std::int64_t j, const Array& betas,
                  bool share_of_n, bool single, bool extras) {
        return PerPrompt<Tilt>(Tilt(score_at, k, value_at, j, copy(betas), share_of_n, single, extras));
      }),
      py::arg("score_at"), py::arg("n_scores"), py::arg("value_at"), py::arg("n_values"), py::arg("betas"),
      py::arg("share_of_n"), py::arg("single"), py::arg("extras") = true);
  bind<PerPrompt<Jackknife>>(m, "Jackknife", "Delete-one biases of each judge's own gain and KL, and the gain's error.",
                             py::init([](std::int64_t k, const Array& betas, bool kl_too) {
                               return PerPrompt<Jackknife>(Jackknife(k, copy(betas), kl_too));
                             }),
                             py::arg("n_scores"), py::arg("betas"), py::arg("kl_too") = false);
  bind<PerPrompt<ScoreVariance>>(m, "ScoreVariance", "Variance of each score inside prompts.",
                                 py::init([](std::int64_t k) { return PerPrompt<ScoreVariance>(ScoreVariance(k)); }));
  bind<TiltedMean>(m, "TiltedMean", "Mean representation under each tilt.",
                   py::init([](std::int64_t d, std::int64_t score_at, std::int64_t k, const Array& betas) {
                     return TiltedMean(d, score_at, k, copy(betas));
                   }));
  bind<Scores>(m, "Scores", "Writes scores.",
               py::init([](std::int64_t score_at, std::int64_t k, const py::array& out, bool single, bool canonical,
                           bool relative) { return Scores(score_at, k, output(out), single, canonical, relative); }),
               py::keep_alive<1, 4>())
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
                               return PerPrompt<LogRatios>(LogRatios(score_at, k, copy(betas),
                                                                     static_cast<double*>(output(out)), out.shape(1)));
                             }),
                             py::keep_alive<1, 5>());
  py::class_<PairList, std::shared_ptr<PairList>>(m, "PairList", "Pairs of canonical rows with their labels.")
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
            list->sort();
            return list;
          }));
  bind<Pairs>(m, "Pairs", "Bradley-Terry loss and gradient.",
              py::init([](std::int64_t d, std::int64_t score_at, std::int64_t k, std::shared_ptr<PairList> list,
                          const Array& bias) { return Pairs(d, score_at, k, std::move(list), copy(bias)); }))
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
                       return WeightedRows(d, weights.data(), weights.shape(1));
                     }),
                     py::keep_alive<1, 3>())
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
  py::class_<MappedFile, std::shared_ptr<MappedFile>>(
      m, "MappedFile", py::buffer_protocol(), "A read-only map of a plain file that survives the file shrinking.")
      .def(py::init<const std::string&>(), py::arg("path"))
      .def("check", &MappedFile::check)
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

Array prompt_table(const Array& score, double lam, int orders, const Ints& offsets, const Array& weight,
                   const std::optional<Array>& copies, const Array& values,
                   const py::array_t<std::int32_t, py::array::c_style>& ranked, std::int64_t n_threads) {
  const std::int64_t n = score.size(), prompts = offsets.size() - 1;
  const bool fits = weight.size() == n && (!copies || copies->size() == n) && values.ndim() == 2 &&
                    values.shape(1) == n && ranked.ndim() == 2 && ranked.shape(0) == values.shape(0) &&
                    ranked.shape(1) == n && prompts >= 0 && offsets.at(0) == 0 && offsets.at(prompts) == n;
  if (!fits) throw py::value_error("prompt_tilt: lengths of rows, values and offsets disagree");
  for (std::int64_t g = 0; g < prompts; ++g)
    if (offsets.at(g + 1) <= offsets.at(g)) throw py::value_error("prompt_tilt: offsets must ascend");
  for (std::int64_t j = 0; j < values.shape(0); ++j)
    for (std::int64_t g = 0; g < prompts; ++g)
      for (std::int64_t i = offsets.at(g); i < offsets.at(g + 1); ++i)
        if (ranked.at(j, i) < 0 || ranked.at(j, i) >= offsets.at(g + 1) - offsets.at(g))
          throw py::value_error("prompt_tilt: ranked points out of a prompt");
  const PromptRows rows{offsets.data(), prompts,       weight.data(),  copies ? copies->data() : nullptr,
                        values.data(),  ranked.data(), values.shape(0)};
  Array out({kPromptFields + kValueFields * values.shape(0), prompts});
  double* const to = out.mutable_data();
  const double* const t = score.data();
  py::gil_scoped_release free;
  prompt_tilt(rows, t, lam, orders, n_threads, to, bindings::look_at_signals);
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
  m.def("prompt_tilt", prompt_table, py::arg("score"), py::arg("lam"), py::arg("orders"), py::arg("offsets"),
        py::arg("weight"), py::arg("copies"), py::arg("values"), py::arg("ranked"), py::arg("n_threads"),
        "One tilt prompt by prompt, with and without each response and pair, (6 + 13 J, G).");
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
