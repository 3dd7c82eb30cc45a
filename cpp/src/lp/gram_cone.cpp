#include <clinometer/lp/gram_cone.hpp>

#include <limits>

#include "kernels/table.hpp"
#include "src/lp/parallel.hpp"
#include "src/lp/scaled.hpp"

namespace clinometer::lp {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kFloor = 0x1p-50;  // a row this close (squared) to the span of others adds nothing a Gram can show
constexpr double kBeyond = 1 + 1e-6;

struct Bench {
  Aligned gram, work, y, products;
  std::vector<std::int64_t> at, done;
  std::vector<double> root;
};

class GramCones {
 public:
  GramCones(const double* grams, std::int64_t k, const GramConeResults& out)
      : grams_(grams), k_(k), out_(out), table_(*kernels::active().lp) {}
  std::int64_t lanes() const { return table_.lanes; }

  void solve(std::int64_t begin, std::int64_t end, Bench& b) const {
    const std::int64_t w = lanes();
    b.gram.reserve(k_ * k_ * w), b.work.reserve(2 * k_ * (k_ + 4) * w), b.y.reserve(k_ * w), b.products.reserve(k_ * w);
    b.at.clear(), b.done.resize(std::size_t(w)), b.root.resize(std::size_t(k_));
    for (std::int64_t at = begin; at < end; ++at)
      if (pack(at, std::int64_t(b.at.size()), b)) b.at.push_back(at);
    if (b.at.empty()) return;
    for (std::int64_t l = std::int64_t(b.at.size()); l < w; ++l)
      for (std::int64_t e = 0; e < k_ * k_; ++e) b.gram.data()[e * w + l] = b.gram.data()[e * w];
    table_.min_norm(b.gram.data(), k_, kFloor, b.work.data(), b.y.data(), b.done.data());
    for (std::int64_t l = 0; l < w; ++l) {
      double mass = 0;
      for (std::int64_t i = 0; i < k_; ++i) mass += b.y.data()[i * w + l];
      for (std::int64_t i = 0; i < k_; ++i) b.y.data()[i * w + l] /= mass;
    }
    table_.evaluate(b.gram.data(), k_, k_, b.y.data(), b.y.data(), b.products.data(), nullptr);
    for (std::int64_t l = 0; l < std::int64_t(b.at.size()); ++l) finish(b, l);
  }

 private:
  /// Cosines into lane l; false if the answer is already written.
  bool pack(std::int64_t at, std::int64_t l, Bench& b) const {
    const double* const g = grams_ + at * k_ * k_;
    std::int64_t zero = -1;
    bool bad = false;
    for (std::int64_t i = 0; i < k_; ++i) {
      const double square = g[i * k_ + i];
      bad = bad || !(square >= 0) || !(square < std::numeric_limits<double>::infinity());
      if (square == 0 && zero < 0) zero = i;
      b.root[i] = std::sqrt(square);
    }
    const std::int64_t w = lanes();
    double* const to = b.gram.data() + l;
    for (std::int64_t i = 0; i < k_ && !bad; ++i)
      for (std::int64_t j = 0; j <= i; ++j) {
        const double size = b.root[i] * b.root[j];
        double cosine = g[i * k_ + j];
        if (i == j) {
          cosine = 1;
        } else if (size > 0x1p-500 && size < 0x1p500) {
          cosine /= size;
        } else if (size > 0) {
          cosine = cosine / b.root[i] / b.root[j];
        }
        bad = bad || !(std::fabs(cosine) <= kBeyond || (size == 0 && cosine == 0));
        cosine = cosine > 1 ? 1 : cosine < -1 ? -1 : cosine;
        to[(i * k_ + j) * w] = to[(j * k_ + i) * w] = cosine;
      }
    if (!bad && zero < 0) return true;
    double* const weights = out_.weights + at * k_;
    std::fill_n(weights, k_, bad ? kNaN : 0.0);
    if (!bad) weights[zero] = 1;
    out_.status[at] = bad ? Status::invalid : Status::blocked;
    out_.lower[at] = out_.upper[at] = bad ? kNaN : 0.0;
    return false;
  }

  void finish(Bench& b, std::int64_t l) const {
    const std::int64_t w = lanes(), at = b.at[l];
    double square = 0, least = std::numeric_limits<double>::infinity();
    for (std::int64_t i = 0; i < k_; ++i) {
      const double product = b.products.data()[i * w + l], weight = b.y.data()[i * w + l];
      out_.weights[at * k_ + i] = weight;
      square += weight * product;
      least = std::min(least, product);
    }
    const double upper = std::sqrt(std::max(square, 0.0));
    out_.upper[at] = std::min(upper, 1.0);
    out_.lower[at] = least > 0 ? std::min(least / upper, out_.upper[at]) : 0;
    out_.status[at] = least > kGramResolution ? Status::improvable : Status::undecided;
  }

  const double* grams_;
  std::int64_t k_;
  GramConeResults out_;
  const kernels::LpTable& table_;
};

}  // namespace

void solve_gram_cones(const double* grams, std::int64_t problems, std::int64_t k, const Work& work,
                      const GramConeResults& out) {
  const GramCones cones(grams, k, out);
  const std::int64_t step = cones.lanes(), groups = (problems + step - 1) / step, batch = 16;
  std::vector<Bench> benches(std::size_t(std::max(work.threads, 1)));
  parallel((groups + batch - 1) / batch, work, [&](std::int64_t at, int worker) {
    for (std::int64_t g = at * batch; g < std::min(groups, (at + 1) * batch); ++g)
      cones.solve(g * step, std::min(problems, (g + 1) * step), benches[worker]);
  });
}

}  // namespace clinometer::lp
