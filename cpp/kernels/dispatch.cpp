// Chooses one table when first asked: the widest level this CPU runs, or the one CLINOMETER_ISA names.
// A name that cannot be honoured is an error: silently running another level would hide what was tested.
#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "kernels/table.hpp"
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(CLINOMETER_HAVE_AMX) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace clinometer::kernels {

namespace isa_baseline {
extern const Table table;
}
#ifdef CLINOMETER_HAVE_AVX2
namespace isa_avx2 {
extern const Table table;
}
#endif
#ifdef CLINOMETER_HAVE_AVX512
namespace isa_avx512 {
extern const Table table;
}
#endif
#ifdef CLINOMETER_HAVE_AVX512BF16
namespace isa_avx512bf16 {
extern const RoundedTable rounded;
}
#endif
#ifdef CLINOMETER_HAVE_AMX
namespace isa_amx {
extern const MatrixTable matrix;
}
#endif
#ifdef CLINOMETER_HAVE_NEON
namespace isa_neon {
extern const Table table;
}
#endif

namespace {

constexpr int kMostLevels = 6;
std::atomic<const Table*> chosen{nullptr};

const Table* find(const std::string& name) {
  const Table* levels[kMostLevels];
  const int count = available(levels, kMostLevels);
  for (int i = 0; i < count; ++i)
    if (name == levels[i]->name) return levels[i];
  return nullptr;
}

std::string names() {
  const Table* levels[kMostLevels];
  const int count = available(levels, kMostLevels);
  std::string text;
  for (int i = 0; i < count; ++i) text += (i > 0 ? ", " : "") + std::string(levels[i]->name);
  return text;
}

const Table* first_choice() {
  const char* const wanted = std::getenv("CLINOMETER_ISA");
  if (wanted == nullptr || *wanted == '\0') {
    const Table* levels[kMostLevels];
    return levels[available(levels, kMostLevels) - 1];
  }
  const Table* const named = find(wanted);
  if (named == nullptr)
    throw std::invalid_argument("CLINOMETER_ISA is '" + std::string(wanted) + "' but available here are: " + names());
  return named;
}

#ifdef CLINOMETER_HAVE_AVX2
/// Not every clang knows "f16c" as a feature to ask for; the system's side of it is that of avx2.
bool f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

bool avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && f16c(); }
#endif

#ifdef CLINOMETER_HAVE_AVX512BF16
bool multiplies_bf16() {
  constexpr unsigned kBf16 = 1u << 5;
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & kBf16) != 0;
}

const Table& avx512bf16_table() {
  static const Table table = [] {
    Table with_products = isa_avx512::table;
    with_products.name = "avx512bf16";
    with_products.rounded = &isa_avx512bf16::rounded;
    return with_products;
  }();
  return table;
}
#endif

#ifdef CLINOMETER_HAVE_AMX
/// Whether CPU and system have the tiles, and let this process use them: Linux wants to be asked once, and refuses
/// where a signal stack is too small to save them on.
bool amx() {
#if defined(__linux__)
  constexpr unsigned kTile = 1u << 24, kBf16 = 1u << 22, kSaved = 3u << 17;
  constexpr long kAskPermission = 0x1023, kTileData = 18;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_OSXSAVE) == 0) return false;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & kTile) == 0 || (d & kBf16) == 0) return false;
  unsigned low = 0, high = 0;
  asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & kSaved) == kSaved && syscall(SYS_arch_prctl, kAskPermission, kTileData) == 0;
#else
  return false;
#endif
}

const Table& amx_table() {
  static const Table table = [] {
    Table with_unit = isa_avx512::table;
#ifdef CLINOMETER_HAVE_AVX512BF16
    if (multiplies_bf16()) with_unit.rounded = &isa_avx512bf16::rounded;
#endif
    with_unit.name = "amx";
    with_unit.matrix = &isa_amx::matrix;
    return with_unit;
  }();
  return table;
}
#endif

}  // namespace

int available(const Table** out, int capacity) {
  int count = 0;
  const auto add = [&](bool runs, const Table& table) {
    if (runs && count < capacity) out[count++] = &table;
  };
  add(true, isa_baseline::table);
#ifdef CLINOMETER_HAVE_AVX2
  add(avx2(), isa_avx2::table);
#endif
#ifdef CLINOMETER_HAVE_AVX512
  const bool avx512 = avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  add(avx512, isa_avx512::table);
#endif
#ifdef CLINOMETER_HAVE_AVX512BF16
  if (avx512 && multiplies_bf16()) add(true, avx512bf16_table());
#endif
#ifdef CLINOMETER_HAVE_AMX
  static const bool unit = avx512 && amx();
  if (unit) add(true, amx_table());
#endif
#ifdef CLINOMETER_HAVE_NEON
  add(true, isa_neon::table);  // part of every 64-bit Arm
#endif
  return count;
}

const Table& active() {
  const Table* table = chosen.load(std::memory_order_acquire);
  if (table == nullptr) {
    const Table* nothing = nullptr;
    table = first_choice();
    if (!chosen.compare_exchange_strong(nothing, table, std::memory_order_acq_rel)) table = nothing;
  }
  return *table;
}

bool select(const char* name) {
  const Table* const table = name == nullptr ? nullptr : find(name);
  if (table == nullptr) return false;
  chosen.store(table, std::memory_order_release);
  return true;
}

}  // namespace clinometer::kernels
