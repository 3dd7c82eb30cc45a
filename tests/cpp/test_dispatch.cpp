// Which levels there are, and who is chosen.
#include <cstdlib>
#include <stdexcept>

#include "check.hpp"
#include "kernels/probe.hpp"

namespace {

bool refused() {
  try {
    k::active();
  } catch (const std::invalid_argument& error) {
    return std::string(error.what()).find("baseline") != std::string::npos;
  }
  return false;
}

}  // namespace

int main() {
  where = "dispatch";
  setenv("CLINOMETER_ISA", "sse1", 1);
  CHECK(refused());
  setenv("CLINOMETER_ISA", "baseline", 1);
  CHECK(std::string(k::active().name) == "baseline");
  const std::vector<const k::Table*> all = levels();
  CHECK(!all.empty() && std::string(all[0]->name) == "baseline");
  const k::Table* one[1];
  CHECK(k::available(one, 1) == 1);
  for (const k::Table* level : all) {
    std::printf("%s\n", level->name);
    CHECK(k::select(level->name) && &k::active() == level && k::probes(level->name) != nullptr);
  }
  CHECK(!k::select("avx1024") && !k::select(nullptr) && &k::active() == all.back());
  return report();
}
