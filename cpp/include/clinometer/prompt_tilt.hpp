// Tilts of kept scores, prompt by prompt, with and without each response: the basis of every estimate of a policy's
// gain.
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

/// Tilts by exp(lam score), each of one column of the scores and seen at one node.
struct PromptTilts {
  const double* score;  ///< (rows, n_columns)
  std::int64_t n_columns;
  const std::int64_t* column;  ///< (n_tilts,)
  const double* lam;           ///< (n_tilts,)
  const std::int64_t* node;    ///< (n_tilts,)
  const double* blend;  ///< (nodes, 1 + n_values, 3, G): weights of a prompt's numbers with all its responses, of
                        ///< their means without one and without two; of KL first, then of each value
  std::int64_t n_tilts;
};

constexpr std::int64_t kPromptFields = 2, kValueFields = 6;

/// out[((tilt * fields) + field) * G + g]: of the prompt its KL and dKL/dlam, then of each value its gain and win rate,
/// each followed by its slope in lam, all at the tilt's node; at node 0 the gain's delete-one variance inside the
/// prompt; and the standard deviation of its gain over all orders of the values. 0 where no response is left to
/// compare, and without two where a prompt has more than 16. One walk over the rows serves all tilts. Cost of a tilt: n
/// exponentials, n^2/2 times 40 operations where pairs are left out, and for each value n^2 additions more. The calling
/// thread looks at `poll`, which may throw, between prompts.
void prompt_tilt(const PromptRows& rows, const PromptTilts& tilts, std::int64_t n_threads, double* out,
                 const std::function<void()>& poll = {});

/// The means of KL and its slope over prompts of weight omega (G,), (n_tilts, 2); no value is looked at.
void prompt_curve(const PromptRows& rows, const PromptTilts& tilts, const double* omega, std::int64_t n_threads,
                  double* out, const std::function<void()>& poll = {});

}  // namespace clinometer
