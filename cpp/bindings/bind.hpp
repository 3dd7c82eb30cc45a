// bind<S>: one line in module.cpp gives a statistic its Python class with merge, finish, ==, repr, pickle.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <clinometer/statistic.hpp>

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

namespace clinometer::bindings {

namespace py = pybind11;

/// For a thread without the GIL: Ctrl-C ends the call.
inline void look_at_signals() {
  py::gil_scoped_acquire held;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

/// An array with a copy of these numbers. pybind11's own constructor gives a null array where the copy finds no room,
/// and the caller a TypeError in place of a MemoryError.
template <class T>
py::array_t<T, py::array::c_style> copied(const T* numbers, std::size_t count) {
  py::array_t<T, py::array::c_style> out{py::ssize_t(count)};
  std::copy_n(numbers, count, out.mutable_data());
  return out;
}

template <class T>
py::array_t<T, py::array::c_style> copied(const std::vector<T>& numbers) {
  return copied(numbers.data(), numbers.size());
}

/// Arrays that own what the results held: nothing is copied.
inline py::dict to_python(Results results) {
  py::dict out;
  for (Result& r : results) {
    std::int64_t size = 1;
    for (const std::int64_t n : r.shape) size *= n;
    if (std::size_t(size) != r.data.size()) throw std::logic_error("result " + r.name + ": shape and data disagree");
    auto held = std::make_unique<std::vector<double>>(std::move(r.data));
    const double* const at = held->data();
    const py::capsule owner(held.get(), [](void* p) { delete static_cast<std::vector<double>*>(p); });
    held.release();
    out[r.name.c_str()] = py::array_t<double>(std::vector<py::ssize_t>(r.shape.begin(), r.shape.end()), at, owner);
  }
  return out;
}

/// What a state was made with, by name.
inline py::dict settings(Statistic& s) {
  struct Named : Visitor {
    py::dict said;
    using Visitor::field;
    void field(const char* name, std::vector<double>& x) override { said[name] = py::cast(x); }
    void field(const char* name, std::vector<std::int64_t>& x) override { said[name] = py::cast(x); }
  } visit;
  s.settings(visit);
  return visit.said;
}

/// What pybind11 does where an object of Python takes one of ours, but safe where the table of instances has no room:
/// the object of Python lets go, or both would free what is held. Wanted of constructors: a shared_ptr; anything else
/// enters the table after the call, where an error ends the process.
template <class S>
struct Guarded {
  static inline void (*enter)(py::detail::instance*, const void*) = nullptr;
  static void init(py::detail::instance* self, const void* held) {
    try {
      enter(self, held);
    } catch (...) {
      self->get_value_and_holder(py::detail::get_type_info(typeid(S))).value_ptr() = nullptr;
      throw;
    }
  }
};

/// The class S for Python, held by shared_ptr, whose instances may find no room.
template <class S, class... Base, class... Extra>
auto class_of(py::module_& m, const char* name, const Extra&... extra) {
  py::class_<S, Base..., std::shared_ptr<S>> made(m, name, extra...);
  py::detail::type_info* const type = py::detail::get_type_info(typeid(S));
  Guarded<S>::enter = std::exchange(type->init_instance, &Guarded<S>::init);
  return made;
}

/// A state that reads or writes an array of Python, which lives as long.
template <class S>
std::shared_ptr<S> beside(py::object array, S&& state) {
  auto made = std::make_unique<S>(std::forward<S>(state));
  return std::shared_ptr<S>(made.release(), [array = std::move(array)](S* s) mutable {
    const py::gil_scoped_acquire held;
    delete s;
    array = py::object();
  });
}

template <class S, class... Init>
auto bind(py::module_& m, const char* name, const char* doc, Init&&... init) {
  const std::string label = name;
  return class_of<S, Statistic>(m, name, doc)
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
