// bind<S>: one line in module.cpp gives a statistic its Python class with merge, finish, ==, repr, pickle.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <clinometer/statistic.hpp>

#include <functional>
#include <memory>
#include <numeric>

namespace clinometer::bindings {

namespace py = pybind11;

/// Arrays that own what they show: a d x d result is not copied.
inline py::dict to_python(Results results) {
  py::dict out;
  for (Result& r : results) {
    const std::vector<py::ssize_t> shape(r.shape.begin(), r.shape.end());
    auto data = std::make_unique<std::vector<double>>(std::move(r.data));
    if (std::accumulate(shape.begin(), shape.end(), py::ssize_t{1}, std::multiplies<>()) != py::ssize_t(data->size()))
      throw std::logic_error("result " + r.name + ": shape and data disagree");
    const py::capsule owner(data.get(), [](void* at) { delete static_cast<std::vector<double>*>(at); });
    out[r.name.c_str()] = py::array_t<double>(shape, data.release()->data(), owner);
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
