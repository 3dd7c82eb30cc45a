// One tilt seen prompt by prompt, with and without each response: what every estimate of a policy's gain rests on.
#pragma once
#include <cstdint>

namespace clinometer {

/// The rows of G prompts in canonical order, prompt g from offset[g] to offset[g + 1].
struct PromptRows {
  const std::int64_t* offset;
  std::int64_t n_prompts;
  const double* weight;  ///< base weight inside the prompt
  const double* copies;  ///< responses that a row stands for; null: one each
  const double* value;   ///< (n_values, rows), NaN where a row has no label
  const std::int32_t*
      ranked;  ///< (n_values, rows), positions inside the prompt by ascending value, labelled ones first
  std::int64_t n_values;
};

constexpr std::int64_t kPromptFields = 4, kValueFields = 9;

/// Tilt by exp(lam score). out[(field * G) + g]: of the prompt its KL, dKL/dlam, and the mean of both over the ways to
/// leave out one response; then of each value the gain and the win rate, each with its slope in lam and the means of
/// both without one response, and last the gain's delete-one variance inside the prompt. Without two responses the
/// fields "without one" are 0. Cost: n (1 exponential + about 30 n_values operations) a prompt.
void prompt_tilt(const PromptRows& rows, const double* score, double lam, std::int64_t n_threads, double* out);

}  // namespace clinometer
