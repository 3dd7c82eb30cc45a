// bind<S>: one line in module.cpp gives a statistic its Python class with merge, finish, ==, repr, pickle.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <clinometer/statistic.hpp>

namespace clinometer::bindings {

namespace py = pybind11;

inline py::dict to_python(const Results& results) {
  py::dict out;
  for (const Result& r : results) {
    py::array_t<double> a(std::vector<py::ssize_t>(r.shape.begin(), r.shape.end()));
    if (std::size_t(a.size()) != r.data.size())
      throw std::logic_error("result " + r.name + ": shape and data disagree");
    std::copy(r.data.begin(), r.data.end(), a.mutable_data());
    out[r.name.c_str()] = std::move(a);
  }
  return out;
}

template <class S, class... Init>
auto bind(py::module_& m, const char* name, const char* doc, Init&&... init) {
  const std::string label = name;
  return py::class_<S, Statistic, std::shared_ptr<S>>(m, name, doc)
      .def(std::forward<Init>(init)...)
      .def(py::pickle([](const S& s) { return py::bytes(serialise(s)); },
                      [](const py::bytes& b) {
                        auto s = std::make_shared<S>();
                        deserialise(*s, b);
                        return s;
                      }))
      .def("__repr__",
           [label](const S& s) { return "<" + label + " state, " + std::to_string(serialise(s).size()) + " bytes>"; });
}

}  // namespace clinometer::bindings
