// The small games at baseline flags, two problems side by side: the same source as the wide levels.
#define CLINOMETER_LEVEL baseline
#include "kernels/lp.hpp"
