#pragma once
#include <pybind11/pybind11.h>

namespace clinometer::bindings {
void bind_lp(pybind11::module_& m);
}  // namespace clinometer::bindings
