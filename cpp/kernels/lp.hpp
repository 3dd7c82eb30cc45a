// The small games of one instruction-set level. Compiled apart from the other kernels, without contraction.
#pragma once
#include "kernels/lp_certify.hpp"
#include "kernels/lp_min_norm.hpp"
#include "kernels/lp_mixture.hpp"
#include "kernels/lp_prompt.hpp"
#include "kernels/lp_simplex.hpp"
#include "kernels/table.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {

extern const LpTable lp_table;
const LpTable lp_table = {
    kPace,    solve<Wide>, solve<Single>, solve<Double>, mixture, evaluate<Wide>,      evaluate<Single>,
    min_norm, pack,        unpack,        centre,        settle,  {price, sift, scan}, {price, sift, scan},
    dominated};

}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
