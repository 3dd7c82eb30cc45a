// The table of a level that has a matrix unit for bf16: f32 numbers are split into three terms (matrix_parts.hpp).
#pragma once
#include "kernels/matrix_gram.hpp"
#include "kernels/matrix_scores.hpp"
#include "kernels/matrix_sums.hpp"

namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE {

extern const MatrixTable matrix;
const MatrixTable matrix = {
    {9, 5, 5, 128},
    pack,
    {scores<Dtype::f32>, scores<Dtype::f16>, scores<Dtype::bf16>, scores<Dtype::f64>},
    {sums<Dtype::f32>, sums<Dtype::f16>, sums<Dtype::bf16>, sums<Dtype::f64>},
    {add_sums<Dtype::f32>, add_sums<Dtype::f16>, add_sums<Dtype::bf16>, add_sums<Dtype::f64>},
    centre,
    split_panel,
    gram_parts,
};

}  // namespace clinometer::kernels::CLINOMETER_ISA_NAMESPACE
