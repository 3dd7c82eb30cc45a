// E_x Cov_{y|x}(f, t) of every score t and value f with joint clustered errors (theory 2.3 and 8.1).
// State: clustered means of the per-prompt covariance, and mean within variances for the correlation.
#pragma once
#include <clinometer/clustered.hpp>
#include <clinometer/labelled.hpp>

namespace clinometer {

class CrossCovariance {
 public:
  CrossCovariance() = default;
  CrossCovariance(std::int64_t score_at, std::int64_t n_scores, std::int64_t value_at, std::int64_t n_values,
                  std::int64_t ddof)
      : score_at(score_at),
        n_scores(n_scores),
        value_at(value_at),
        n_values(n_values),
        ddof(ddof),
        covariance(n_scores, n_values),
        variance(n_scores, n_values),
        value_variance(1, n_values) {}
  CrossCovariance cleared() const { return {score_at, n_scores, value_at, n_values, ddof}; }

  void prompt(const Prompt& p) {
    std::vector<double> c(std::size_t(n_scores * n_values)), t(c), f(static_cast<std::size_t>(n_values), 0.0), o(f);
    for_each_labelled(p, score_at, n_scores, value_at, n_values, [&](const Labelled& l) { covary(p, l, c, t, f, o); });
    add(p, c, t, f, o);
  }

  /// Covariances of one labelled view into c, t, f (n_scores, n_values) and its weights o.
  void covary(const Prompt& p, const Labelled& l, std::vector<double>& c, std::vector<double>& t,
              std::vector<double>& f, std::vector<double>& o) const {
    const double factor = unbias(p, l);
    if (factor == 0) return;
    const std::int64_t m = std::int64_t(l.columns.size());
    for (std::int64_t a = 0; a < m; ++a) {
      const std::int64_t j = l.columns[a];
      o[j] = p.omega;
      for (std::int64_t i = 0; i < l.n; ++i) {
        const double value = l.value[i * m + a], wf = l.weight[i] * value;
        f[j] += factor * wf * value;
        for (std::int64_t k = 0; k < n_scores; ++k) {
          const double score = l.score[i * n_scores + k];
          c[k * n_values + j] += factor * wf * score;
          t[k * n_values + j] += factor * l.weight[i] * score * score;
        }
      }
    }
  }
  void add(const Prompt& p, const std::vector<double>& c, const std::vector<double>& t, const std::vector<double>& f,
           const std::vector<double>& o) {
    covariance.add(c.data(), o.data(), p.cluster_begins, p.cluster_ends);
    variance.add(t.data(), o.data(), p.cluster_begins, p.cluster_ends);
    value_variance.add(f.data(), o.data(), p.cluster_begins, p.cluster_ends);
  }

  void join(CrossCovariance& later) {
    covariance.join(later.covariance);
    variance.join(later.variance);
    value_variance.join(later.value_variance);
  }

  Results finish() const {
    const auto K = n_scores, J = n_values;
    Result value{"value", {K, J}, {}}, se{"se", {K, J}, {}}, r{"correlation", {K, J}, {}}, joint{"cov", {K, J, J}, {}},
        prompts{"n_clusters", {J}, covariance.count}, t{"score_variance", {K, J}, {}}, f{"value_variance", {J}, {}};
    for (std::int64_t k = 0; k < K; ++k)
      for (std::int64_t j = 0; j < J; ++j) {
        const double c = covariance.mean(k, j), scale = std::sqrt(variance.mean(k, j) * value_variance.mean(0, j));
        value.data.push_back(c);
        se.data.push_back(std::sqrt(covariance.covariance(k, j, j)));
        r.data.push_back(scale > 0 ? c / scale : std::numeric_limits<double>::quiet_NaN());
        t.data.push_back(variance.mean(k, j));
        for (std::int64_t i = 0; i < J; ++i) joint.data.push_back(covariance.covariance(k, j, i));
      }
    for (std::int64_t j = 0; j < J; ++j) f.data.push_back(value_variance.mean(0, j));
    return {value, se, r, joint, prompts, t, f};
  }

  Reads reads() const { return {score_at + n_scores, value_at + n_values}; }
  void settings(Visitor& visit) {
    visit.size("score_at", score_at);
    visit.size("n_scores", n_scores);
    visit.size("value_at", value_at);
    visit.size("n_values", n_values);
    visit.size("ddof", ddof);
  }
  void fields(Visitor& visit) {
    covariance.fields(visit, n_scores, n_values);
    variance.fields(visit, n_scores, n_values);
    value_variance.fields(visit, 1, n_values);
  }

  std::int64_t score_at = 0, n_scores = 0, value_at = 0, n_values = 0, ddof = 0;
  Clustered covariance, variance, value_variance;

 private:
  /// ddof 1 factor on the labelled rows: the prompt's own where all are labelled. Otherwise from the draws behind
  /// the labels, n times their mass, if the prompt's factor is n/(n-1) of counted draws; else 1/(1 - sum w^2).
  double unbias(const Prompt& p, const Labelled& l) const {
    if (ddof == 0) return 1;
    if (l.whole) return p.unbias;
    if (p.unbias == 0) return 0;
    double all = 0, square = 0;
    for (std::int64_t i = 0; i < p.n; ++i) all += p.weight[i] * p.weight[i];
    for (double w : l.weight) square += w * w;
    const double per_draw = 1 - 1 / p.unbias;  // 1/n of counts, sum w^2 of single draws
    if (std::abs(per_draw - all) > 1e-12) square = per_draw / l.mass;
    return square < 1 ? 1 / (1 - square) : 0;
  }
};

}  // namespace clinometer
