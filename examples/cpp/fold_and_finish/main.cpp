// Rows folded here, finished in Python: fold_and_finish STATE, then clinometer.merge(STATE).
#include <clinometer/fold.hpp>
#include <clinometer/fold_file.hpp>
#include <clinometer/statistics/tilt.hpp>

#include <cstdio>
#include <fstream>

using namespace clinometer;

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: fold_and_finish STATE\n");
    return 1;
  }
  // 500 prompts of 40 rows of 6 numbers, and a value a row; Python makes the same ones in its test
  constexpr std::int64_t G = 500, n = 40, d = 6, N = G * n;
  std::vector<float> phi(N * d);
  std::vector<double> value(N);
  for (std::int64_t i = 0; i < N * d; ++i) phi[i] = float((i * 7919 + i / d * 104729) % 1009) / 256.0f;
  for (std::int64_t i = 0; i < N; ++i) value[i] = double((i * 31) % 17) / 8;
  std::vector<std::int64_t> offsets(G + 1), ids(G);
  for (std::int64_t g = 0; g <= G; ++g) offsets[g] = g * n;
  for (std::int64_t g = 0; g < G; ++g) ids[g] = g;
  const std::vector<double> directions{1, 0, 0, 0, 0, 0, 0, 1, -1, 0, 0, 0}, betas{0.5, 2.0, 1.0, 4.0};

  const Rows rows{Dtype::f32, N, d, {{reinterpret_cast<const std::byte*>(phi.data()), 0, N, d * 4}}};
  Prompts prompts{N, G, 0, N};
  prompts.offsets = offsets.data();
  Scored scored;
  scored.n_directions = 2;
  scored.directions = directions.data();
  scored.n_values = 1;
  scored.values = value.data();
  Scan scan({std::make_shared<PerPrompt<Tilt>>(Tilt(0, 2, 0, 1, betas, false, true))});
  scan.absorb(rows, prompts, scored, {2, false, {}});
  const auto states = scan.collapse();

  FoldFile out(d, false);
  out.directions({"first", "difference"}, directions);
  out.values({"value"});
  out.counts(N, ids);
  out.tilt(*states[0], betas);
  const std::string bytes = out.file();
  std::ofstream(argv[1], std::ios::binary).write(bytes.data(), std::streamsize(bytes.size()));
  std::printf("%lld rows\n", static_cast<long long>(N));
  return 0;
}
