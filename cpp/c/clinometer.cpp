// The C ABI: arguments checked, one pass, errors as codes. Nothing of C++ is exported beside it.
#include <clinometer/clinometer.h>
#include <clinometer/fold.hpp>
#include <clinometer/statistics/moments.hpp>
#include <clinometer/statistics/scores.hpp>
#include <clinometer/statistics/tilt.hpp>

#include <algorithm>
#include <new>

#include "kernels/table.hpp"

namespace {

using namespace clinometer;

thread_local std::string last_error;

[[noreturn]] void bad(const std::string& what) { throw std::invalid_argument(what); }

void need(const void* pointer, const char* name) {
  if (!pointer) bad(std::string(name) + " is NULL");
}

std::string number(std::int64_t n) { return std::to_string(n); }

Rows view(const clinometer_rows* r) {
  need(r, "rows");
  if (r->dtype < 0 || r->dtype >= kDtypes)
    bad("rows.dtype is " + number(r->dtype) + ", wanted CLINOMETER_F32, F16, BF16 or F64");
  if (r->n_rows < 1 || r->dim < 1)
    bad("rows has shape (" + number(r->n_rows) + ", " + number(r->dim) + "), wanted at least one row and one column");
  need(r->data, "rows.data");
  const std::int64_t adjacent = r->dim * kItemBytes[r->dtype], stride = r->row_stride ? r->row_stride : adjacent;
  if (r->n_rows > 1 && std::abs(stride) < adjacent)
    bad("rows.row_stride is " + number(stride) + " bytes, a row has " + number(adjacent));
  return {static_cast<Dtype>(r->dtype),
          r->n_rows,
          r->dim,
          {{static_cast<const std::byte*>(r->data), 0, r->n_rows, stride}}};
}

Prompts prompts_of(const clinometer_prompts* p, std::int64_t n) {
  need(p, "prompts");
  need(p->offsets, "prompts.offsets");
  if (p->n_prompts < 1) bad("prompts.n_prompts is " + number(p->n_prompts) + ", wanted at least 1");
  const std::int64_t last = p->offsets[p->n_prompts];
  if (p->offsets[0] != 0 || last != n)
    bad("prompts.offsets run from " + number(p->offsets[0]) + " to " + number(last) + ", wanted 0 to " + number(n));
  for (std::int64_t g = 0; g < p->n_prompts; ++g) {
    if (p->offsets[g + 1] <= p->offsets[g]) bad("prompts.offsets: prompt " + number(g) + " has no rows");
    if (p->prompt_weight && !(p->prompt_weight[g] > 0 && std::isfinite(p->prompt_weight[g])))
      bad("prompts.prompt_weight: that of prompt " + number(g) + " is not positive and finite");
  }
  Prompts out{n, p->n_prompts, 0, n};
  out.offsets = p->offsets;
  out.omega = p->prompt_weight;
  return out;
}

Scored along(const double* directions, std::int64_t n, std::int64_t dim) {
  if (n < 1) bad("n_directions is " + number(n) + ", wanted at least 1");
  need(directions, "directions");
  if (!std::all_of(directions, directions + n * dim, [](double x) { return std::isfinite(x); }))
    bad("directions hold NaN or Inf");
  Scored out;
  out.n_directions = n;
  out.directions = directions;
  return out;
}

Results run(const clinometer_rows* r, const Rows& rows, const Prompts& prompts, const Scored& scored,
            std::shared_ptr<Statistic> statistic) {
  Scan scan({std::move(statistic)});
  scan.absorb(rows, prompts, scored, {std::max<std::int64_t>(r->n_threads, 1), r->in_double != 0, {}});
  return scan.collapse().front()->finish();
}

void give(const Results& found, const char* name, double* to) {
  for (const Result& r : found)
    if (to && r.name == name) std::copy(r.data.begin(), r.data.end(), to);
}

template <class F>
std::int32_t guarded(F&& f) {
  try {
    f();
    last_error.clear();
    return CLINOMETER_OK;
  } catch (const std::invalid_argument& e) {
    last_error = e.what();
    return CLINOMETER_BAD_ARGUMENT;
  } catch (const NonFiniteRow& e) {
    last_error = "rows: row " + number(e.row) + " holds NaN or Inf";
    return CLINOMETER_NON_FINITE;
  } catch (const std::bad_alloc&) {
    last_error = "out of memory";
    return CLINOMETER_NO_MEMORY;
  } catch (const std::exception& e) {
    last_error = e.what();
    return CLINOMETER_FAILED;
  }
}

}  // namespace

