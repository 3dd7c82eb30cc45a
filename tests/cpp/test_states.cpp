// States from elsewhere: every field of every statistic emptied, halved, doubled, lengthened and set to edges, then
// read, merged on both sides and finished. What does not fit is std::invalid_argument; nothing else may happen, and
// sanitizers see the rest.
#include <clinometer/fold.hpp>
#include <clinometer/statistics/cross_covariance.hpp>
#include <clinometer/statistics/jackknife.hpp>
#include <clinometer/statistics/moments.hpp>
#include <clinometer/statistics/pairs.hpp>
#include <clinometer/statistics/projection.hpp>
#include <clinometer/statistics/score_variance.hpp>
#include <clinometer/statistics/tilt.hpp>
#include <clinometer/statistics/tilted_mean.hpp>
#include <clinometer/statistics/weighted_rows.hpp>

#include "check.hpp"

namespace {

using namespace clinometer;

constexpr std::int64_t kRows = 2 * kLeafRows + 100, kWidth = 3, kPerPrompt = 7;

/// Rows, prompts (one lies on the border of the leaves), two directions, two values with gaps.
struct World {
  std::vector<float> phi;
  std::vector<double> directions, values, weights;
  std::vector<std::int64_t> offsets;
  std::shared_ptr<PairList> pairs = std::make_shared<PairList>();
  Rows rows;
  Prompts prompts;
  Scored scored;

  World() {
    for (std::int64_t i = 0; i < kRows * kWidth; ++i) phi.push_back(float(normal()));
    for (int i = 0; i < 2 * kWidth; ++i) directions.push_back(normal());
    for (std::int64_t i = 0; i < 2 * kRows; ++i) values.push_back(i % 22 == 1 ? kNaN : normal());
    for (std::int64_t i = 0; i < 2 * kRows; ++i) weights.push_back(normal());
    for (std::int64_t at = 0; at < kRows; at += kPerPrompt) offsets.push_back(at);
    offsets.push_back(kRows);
    for (std::int64_t i = 0; i + 60 < kRows; i += 50) {
      pairs->first.push_back(i);
      pairs->second.push_back(i + 60);
      pairs->label.insert(pairs->label.end(), {0.2, 0.9});
      pairs->weight.push_back(1);
    }
    pairs->n = std::int64_t(pairs->first.size());
    pairs->sort();
    rows = {Dtype::f32, kRows, kWidth, {{reinterpret_cast<const std::byte*>(phi.data()), 0, kRows, kWidth * 4}}};
    prompts.n_rows = kRows;
    prompts.n_prompts = std::int64_t(offsets.size()) - 1;
    prompts.offsets = offsets.data();
    scored.n_directions = 2;
    scored.directions = directions.data();
    scored.n_values = 2;
    scored.values = values.data();
  }
  /// The state of one leaf: its first and last prompt go on outside.
  std::string leaf(const std::shared_ptr<Statistic>& empty, std::int64_t at) {
    Scan scan({empty}, at);
    prompts.begin = at * kLeafRows;
    prompts.end = std::min(kRows, prompts.begin + kLeafRows);
    scan.absorb(rows, prompts, scored, {});
    return serialise(*scan.collapse()[0]);
  }
};

struct Field {
  char tag;
  std::string data;
};

std::vector<Field> fields(const std::string& state) {
  std::vector<Field> out;
  for (std::size_t at = 0; at < state.size();) {
    std::uint64_t count;
    std::memcpy(&count, state.data() + at + 1, 8);
    out.push_back({state[at], state.substr(at + 9, count * 8)});
    at += 9 + count * 8;
  }
  return out;
}

std::string joined(const std::vector<Field>& parts) {
  std::string out;
  for (const Field& f : parts) {
    const std::uint64_t count = f.data.size() / 8;
    out.push_back(f.tag);
    out.append(reinterpret_cast<const char*>(&count), 8);
    out += f.data;
  }
  return out;
}

template <class T>
std::string bytes(T x) {
  return {reinterpret_cast<const char*>(&x), 8};
}

std::vector<std::string> others(const Field& f) {
  const std::string& d = f.data;
  std::vector<std::string> out{"", d.substr(0, d.size() / 16 * 8), d + d, d + std::string(8, '\0')};
  std::vector<std::string> edges;
  if (f.tag == 'd')
    for (double x : {0.0, -1.0, kNaN, kInfinity, 1e308, 5e-324}) edges.push_back(bytes(x));
  else
    for (std::int64_t x : {0L, 1L, 2L, -1L, 3L, 1L << 20, 1L << 40, 1L << 62}) edges.push_back(bytes(x));
  for (const std::string& e : edges)
    if (!d.empty()) out.push_back(e + d.substr(8));
  return out;
}

int refused = 0, taken = 0;

/// Read, merged and finished as a user would; false where it is refused.
template <class S>
bool use(const std::string& changed, const std::string& good, bool before) {
  try {
    S a, b;
    deserialise(before ? a : b, changed);
    deserialise(before ? b : a, good);
    a.merge(b);
    for (const Result& r : a.finish()) {
      std::int64_t size = 1;
      for (std::int64_t n : r.shape) size *= n;
      CHECK(std::size_t(size) == r.data.size());
    }
    return true;
  } catch (const std::invalid_argument&) {
    return false;
  } catch (const std::exception& e) {
    where += std::string(" ") + e.what();
    CHECK(false);
    return false;
  }
}

template <class S>
void attack(World& world, const char* name, const std::shared_ptr<S>& empty) {
  const std::string first = world.leaf(empty, 0), second = world.leaf(empty, 1);
  where = name;
  CHECK(use<S>(first, second, true));
  for (const bool before : {true, false}) {
    const std::vector<Field> parts = fields(before ? first : second);
    for (std::size_t k = 0; k < parts.size(); ++k)
      for (const std::string& other : others(parts[k])) {
        std::vector<Field> changed = parts;
        changed[k].data = other;
        where = std::string(name) + " field " + std::to_string(k);
        const bool same_length = other.size() == parts[k].data.size();
        const bool used = use<S>(joined(changed), before ? second : first, before);
        // a length of its own has no field but the biases of pairs, which may be none
        CHECK(same_length || !used || (std::string(name) == "Pairs" && k == 3 && other.empty()));
        ++(used ? taken : refused);
      }
  }
}

}  // namespace

