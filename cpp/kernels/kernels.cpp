// The wide levels: compiled once per level with that level's flags and CLINOMETER_LEVEL, into a namespace
// of its own. Raw pointers only: an inline function of the standard library or of Eigen would leave a weak
// symbol holding wide code, which the linker might hand to a caller on a narrow machine.
#include "kernels/centre.hpp"
#include "kernels/cumulants.hpp"
#include "kernels/decode.hpp"
#include "kernels/delete_one.hpp"
#include "kernels/dots.hpp"
#include "kernels/product.hpp"
#include "kernels/side_by_side.hpp"
#include "kernels/spans.hpp"
#include "kernels/tilt.hpp"
#include "kernels/tilt_lanes.hpp"
#include "kernels/tilt_slices.hpp"

#define CLINOMETER_TEXT_(x) #x
#define CLINOMETER_TEXT(x) CLINOMETER_TEXT_(x)

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {

namespace {

template <class L>
constexpr LaneTable<L> lane_table() {
  return {{decode<Dtype::f32, L>, decode<Dtype::f16, L>, decode<Dtype::bf16, L>, decode<Dtype::f64, L>},
          {dots<Dtype::f32, L>, dots<Dtype::f16, L>, dots<Dtype::bf16, L>, dots<Dtype::f64, L>},
          pack_four<L>,
          {scores<Dtype::f32, L>, scores<Dtype::f16, L>, scores<Dtype::bf16, L>, scores<Dtype::f64, L>},
          {kPairLanes<Dtype::f32, L>, kPairLanes<Dtype::f16, L>, kPairLanes<Dtype::bf16, L>, kPairLanes<Dtype::f64, L>},
          {weigh<Dtype::f32, L>, weigh<Dtype::f16, L>, weigh<Dtype::bf16, L>, weigh<Dtype::f64, L>},
          deviations<L>,
          add<L>,
          accumulate<L>,
          gram<L>};
}

}  // namespace

extern const LpTable lp_table;
extern const Table table;
const Table table = {CLINOMETER_TEXT(CLINOMETER_LEVEL),
                     lane_table<float>(),
                     lane_table<double>(),
                     tilt,
                     exponentials,
                     log_masses,
                     delete_one,
                     tilt_batch,
                     cumulant_batch,
                     tilt_groups,
                     cumulant_groups,
                     side_by_side,
                     tilt_slices,
                     cumulant_slices,
                     weighted_differences,
                     centred_floats,
                     &lp_table,
                     nullptr,
                     nullptr};

}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
