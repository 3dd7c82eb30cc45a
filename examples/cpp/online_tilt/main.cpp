// A serving loop that samples n responses a request: each request's responses are scored as they come, one is chosen by
// the tilted policy, and what the tilt would do on average is known at any time.
#include <clinometer/clinometer.h>
#include <clinometer/statistics/tilt.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <random>

int main() {
  constexpr std::int64_t n = 8, d = 32, requests = 2000;
  const double beta = 1.5;
  std::mt19937_64 random(7);
  std::normal_distribution<double> normal;
  std::vector<double> direction(d, 0.0);
  direction[0] = 1;
  clinometer::Tilt tilt(0, 1, 0, 1, {beta}, false, false);
  const std::vector<double> weight(n, 1.0 / n);
  std::vector<std::uint64_t> chosen(n, 0);
  double realised = 0;
  for (std::int64_t request = 0; request < requests; ++request) {
    // stands for the hidden states of n responses, and for a value measured on them: correlated with the score
    std::vector<float> states(n * d);
    for (float& x : states) x = float(normal(random));
    std::vector<double> score(n), value(n), odds(n);
    const clinometer_rows rows{states.data(), n, d, 0, CLINOMETER_F32, 0, 1};
    if (clinometer_score(&rows, direction.data(), 1, score.data()) != CLINOMETER_OK) return 1;
    for (std::int64_t i = 0; i < n; ++i) value[i] = 0.5 * score[i] + normal(random);

    const double top = *std::max_element(score.begin(), score.end());
    for (std::int64_t i = 0; i < n; ++i) odds[i] = std::exp((score[i] - top) / beta);
    const std::int64_t pick = std::discrete_distribution<std::int64_t>(odds.begin(), odds.end())(random);
    ++chosen[std::size_t(pick)];
    realised += value[pick] - std::accumulate(value.begin(), value.end(), 0.0) / n;

    const double origin = 0;
    clinometer::Prompt prompt;
    prompt.n = n;
    prompt.score = score.data();
    prompt.value = value.data();
    prompt.n_scores = prompt.n_values = 1;
    prompt.weight = weight.data();
    prompt.origin = &origin;
    prompt.first = request * n;
    prompt.unbias = double(n) / double(n - 1);
    tilt.prompt(prompt);
  }
  for (const clinometer::Result& r : tilt.finish())
    if (r.name == "gain" || r.name == "gain_se" || r.name == "kl") std::printf("%s %.6f\n", r.name.c_str(), r.data[0]);
  std::printf("realised %.6f\n", realised / double(requests));
  return 0;
}
