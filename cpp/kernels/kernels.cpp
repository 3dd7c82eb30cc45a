// The wide levels: compiled once per level with that level's flags and CLINOMETER_LEVEL, into a namespace
// of its own. Raw pointers only: an inline function of the standard library or of Eigen would leave a weak
// symbol holding wide code, which the linker might hand to a caller on a narrow machine.
#include "kernels/accumulate.hpp"
#include "kernels/decode.hpp"
#include "kernels/gram.hpp"
#include "kernels/project.hpp"
#include "kernels/tilt.hpp"

#define CLINOMETER_TEXT_(x) #x
#define CLINOMETER_TEXT(x) CLINOMETER_TEXT_(x)

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {

extern const LpTable lp_table;
extern const Table table;
const Table table = {
    CLINOMETER_TEXT(CLINOMETER_LEVEL),
    {{decode<Dtype::f32, float>, decode<Dtype::f16, float>, decode<Dtype::bf16, float>, decode<Dtype::f64, float>},
     project<float>,
     accumulate<float>,
     gram<float>},
    {{decode<Dtype::f32, double>, decode<Dtype::f16, double>, decode<Dtype::bf16, double>, decode<Dtype::f64, double>},
     project<double>,
     accumulate<double>,
     gram<double>},
    tilt,
    &lp_table};

}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
