// One tilt, prompt by prompt, with and without each response: the basis of every estimate of a policy's gain.
#pragma once
#include <cstdint>
#include <functional>

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

constexpr std::int64_t kPromptFields = 6, kValueFields = 13;

/// Tilt by exp(lam score). out[(field * G) + g]: of the prompt its KL and dKL/dlam, then the means of both over the
/// ways to leave out one response, and to leave out two; of each value six such fields of the gain, six of the win
/// rate, and last the gain's delete-one variance inside the prompt. Fields are 0 where no response is left to compare,
/// and without two where a prompt has more than 16. Cost: n exponentials and about 40 n_values n operations a prompt,
/// n^2/2 times 50 n_values for pairs.
/// The calling thread looks at `poll`, which may throw, between prompts.
/// Bit m of `orders` asks for the fields without m responses; those that are not asked for are 0.
void prompt_tilt(const PromptRows& rows, const double* score, double lam, int orders, std::int64_t n_threads,
                 double* out, const std::function<void()>& poll = {});

}  // namespace clinometer
