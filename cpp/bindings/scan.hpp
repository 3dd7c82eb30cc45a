#pragma once
#include <pybind11/pybind11.h>

namespace clinometer::bindings {
void bind_scan(pybind11::module_& m);
}  // namespace clinometer::bindings
