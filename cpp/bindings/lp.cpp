// The games: arrays to pointers. Shapes are checked in Python; what would read out of bounds is checked here.
#include <pybind11/numpy.h>
#include <clinometer/lp/cone.hpp>
#include <clinometer/lp/ensemble.hpp>
#include <clinometer/lp/front.hpp>
#include <clinometer/lp/gram_cone.hpp>
#include <clinometer/lp/prompt.hpp>

#include "bindings/bind.hpp"
#include "bindings/lp.hpp"

namespace clinometer::bindings {
namespace {

namespace py = pybind11;
using Array = py::array_t<double, py::array::c_style>;

lp::Work work(int threads) { return {threads, look_at_signals}; }

void want(bool good, const char* message) {
  if (!good) throw py::value_error(message);
}

py::tuple cones(const Array& a, int threads) {
  want(a.ndim() == 3 && a.shape(1) > 0 && a.shape(2) > 0, "lp_cones: wanted a (P, k, d)");
  const py::ssize_t problems = a.shape(0), k = a.shape(1), d = a.shape(2);
  py::array_t<std::int8_t> status(problems);
  Array lower(problems), upper(problems), weights({problems, d}), dual({problems, k});
  const lp::ConeResults out{reinterpret_cast<lp::Status*>(status.mutable_data()), lower.mutable_data(),
                            upper.mutable_data(), weights.mutable_data(), dual.mutable_data()};
  {
    py::gil_scoped_release free;
    lp::solve_cones(a.data(), problems, k, d, work(threads), out);
  }
  return py::make_tuple(status, lower, upper, weights, dual);
}

py::tuple gram_cones(const Array& grams, int threads) {
  want(grams.ndim() == 3 && grams.shape(1) > 0 && grams.shape(1) == grams.shape(2), "lp_gram_cones: wanted (P, k, k)");
  const py::ssize_t problems = grams.shape(0), k = grams.shape(1);
  py::array_t<std::int8_t> status(problems);
  Array lower(problems), upper(problems), weights({problems, k});
  const lp::GramConeResults out{reinterpret_cast<lp::Status*>(status.mutable_data()), lower.mutable_data(),
                                upper.mutable_data(), weights.mutable_data()};
  {
    py::gil_scoped_release free;
    lp::solve_gram_cones(grams.data(), problems, k, work(threads), out);
  }
  return py::make_tuple(status, lower, upper, weights);
}

py::tuple as_tuple(const lp::EnsembleResult& r) {
  return py::make_tuple(int(r.status), r.lower, r.upper, r.violation, copied(r.at), copied(r.weight), copied(r.dual),
                        r.passes);
}

/// m in float or double, whose rows may be apart but not their entries; read in place.
lp::Entries entries_of(const py::array& m, const char* name) {
  const bool narrow = py::isinstance<py::array_t<float>>(m);
  want(m.ndim() == 2 && m.shape(0) > 0 && m.shape(1) > 0 && (narrow || py::isinstance<py::array_t<double>>(m)), name);
  want(m.shape(1) == 1 || m.strides(1) == m.itemsize(), name);
  lp::Entries out{nullptr, m.strides(0) / m.itemsize(), m.shape(0), m.shape(1), nullptr};
  if (narrow) {
    out.narrow = static_cast<const float*>(m.data());
  } else {
    out.wide = static_cast<const double*>(m.data());
  }
  return out;
}

py::tuple ensemble(const py::array& m, int threads) {
  const lp::Entries entries = entries_of(m, "lp_ensemble: wanted m (k, n) of float32 or float64, rows in one piece");
  lp::EnsembleResult result;
  {
    py::gil_scoped_release free;
    result = lp::solve_ensemble(entries, work(threads));
  }
  return as_tuple(result);
}

py::tuple ensembles(const Array& m, int threads) {
  want(m.ndim() == 3 && m.shape(1) > 0 && m.shape(2) > 0, "lp_ensembles: wanted m (P, k, n)");
  const py::ssize_t problems = m.shape(0), k = m.shape(1), n = m.shape(2);
  py::array_t<std::int8_t> status(problems);
  py::array_t<std::int64_t> passes(problems);
  Array lower(problems), upper(problems), weights({problems, n}), dual({problems, k});
  const lp::EnsembleResults out{reinterpret_cast<lp::Status*>(status.mutable_data()),
                                lower.mutable_data(),
                                upper.mutable_data(),
                                weights.mutable_data(),
                                dual.mutable_data(),
                                passes.mutable_data()};
  {
    py::gil_scoped_release free;
    lp::solve_ensembles(m.data(), problems, k, n, work(threads), out);
  }
  return py::make_tuple(status, lower, upper, weights, dual, passes);
}

py::tuple constrained(const Array& rows, const Array& tau, int threads) {
  want(rows.ndim() == 2 && rows.shape(0) > 1 && rows.shape(1) > 0 && tau.ndim() == 1 &&
           tau.shape(0) + 1 == rows.shape(0),
       "lp_constrained: wanted rows (1 + k, n) and tau (k,)");
  lp::EnsembleResult result;
  {
    py::gil_scoped_release free;
    result = lp::solve_constrained({rows.data(), rows.shape(1), rows.shape(0), rows.shape(1), nullptr}, tau.data(),
                                   work(threads));
  }
  return as_tuple(result);
}

using Indices = py::array_t<std::int64_t, py::array::c_style>;

lp::Prompts prompts_of(const Array& values, const Indices& begin, const Array& weight, const double* scale) {
  const bool shaped = values.ndim() == 2 && values.shape(1) > 0 && values.shape(1) <= 64 && begin.ndim() == 1 &&
                      begin.shape(0) > 0 && weight.ndim() == 1 && weight.shape(0) == values.shape(0);
  want(shaped && begin.at(0) == 0 && begin.at(begin.shape(0) - 1) == values.shape(0),
       "prompts: wanted values (N, k), begin (G + 1,) from 0 to N and weight (N,)");
  for (py::ssize_t g = 1; g < begin.shape(0); ++g) want(begin.at(g) > begin.at(g - 1), "prompts: begin must rise");
  return {values.data(), begin.data(), weight.data(), scale, begin.shape(0) - 1, values.shape(1)};
}

Array variances(const Array& values, const Indices& begin, const Array& weight, int threads) {
  const lp::Prompts prompts = prompts_of(values, begin, weight, nullptr);
  Array out(prompts.k);
  double* const to = out.mutable_data();
  {
    py::gil_scoped_release free;
    lp::within_variances(prompts, work(threads), to);
  }
  return out;
}

py::tuple prompts(const Array& values, const Indices& begin, const Array& weight, const Array& scale, double bound,
                  bool kl, int threads) {
  want(scale.ndim() == 1 && values.ndim() == 2 && scale.shape(0) == values.shape(1), "lp_prompts: wanted scale (k,)");
  const lp::Prompts given = prompts_of(values, begin, weight, scale.data());
  py::array_t<std::int8_t> status(given.count);
  Array lower(given.count), upper(given.count), dual({given.count, given.k}), weights(values.shape(0));
  const lp::PromptResults out{reinterpret_cast<lp::Status*>(status.mutable_data()), lower.mutable_data(),
                              upper.mutable_data(), dual.mutable_data(), weights.mutable_data()};
  {
    py::gil_scoped_release free;
    if (kl) {
      lp::solve_budget(given, bound, work(threads), out);
    } else {
      lp::solve_capped(given, bound, work(threads), out);
    }
  }
  return py::make_tuple(status, lower, upper, dual, weights);
}

py::array_t<bool> front(const Array& points, int threads) {
  want(points.ndim() == 2 && points.shape(1) > 0, "lp_front: wanted points (n, k)");
  py::array_t<bool> keep(points.shape(0));
  auto* const to = reinterpret_cast<std::uint8_t*>(keep.mutable_data());
  {
    py::gil_scoped_release free;
    lp::pareto_front(points.data(), points.shape(0), points.shape(1), work(threads), to);
  }
  return keep;
}

}  // namespace

void bind_lp(py::module_& m) {
  m.def("lp_variances", variances, py::arg("values"), py::arg("begin"), py::arg("weight"), py::arg("n_threads"),
        "Within-prompt variances (k,) of values (N, k).");
  m.def("lp_prompts", prompts, py::arg("values"), py::arg("begin"), py::arg("weight"), py::arg("scale"),
        py::arg("bound"), py::arg("kl"), py::arg("n_threads"),
        "status, lower, upper, dual, weights of one game a prompt; bound is the ratio cap or the KL.");
  m.def("lp_front", front, py::arg("points"), py::arg("n_threads"), "Points (n, k) that no other point dominates.");
  m.def("lp_ensemble", ensemble, py::arg("m"), py::arg("n_threads"),
        "status, lower, upper, violation, columns, weights, dual, passes of the game m (k, n).");
  m.def("lp_ensembles", ensembles, py::arg("m"), py::arg("n_threads"),
        "status, lower, upper, weights, dual, passes of games m (P, k, n).");
  m.def("lp_constrained", constrained, py::arg("rows"), py::arg("tau"), py::arg("n_threads"),
        "The same for max c.w with M w >= tau; rows are c, then M.");
  m.def("lp_gram_cones", gram_cones, py::arg("grams"), py::arg("n_threads"),
        "status, lower, upper, weights of cones from Grams (P, k, k).");
  m.def("lp_cones", cones, py::arg("a"), py::arg("n_threads"),
        "status, lower, upper, weights, dual of cones (P, k, d).");
}

}  // namespace clinometer::bindings