int main() {
  World world;
  const std::vector<double> betas{0.5, 2, 1, 4};
  attack(world, "Moments", std::make_shared<Moments>(kWidth, 0, 1, 0, true));
  attack(world, "variances", std::make_shared<Moments>(kWidth, 0, 1, 1, false));
  attack(world, "CovarianceProjection", std::make_shared<CovarianceProjection>(kWidth, 0, 2, 0));
  using Cross = PerPrompt<CrossCovariance>;
  attack(world, "CrossCovariance", std::make_shared<Cross>(CrossCovariance(0, 2, 0, 2, 1)));
  using Tilts = PerPrompt<Tilt>;
  attack(world, "Tilt", std::make_shared<Tilts>(Tilt(0, 2, 0, 2, betas, false, true)));
  attack(world, "Tilt of one value", std::make_shared<Tilts>(Tilt(1, 1, 1, 1, {0.5}, false, false)));
  attack(world, "Jackknife", std::make_shared<PerPrompt<Jackknife>>(Jackknife(2, betas, true)));
  attack(world, "ScoreVariance", std::make_shared<PerPrompt<ScoreVariance>>(ScoreVariance(2)));
  attack(world, "TiltedMean", std::make_shared<TiltedMean>(kWidth, 0, 2, betas));
  attack(world, "WeightedRows", std::make_shared<WeightedRows>(kWidth, world.weights.data(), 2));
  attack(world, "Pairs", std::make_shared<Pairs>(kWidth, 0, 2, world.pairs, std::vector<double>{0.1, -0.2}));
  std::printf("%d changed states refused, %d taken\n", refused, taken);
  where = "counts";
  CHECK(refused > 500 && taken > 100);
  return report();
}
