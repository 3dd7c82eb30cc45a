// The small games at baseline flags, two problems at a time: the same source as the wide levels.
#define CLINOMETER_LEVEL baseline
#include "kernels/lp.hpp"
