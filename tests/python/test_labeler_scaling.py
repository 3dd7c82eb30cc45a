"""Judges of several sizes on one axis: known lines, the regression against SciPy's, and names that say a size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

import clinometer as cm
from clinometer import theory
from clinometer.theory.labelers import parameters, slope

LINE = {"m-1B": 0.6, "m-10M": 0.2, "m-100M": 0.4, "m-10B": 0.8}


def _models(alignments: dict[str, float], **more: Any) -> dict[str, cm.Dump]:
    sizes = {"n_prompts": 80, "n_responses": 8, "dim": 4, "n_constitutions": 1, "world": 1, **more}
    return {name: cm.simulate(**sizes, alignment=a, random_state=r) for r, (name, a) in enumerate(alignments.items())}


def test_a_line_in_log_size() -> None:
    models = _models(LINE)
    found = theory.labeler_scaling(models, "judge/c0", "s")
    assert found.models == ("m-10M", "m-100M", "m-1B", "m-10B") and found.sizes.tolist() == [1e7, 1e8, 1e9, 1e10]
    truth = 0.2 * np.sqrt(0.5)  # in r, for ten times the parameters
    assert found.quality_slope_ci[0, 0] < truth < found.quality_slope_ci[0, 1]
    assert found.quality_tau.tolist() == [1.0] and found.quality_p[0] == pytest.approx(2 / 24)
    assert found.gain_slope_ci[0, 0] > 0
    for name, r, (low, high) in zip(found.models, found.quality[:, 0], found.quality_ci[:, 0], strict=True):
        direct = cm.cross_covariance(models[name], "judge/c0", "s", ddof=0).correlation.item()
        assert r == pytest.approx(direct, abs=1e-6) and low < LINE[name] * np.sqrt(0.5) < high
    assert "ten times the parameters" in str(found)
    again = theory.labeler_scaling(models, "judge/c0", "s", sizes={"m-10M": 1, "m-100M": 10, "m-1B": 100, "m-10B": 1e3})
    np.testing.assert_allclose(again.quality_slope, found.quality_slope)


def test_errors_are_those_of_one_model_alone() -> None:
    models = _models({"1M": 0.3, "9M": 0.6, "80M": 0.7})
    found = theory.labeler_scaling(models, "judge/c0", "s", kl=0.05)
    for i, dump in enumerate(models.values()):
        want = cm.inference.gain_intervals(dump, "judge/c0", values="s", kl=[0.05])
        assert found.gain[i] == want.estimate[0, 0] and found.gain_se[i] == want.estimate_se[0, 0]
        half = stats.t.ppf(0.975, want.units[0, 0] - 1) * found.gain_se[i]
        np.testing.assert_allclose(found.gain_ci[i, 0], found.gain[i] + half * [-1, 1])
        left = []
        for x in range(80):  # delete a prompt: the correlation's jackknife, about its own mean
            some = dump.select(prompts=np.delete(np.arange(80), x))
            left.append(cm.cross_covariance(some, "judge/c0", "s", ddof=0).correlation.item())
        jackknife = np.sqrt(79 / 80 * ((np.array(left) - np.mean(left)) ** 2).sum())
        assert found.quality_se[i, 0] == pytest.approx(jackknife, rel=0.02)
        z = np.arctanh([found.quality[i, 0], *found.quality_ci[i, 0]])
        assert z[2] - z[0] == pytest.approx(z[0] - z[1]) and 1.9 < (z[2] - z[0]) / (
            found.quality_se[i, 0] / (1 - found.quality[i, 0] ** 2)
        ) < 2.1  # fmt: skip
    line = slope(np.log10(found.sizes), found.gain[:, 0], found.gain_se[:, 0], 0.95)
    assert found.gain_slope[0] == line[0] and np.array_equal(found.gain_slope_ci[0], line[1])
    assert found.gain_tau[0] == stats.kendalltau(found.sizes, found.gain[:, 0]).statistic
    assert found.gain_p[0] == stats.kendalltau(found.sizes, found.gain[:, 0]).pvalue


def test_flat_models_have_no_trend() -> None:
    found = theory.labeler_scaling(_models(dict.fromkeys(LINE, 0.5), n_prompts=150), "judge/c0", "s")
    assert found.quality_slope_ci[0, 0] < 0 < found.quality_slope_ci[0, 1]


def test_two_models_have_a_slope_and_no_interval() -> None:
    found = theory.labeler_scaling(_models({"1M": 0.1, "1B": 0.7}), "judge/c0", "s")
    assert found.quality_slope[0] > 0.1 and np.isnan(found.quality_slope_ci).all()


def test_fits_of_other_widths_are_applied_out_of_fold() -> None:
    models = {name: cm.simulate(60, 8, d, rho2=0.8, random_state=d) for name, d in (("1M", 3), ("2M", 40))}
    fits = {name: cm.fit_value_direction(d, "s") for name, d in models.items()}
    found = theory.labeler_scaling(models, fits, "s")
    for i, name in enumerate(found.models):
        assert found.quality[i, 0] == pytest.approx(fits[name].encoding_quality.r[0], abs=1e-6)


@pytest.mark.parametrize("scatter", [0.0, 0.3])
def test_the_regression_with_equal_errors_is_least_squares(scatter: float) -> None:
    rng = np.random.default_rng(0)
    x = np.array([7.0, 8.0, 8.3, 9.0, 10.1])
    y = 0.1 * x + (0.02 + scatter) * rng.normal(size=5)
    found, ci = slope(x, y, np.full(5, 0.02), 0.95)
    want = stats.linregress(x, y)
    half = want.stderr * stats.t.ppf(0.975, 3)
    assert found == pytest.approx(want.slope)
    np.testing.assert_allclose(ci, [want.slope - half, want.slope + half])


def test_the_regression_holds_its_level() -> None:
    rng, x = np.random.default_rng(1), np.linspace(7, 10, 5)
    held = []
    for _ in range(600):
        se = rng.uniform(0.02, 0.04, 5)
        common = 0.2 * rng.normal()  # shared prompts move all models alike
        _, (low, high) = slope(x, 0.05 * x + common + np.hypot(se, 0.03) * rng.normal(size=5), se, 0.95)
        held.append(low <= 0.05 <= high)
    assert 0.92 < np.mean(held) < 0.98


def test_names_that_say_a_size() -> None:
    for name, size in (
        ("135M", 135e6), ("SmolLM2-1.7B-Instruct", 1.7e9), ("qwen2.5-0.5b", 5e8), ("pythia-70m-v0", 7e7),
        ("8x7B then 40K", 4e4),
    ):  # fmt: skip
        assert parameters(name) == size
    for name in ("gpt-4", "large", "3D", "v2Beta"):
        with pytest.raises(ValueError, match="pass sizes="):
            parameters(name)


def test_what_is_refused() -> None:
    models = _models({"1M": 0.1, "10M": 0.2}, n_prompts=10)
    named = dict(zip(("small", "large"), models.values(), strict=True))
    cases: list[tuple[Any, Any, Any, str]] = [
        (list(models.values()), "judge/c0", {}, "mapping of name to dump"),
        ({"1M": models["1M"]}, "judge/c0", {}, "two models or more"),
        (named, "judge/c0", {}, "says no size"),
        (named, "judge/c0", {"sizes": {"small": 1e6}}, "no entry for large"),
        (named, "judge/c0", {"sizes": [1e6, -1.0]}, "finite numbers > 0"),
        (named, "judge/c0", {"sizes": [1e6, 1e6]}, "two sizes or more"),
        (models, {"1M": "judge/c0"}, {}, "judge has no entry for 10M"),
        (models, ["judge/c0", "s"], {}, "holds 2 judges"),
        ({**models, "1B": models["1M"].read(0, 80)}, "judge/c0", {}, "judge/c0"),
        (models, "judge/c0", {"kl": -1}, "kl is -1"),
    ]
    for dumps, judge, options, message in cases:
        with pytest.raises(ValueError, match=message):
            theory.labeler_scaling(dumps, judge, "s", **options)
    with pytest.raises(TypeError, match="sizes is 7"):
        theory.labeler_scaling(models, "judge/c0", "s", sizes=7)