std::int32_t clinometer_abi(void) { return CLINOMETER_ABI; }
const char* clinometer_version(void) { return CLINOMETER_VERSION; }
const char* clinometer_isa(void) { return kernels::active().name; }
const char* clinometer_error(void) { return last_error.c_str(); }

std::int32_t clinometer_score(const clinometer_rows* r, const double* directions, std::int64_t n_directions,
                              double* scores) {
  return guarded([&] {
    const Rows rows = view(r);
    const Scored scored = along(directions, n_directions, rows.d);
    need(scores, "scores");
    const std::int64_t ends[] = {0, rows.n};
    Prompts one{rows.n, 1, 0, rows.n};
    one.offsets = ends;
    run(r, rows, one, scored, std::make_shared<Scores>(0, n_directions, scores, false, true, false));
  });
}

std::int32_t clinometer_moments(const clinometer_rows* r, const clinometer_prompts* p, std::int32_t ddof, double* mean,
                                double* covariance) {
  return guarded([&] {
    const Rows rows = view(r);
    const Prompts prompts = prompts_of(p, rows.n);
    if (ddof != 0 && ddof != 1) bad("ddof is " + number(ddof) + ", wanted 0 or 1");
    const Results found =
        run(r, rows, prompts, {}, std::make_shared<Moments>(rows.d, 0, 1, ddof, covariance != nullptr));
    double mass = 0;
    give(found, "mass", &mass);
    give(found, "mean", mean);
    if (covariance) give(found, "scatter", covariance);
    for (std::int64_t i = 0; covariance && i < rows.d * rows.d; ++i) covariance[i] /= mass;
  });
}

std::int32_t clinometer_tilt(const clinometer_rows* r, const clinometer_prompts* p, const double* directions,
                             std::int64_t n_directions, const double* betas, std::int64_t n_betas, const double* values,
                             std::int64_t n_values, const clinometer_tilts* out) {
  return guarded([&] {
    const Rows rows = view(r);
    const Prompts prompts = prompts_of(p, rows.n);
    Scored scored = along(directions, n_directions, rows.d);
    if (n_betas < 1) bad("n_betas is " + number(n_betas) + ", wanted at least 1");
    need(betas, "betas");
    for (std::int64_t i = 0; i < n_directions * n_betas; ++i)
      if (!(betas[i] >= 0)) bad("betas: entry " + number(i) + " is negative or NaN");
    if (n_values < 0) bad("n_values is " + number(n_values) + ", wanted 0 or more");
    if (n_values > 0) need(values, "values");
    for (std::int64_t i = 0; i < rows.n * n_values; ++i)
      if (std::isinf(values[i])) bad("values: entry " + number(i) + " is infinite; NaN means unlabelled");
    need(out, "out");
    scored.n_values = n_values;
    scored.values = values;
    std::vector<double> strengths(betas, betas + n_directions * n_betas);
    Tilt tilt(0, n_directions, 0, n_values, std::move(strengths), false, r->in_double == 0);
    const Results found = run(r, rows, prompts, scored, std::make_shared<PerPrompt<Tilt>>(std::move(tilt)));
    const std::pair<const char*, double*> wanted[] = {
        {"baseline", out->baseline}, {"gain", out->gain}, {"gain_se", out->gain_se},
        {"win_rate", out->win_rate}, {"kl", out->kl},     {"reverse_kl", out->reverse_kl},
        {"chi2", out->chi2},         {"ess", out->ess}};
    for (const auto& [name, to] : wanted) give(found, name, to);
  });
}
