// Limits of the machine for Python: seconds that reading, multiply-adds and exponentials take on some threads.
#pragma once
#include <pybind11/pybind11.h>

namespace clinometer::bindings {
void bind_probes(pybind11::module_& m);
}
