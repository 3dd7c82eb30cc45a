// Probes on several threads. Time runs from the moment every thread is ready to the last one's end, so starting
// threads costs a limit nothing; a checksum leaves the loops, or the compiler would drop them.
#include "bindings/probe.hpp"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "bindings/bind.hpp"
#include "kernels/probe.hpp"
#include "kernels/table.hpp"

namespace clinometer::bindings {
namespace {

namespace py = pybind11;
using Clock = std::chrono::steady_clock;
constexpr int kMostThreads = 4096;

/// Keeps what a loop computed alive.
std::atomic<std::uint64_t> sink{0};

const kernels::Probes& widest() {
  const kernels::Table* tables[8];
  return *kernels::probes(tables[kernels::available(tables, 8) - 1]->name);
}

/// Seconds until `work(thread)` has ended on every one of `n` threads.
double seconds(int n, const std::function<void(int)>& work) {
  if (n < 1 || n > kMostThreads)
    throw py::value_error("threads is " + std::to_string(n) + ", wanted 1 to " + std::to_string(kMostThreads));
  py::gil_scoped_release free;
  std::vector<Clock::time_point> begin(n), end(n);
  std::barrier ready(n);
  const auto run = [&](int t) {
    ready.arrive_and_wait();
    begin[t] = Clock::now();
    work(t);
    end[t] = Clock::now();
  };
  std::vector<std::thread> others;
  for (int t = 1; t < n; ++t) others.emplace_back(run, t);
  run(0);
  for (std::thread& t : others) t.join();
  const auto first = *std::min_element(begin.begin(), begin.end());
  return std::chrono::duration<double>(*std::max_element(end.begin(), end.end()) - first).count();
}

/// Threads take blocks of rows in turn, as free ones come for more.
double read(const py::array& rows, int streams, int n_threads) {
  if (rows.ndim() != 2 || rows.shape(0) < 1 || rows.shape(1) < 1 ||
      (rows.shape(1) > 1 && rows.strides(1) != rows.itemsize()))
    throw py::value_error("rows: wanted a non-empty 2-D array with adjacent elements in a row");
  if (streams != 1 && streams != 4 && streams != 8)
    throw py::value_error("streams is " + std::to_string(streams) + ", wanted 1, 4 or 8");
  const char* const data = static_cast<const char*>(rows.data());
  const std::int64_t n = rows.shape(0), stride = rows.strides(0), bytes = rows.shape(1) * rows.itemsize();
  const std::int64_t block = std::max<std::int64_t>((1 << 20) / bytes / 8, 1) * 8;
  const kernels::Probes& probe = widest();
  std::atomic<std::int64_t> next{0};
  return seconds(n_threads, [&](int) {
    std::uint64_t total = 0;
    for (std::int64_t i = next.fetch_add(block); i < n; i = next.fetch_add(block)) {
      const std::int64_t stop = std::min(i + block, n);
      std::int64_t at = i;
      for (; at + streams <= stop; at += streams) total += probe.read(data + at * stride, bytes, stride, streams);
      for (; at < stop; ++at) total += probe.read(data + at * stride, bytes, stride, 1);
    }
    sink += total;
  });
}

/// Multiply-adds per second.
double fma(double gigaflops, int n_threads) {
  if (!(gigaflops > 0)) throw py::value_error("gigaflops is not positive");
  const kernels::Probes& probe = widest();
  const auto rounds = std::max<std::int64_t>(1, std::int64_t(gigaflops * 1e9 / double(probe.fma_flops)));
  const double took = seconds(n_threads, [&](int) { sink += std::uint64_t(probe.fma(rounds, 0.5f, 0.25f)); });
  return double(rounds) * double(probe.fma_flops) * n_threads / took;
}

/// Exponentials per second over a buffer of 8 KiB.
double exponential(double millions, int n_threads) {
  if (!(millions > 0)) throw py::value_error("millions is not positive");
  constexpr std::int64_t kBuffer = 2048;
  const kernels::Probes* const probe = kernels::probes(kernels::active().name);
  const auto rounds = std::max<std::int64_t>(1, std::int64_t(millions * 1e6) / kBuffer);
  const double took = seconds(n_threads, [&](int) {
    alignas(64) float x[kBuffer], out[kBuffer];
    for (std::int64_t i = 0; i < kBuffer; ++i) x[i] = -8.0f * float(i) / kBuffer;
    for (std::int64_t r = 0; r < rounds; ++r) {
      probe->exponential(x, out, kBuffer);
      sink.fetch_add(std::uint64_t(out[r % kBuffer] * 1e6f), std::memory_order_relaxed);
    }
  });
  return double(rounds) * double(kBuffer) * n_threads / took;
}

py::array_t<float> exponentials(const py::array_t<float, py::array::c_style | py::array::forcecast>& x) {
  constexpr std::int64_t kStep = 128;
  const std::int64_t n = x.size(), room = (n + kStep - 1) / kStep * kStep;
  std::vector<float> in(room, 0.0f), out(room);
  std::copy_n(x.data(), n, in.begin());
  kernels::probes(kernels::active().name)->exponential(in.data(), out.data(), room);
  return copied(out.data(), std::size_t(n));
}

}  // namespace

void bind_probes(py::module_& m) {
  using namespace py::literals;
  m.def("probe_read", &read, "rows"_a, "streams"_a, "threads"_a,
        "Seconds to read every byte of the rows, `streams` rows at a time.");
  m.def("probe_fma", &fma, "gigaflops"_a, "threads"_a,
        "f32 flops per second of multiply-adds in registers at the widest level; that many gigaflops a thread.");
  m.def("probe_exp", &exponential, "millions"_a, "threads"_a,
        "f32 exponentials per second in the first-level cache at the level in use; that many millions a thread.");
  m.def("probe_exp_values", &exponentials, "x"_a, "What `probe_exp` computes; for tests, |x| < 87.");
}

}  // namespace clinometer::bindings
