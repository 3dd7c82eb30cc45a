"""Gold labels, null bands, selection and baselines against explicit formulas, other libraries and known worlds."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.stats import false_discovery_control, pearsonr

import clinometer as cm
from clinometer.engine.inputs import prepare

Floats = NDArray[np.float64]
N, G = 6, 80
IDS = np.repeat(np.arange(G), N)


class World:
    """A value, a model of it that shares the judge's error, a judge, and gold labels on some prompts."""

    def __init__(self, seed: int = 0, gold: int = 25) -> None:
        rng = np.random.default_rng(seed)
        self.phi = rng.normal(size=(G * N, 4)) + rng.normal(size=(G, 4))[IDS]
        shared = rng.normal(size=G * N)
        self.true = self.phi[:, 0] + 0.3 * rng.normal(size=G * N)
        self.model = self.true + shared
        self.judge = 0.5 * self.phi[:, 0] + shared
        self.gold = np.where(np.isin(IDS, rng.choice(G, gold, replace=False)), self.true, np.nan)
        columns = {"true": self.true, "model": self.model, "judge": self.judge, "gold": self.gold, "topic": IDS * 1.0}
        self.dump = cm.open_dump(self.phi, prompt_ids=IDS, columns=columns)

    def contributions(self, t: Floats, f: Floats, beta: float) -> Floats:
        """Gain of f in each prompt under a tilt by t."""
        out = []
        for x in range(G):
            p = np.exp((t[x == IDS] - t[x == IDS].max()) / beta)
            out.append(p @ f[x == IDS] / p.sum() - f[x == IDS].mean())
        return np.array(out)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


# Gold labels


def explicit(w: World, beta: float, power: float | None) -> tuple[float, float, float]:
    """(estimate, error, lambda) of prediction-powered inference of a mean, written out."""
    known = ~np.isnan(w.gold).reshape(G, N)[:, 0]
    y, f = w.contributions(w.judge, w.true, beta), w.contributions(w.judge, w.model, beta)
    n, m = known.sum(), (~known).sum()
    lam = np.full(n, power, float)
    if power is None:  # each prompt's is the slope over the others
        for i in range(n):
            (spread, top), _ = np.cov(np.delete(f[known], i), np.delete(y[known], i))
            lam[i] = np.clip(top / ((1 + (n - 1) / m) * spread), 0, 1)
    estimate = lam.mean() * f[~known].mean() + (y[known] - lam * f[known]).mean()
    error = np.sqrt(lam.mean() ** 2 * f[~known].var(ddof=1) / m + (y[known] - lam * f[known]).var(ddof=1) / n)
    return float(estimate), float(error), float(lam.mean())


@pytest.mark.parametrize("power", [None, 0.0, 0.4, 1.0])
def test_gold_labels_correct_by_the_explicit_formula(world: World, power: float | None) -> None:
    got = cm.inference.ppi_gain(world.dump, "judge", [0.7, 5.0], "model", gold="gold", power=power, precision="double")
    for b, beta in enumerate((0.7, 5.0)):
        estimate, error, lam = explicit(world, beta, power)
        assert got.gain[0, b, 0] == pytest.approx(estimate, rel=1e-9)
        assert got.se[0, b, 0] == pytest.approx(error, rel=1e-9)
        assert got.power[0, b, 0] == pytest.approx(lam, rel=1e-9)
    assert got.n_gold.tolist() == [25]
    plain = cm.tilt(world.dump, "judge", [0.7, 5.0], "model", precision="double")
    np.testing.assert_allclose(got.gain_values, plain.gain, rtol=1e-9)
    truth = cm.tilt(world.dump, "judge", [0.7, 5.0], "gold", precision="double")
    np.testing.assert_allclose(got.gain_gold, truth.gain, rtol=1e-9)
    np.testing.assert_allclose(got.gain_gold_se, truth.gain_se, rtol=1e-9)


def test_gold_labels_agree_with_ppi_python(world: World) -> None:
    ppi = pytest.importorskip("ppi_py")
    known = ~np.isnan(world.gold).reshape(G, N)[:, 0]
    y, f = (world.contributions(world.judge, v, 0.7) for v in (world.true, world.model))
    # its own lambda is chosen on the prompts that it corrects
    fixed = cm.inference.ppi_gain(world.dump, "judge", [0.7], "model", gold="gold", power=0.6, precision="double")
    want = ppi.ppi_mean_pointestimate(y[known], f[known], f[~known], lam=0.6)
    assert fixed.gain[0, 0, 0] == pytest.approx(float(np.squeeze(want)), rel=1e-9)
    # its interval is normal, with variances over n: ours are over n - 1, of each of the two means
    lower, upper = ppi.ppi_mean_ci(y[known], f[known], f[~known], alpha=0.05, lam=0.6)
    n, rest = known.sum(), (~known).sum()
    values = 0.36 * f[~known].var() / rest
    assert ((upper - lower).item() / 2 / stats.norm.ppf(0.975)) ** 2 == pytest.approx(
        values + (y[known] - 0.6 * f[known]).var() / n
    )
    ours = values * rest / (rest - 1) + (y[known] - 0.6 * f[known]).var() / (n - 1)
    assert fixed.se[0, 0, 0] ** 2 == pytest.approx(ours, rel=1e-9)
    half = np.diff(fixed.interval[0, 0, 0]).item() / 2
    assert half == pytest.approx(stats.t.ppf(0.975, n - 1) * fixed.se[0, 0, 0], rel=1e-9)


def test_gold_labels_remove_the_error_that_judge_and_value_share() -> None:
    errors, plain, inside = [], [], 0
    for seed in range(60):
        w = World(seed, gold=30)
        truth = cm.tilt(w.dump, "judge", values="true", kl=[0.3], pareto_k=False).gain[0, 0, 0]
        got = cm.inference.ppi_gain(w.dump, "judge", values="model", gold="gold", kl=[0.3])
        errors.append(got.gain[0, 0, 0] - truth)
        plain.append(got.gain_values[0, 0, 0] - truth)
        inside += int(got.interval[0, 0, 0, 0] < truth < got.interval[0, 0, 0, 1])
    assert np.mean(plain) > 0.4 and abs(np.mean(errors)) < 3.5 * np.std(errors) / np.sqrt(60)
    assert inside >= 53


@pytest.mark.parametrize("n_gold", [8, 25])
def test_the_best_power_does_not_draw_gains_to_zero(n_gold: int) -> None:
    """Prompts with long tails: by a lambda chosen on the prompts that it corrects 7 % and more of the gain is lost."""
    left, held = [], 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        t = np.exp(rng.standard_normal(G))[IDS] * rng.standard_normal(G * N)
        truth = 0.6 * t + 0.8 * rng.standard_normal(G * N)
        label = truth + 0.5 * rng.standard_normal(G * N)
        gold = np.where(np.isin(IDS, rng.choice(G, n_gold, replace=False)), truth, np.nan)
        dump = cm.open_dump(t[:, None], prompt_ids=IDS, columns={"j": t, "y": truth, "f": label, "gold": gold})
        every = cm.tilt(dump, "j", [2.0], "y", pareto_k=False).gain.item()
        got = cm.inference.ppi_gain(dump, "j", [2.0], "f", gold="gold")
        left.append(got.gain.item() / every)
        held += int(got.interval[..., 0].item() < every < got.interval[..., 1].item())
    assert abs(np.mean(left) - 1) < 3.5 * np.std(left) / np.sqrt(120) < 0.06
    assert held >= 110


def test_gold_on_every_prompt_or_useless_values_leave_gold_alone(world: World) -> None:
    whole = cm.inference.ppi_gain(world.dump, "judge", [1.0], "model", gold="true")
    want = cm.tilt(world.dump, "judge", [1.0], "true")
    np.testing.assert_allclose(whole.gain, want.gain, rtol=1e-5)
    np.testing.assert_allclose(whole.se, want.gain_se, rtol=1e-5)
    against = cm.inference.ppi_gain(world.dump, "judge", [1.0], "-model", gold="gold")
    assert against.power[0, 0, 0] == 0 and against.gain[0, 0, 0] == against.gain_gold[0, 0, 0]


def test_clusters_and_weights_enter_gold_errors(world: World) -> None:
    groups, omega = np.arange(G) // 4, np.random.default_rng(0).uniform(0.5, 2, G)
    got = cm.inference.ppi_gain(
        world.dump, "judge", [1.0], "model", gold="gold", power=0.0, clusters=groups, prompt_weights=omega
    )
    want = cm.tilt(world.dump, "judge", [1.0], "gold", clusters=groups, prompt_weights=omega)
    np.testing.assert_allclose(got.gain, want.gain, rtol=1e-9)
    np.testing.assert_allclose(got.se, want.gain_se, rtol=1e-9)


# Null bands


def test_random_directions_are_matched_and_cover_themselves(world: World) -> None:
    band = cm.inference.null_band(world.dump, ["true", "judge"], kl=[0.1, 0.5], draws=300, random_state=1)
    assert band.gain.shape == (1, 300, 2, 2) and band.kind == "random"
    again = cm.inference.null_band(world.dump, ["true", "judge"], kl=[0.1, 0.5], draws=300, random_state=1)
    np.testing.assert_array_equal(band.gain, again.gain)
    u = np.random.default_rng(9).normal(size=(200, 4)) / np.sqrt(cm.moments(world.dump).variances)
    fresh = cm.tilt(world.dump, u, values=["true", "judge"], kl=[0.1, 0.5], pareto_k=False).gain
    low, high = band.interval[0, ..., 0], band.interval[0, ..., 1]
    share = ((fresh >= low) & (fresh <= high)).mean(axis=0)
    assert (np.abs(share - 0.95) < 3.5 * np.sqrt(0.05 * 0.95 * (1 / 200 + 1 / 300))).all()
    p = band.p_value(fresh)
    assert p.shape == (200, 2, 2) and (np.abs(p.mean(axis=0) - 0.5) < 0.12).all()


def test_shuffled_judges_gain_nothing(world: World) -> None:
    band = cm.inference.null_band(world.dump, "true", judges=["judge", "true"], kl=[0.3], draws=400)
    assert band.gain.shape == (2, 400, 1, 1) and band.judges == ("judge", "true")
    spread = band.gain.std(axis=1)
    assert (np.abs(band.gain.mean(axis=1)) < 4 * spread / 20).all()
    gain = cm.tilt(world.dump, ["judge", "true"], values="true", kl=[0.3]).gain
    assert (band.p_value(gain)[1] <= 1 / 401 + 1e-12).all()
    assert (band.p_value(band.gain[:, 0])).min() > 0
    # shuffling inside prompts keeps what each prompt's scores can reach: the sd of a null is that of its theory
    t = world.judge.reshape(G, N)
    f = world.true.reshape(G, N)
    lam = 1 / cm.tilt(world.dump, "judge", kl=[1e-6]).betas[0, 0]
    small = cm.inference.null_band(world.dump, "true", judges="judge", kl=[1e-6], draws=400).gain.std() / lam
    want = np.sqrt((t.var(axis=1) * f.var(axis=1) / (N - 1)).sum()) / G
    assert small == pytest.approx(want, rel=0.15)


# Selection


def test_selection_pays_for_the_winners_curse() -> None:
    """Forty judges that know nothing: the best looks good where it was chosen, and is worth nothing elsewhere."""
    honest, optimism = [], []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        scores = cm.Scores(rng.normal(size=(G * N, 40)))
        value = rng.normal(size=G * N)
        dump = cm.open_dump(rng.normal(size=(G * N, 1)), prompt_ids=IDS)
        got = cm.inference.recommend(dump, scores, value, kl=[0.2], splits=40, random_state=seed)
        honest.append(got.gain[0])
        optimism.append(got.optimism[0])
    assert abs(np.mean(honest)) < 4 * np.std(honest) / 5 and np.mean(optimism) > 0.08
    assert got.share.shape == (40, 1) and got.share.sum() == pytest.approx(1) and got.share.max() < 0.9


def test_a_clear_winner_is_always_chosen_and_split_by_hand(world: World) -> None:
    got = cm.inference.recommend(
        world.dump, ["judge", "true", "-true"], ["true"], kl=[0.1, 0.4], splits=1, random_state=5
    )
    assert got.constitution == "true" and got.kl == 0.4 and got.share[1, 1] == 1
    half = np.argsort(np.random.default_rng(5).random((1, G)), axis=1)[0] < G // 2
    found = cm.inference.gain_intervals(world.dump, "true", values="true", kl=[0.4])
    # prompts add up to the estimate, so two halves of as many prompts have it as their mean
    assert got.gain[0] + got.optimism[0] / 2 == pytest.approx(found.estimate.item(), rel=1e-3)
    assert half.sum() == (~half).sum() and abs(got.optimism[0]) < 6 * found.estimate_se.item()
    assert 1 < got.se[0] / found.estimate_se.item() < 2  # one split judges by half of the prompts
    many = cm.inference.recommend(world.dump, ["judge", "true", "-true"], ["true"], kl=[0.1, 0.4], splits=200)
    assert many.se[0] == pytest.approx(found.estimate_se.item(), rel=0.05)  # and many by all of them
    sd = np.sqrt(np.mean([world.true[x == IDS].var(ddof=1) for x in range(G)]))
    bounds = [found.at(level).estimate_interval[0, 0, 0, 0] / sd for level in (0.95, 0.95 ** (1 / 6))]
    assert bounds[1] < got.objective[1, 1] < bounds[0]  # pays for its six cells as for fewer independent ones
    alone = cm.inference.recommend(world.dump, "true", "true", kl=[0.4], splits=1)
    assert alone.objective.item() == pytest.approx(bounds[0], rel=1e-6)  # and for one it pays nothing


def test_objectives_worst_and_weighted(world: World) -> None:
    against = np.stack([world.true, -2.5 * world.true], axis=1)
    worst = cm.inference.recommend(world.dump, ["true", "-true", "judge"], against, kl=[0.2], splits=20)
    sum_ = cm.inference.recommend(
        world.dump, ["true", "-true", "judge"], against, kl=[0.2], splits=20, weights=[1.0, 3.0]
    )
    assert worst.objective.max() < 0.0 and sum_.constitution == "-true" and sum_.objective[1, 0] > 0
    flat = cm.inference.recommend(world.dump, ["true", "judge"], ["true", "topic"], kl=[0.2], splits=20)
    assert flat.constitution == "true"  # a value that does not vary has no vote


def test_the_layer_is_chosen_with_the_rest() -> None:
    world = cm.simulate(n_prompts=80, n_responses=6, dim=5, random_state=4)
    good = world.read(0, world.n_rows, np.float64)
    noise = good + 3 * np.random.default_rng(0).normal(size=good.shape)
    columns = {"s": world.column("s")}
    layers = {
        8: cm.open_dump(noise.astype(np.float32), prompt_ids=world.prompt_ids, columns=columns),
        16: cm.open_dump(good.astype(np.float32), prompt_ids=world.prompt_ids, columns=columns),
    }
    fits = {layer: cm.fit_value_direction(d, "s", pooled=False) for layer, d in layers.items()}
    found = cm.inference.recommend(layers, fits, "s", kl=[0.1, 0.4], splits=50)
    assert found.layer == 16 and found.layer_share[16] > 0.9 and sum(found.layer_share.values()) == pytest.approx(1)
    assert found.share.shape == (2, 2) and found.index[0] == 1 and found.gain[0] > 0
    alone = cm.inference.recommend(layers[16], fits[16], "s", kl=[0.1, 0.4], splits=50)
    assert alone.layer is None and alone.layer_share == {}
    assert (found.objective[1] < alone.objective[0]).all()  # the layer is paid for
    np.testing.assert_allclose(found.objective[1], alone.objective[0], rtol=0.2)
    with pytest.raises(ValueError, match="map the same"):
        cm.inference.recommend(layers, {8: fits[8]}, "s")
    with pytest.raises(ValueError, match="same prompts"):
        cm.inference.recommend({8: layers[8], 16: cm.simulate(5, 3, 5)}, {8: fits[8], 16: np.ones((1, 5))}, "s")


def test_corrected_p_values() -> None:
    rng = np.random.default_rng(0)
    p = rng.random((4, 5)) ** 2
    np.testing.assert_allclose(cm.inference.benjamini_hochberg(p).ravel(), false_discovery_control(p.ravel()))
    q = p.copy()
    q[1, 2] = np.nan
    known = ~np.isnan(q)
    np.testing.assert_allclose(cm.inference.benjamini_hochberg(q)[known], false_discovery_control(q[known]))
    # Holm by its definition: the smallest level at which each is still rejected, stepping down
    flat = q[known]
    got = cm.inference.holm(q)[known]
    for i, x in enumerate(flat):
        smaller = [(flat >= y).sum() * y for y in flat if y <= x]
        assert got[i] == pytest.approx(min(1.0, max(smaller)))
    assert np.isnan(cm.inference.holm(q)[1, 2]) and cm.inference.holm([]).shape == (0,)
    for wrong in ([1.5], [-0.1]):
        with pytest.raises(ValueError, match="p holds"):
            cm.inference.holm(wrong)


# Baselines


def test_baselines_are_their_definitions(world: World) -> None:
    rng = np.random.default_rng(2)
    u = rng.normal(size=(1, 4))
    values = np.stack([world.true, np.where(rng.random(G * N) < 0.4, np.nan, world.model)], axis=1)
    got = cm.inference.baselines(world.dump, [cm.Directions(["u"], u), "judge"], values, precision="double")
    ridge = cm.fit_value_direction(world.dump, values, pooled=False, precision="double").vectors
    cosine = ridge @ u[0] / np.linalg.norm(u) / np.linalg.norm(ridge, axis=1)
    np.testing.assert_allclose(got.cosine[0], cosine, rtol=1e-9)
    assert np.isnan(got.cosine[1]).all()
    scores = np.stack([world.phi @ u[0], world.judge], axis=1)
    for k in range(2):
        for j in range(2):
            known = ~np.isnan(values[:, j])
            r = [pearsonr(scores[rows, k], values[rows, j])[0]
                 for rows in (known & (x == IDS) for x in range(G)) if rows.sum() > 1]  # fmt: skip
            assert got.correlation[k, j] == pytest.approx(np.mean(r), rel=1e-9)
            if j == 0:
                assert got.pooled_correlation[k, j] == pytest.approx(pearsonr(scores[:, k], values[:, j])[0], rel=1e-9)
    assert got.n_prompts[0] == G


def test_projection_difference_is_of_the_favourite_response(world: World) -> None:
    got = cm.inference.baselines(world.dump, "judge", world.true, folds=2, precision="double").projection_difference[
        0, 0
    ]
    p = prepare(world.dump).population
    fold = p.folds(2)[IDS]
    dev = world.true - np.array([world.true[x == IDS].mean() for x in range(G)])[IDS]
    centred = world.phi - np.stack([world.phi[x == IDS].mean(axis=0) for x in range(G)])[IDS]
    along = np.empty(G * N)
    for f in range(2):
        seen = fold != f
        v = centred[seen & (dev > 0)].mean(axis=0) - centred[seen & (dev < 0)].mean(axis=0)
        along[~seen] = centred[~seen] @ v
    best = [np.flatnonzero(x == IDS)[np.argmax(world.judge[x == IDS])] for x in range(G)]
    sd = np.sqrt(np.mean([along[x == IDS].var() for x in range(G)]))
    assert got == pytest.approx(along[best].mean() / sd, rel=1e-6)


def test_topic_alone_gives_no_correlation_inside_prompts(world: World) -> None:
    got = cm.inference.baselines(world.dump, "judge", "topic")
    assert np.isnan(got.correlation).all() and got.n_prompts[0] == 0


CALLS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ppi_gain": (cm.inference.ppi_gain, {"directions": "judge", "betas": [1.0], "values": "model", "gold": "gold"}),
    "null_band": (cm.inference.null_band, {"values": "true", "kl": [0.1], "draws": 2}),
    "recommend": (cm.inference.recommend, {"constitutions": "judge", "values": "true", "kl": [0.1], "splits": 2}),
    "baselines": (cm.inference.baselines, {"directions": "judge", "values": "true"}),
}
BAD: list[tuple[str, str, Any, type[Exception], str]] = [
    ("ppi_gain", "gold", "nope", ValueError, "gold"),
    ("ppi_gain", "gold", np.full(G * N, np.nan), ValueError, "no row"),
    ("ppi_gain", "gold", np.zeros((G * N, 2)), ValueError, "2 columns"),
    ("ppi_gain", "gold", None, ValueError, "gold"),
    ("ppi_gain", "power", 2.0, ValueError, "power"),
    ("ppi_gain", "level", 0.0, ValueError, "level"),
    ("ppi_gain", "betas", -1.0, ValueError, "betas"),
    ("ppi_gain", "values", None, ValueError, "values"),
    ("null_band", "draws", 0, ValueError, "draws"),
    ("null_band", "kl", [-1.0], ValueError, "kl"),
    ("null_band", "level", 1.0, ValueError, "level"),
    ("null_band", "values", None, ValueError, "values"),
    ("null_band", "judges", "nope", ValueError, "nope"),
    ("null_band", "within", False, ValueError, "within"),
    ("recommend", "splits", 0, ValueError, "splits"),
    ("recommend", "weights", [1.0, 2.0], ValueError, "weights"),
    ("recommend", "weights", [-1.0], ValueError, "weights"),
    ("recommend", "values", "topic", ValueError, "none varies"),
    ("recommend", "kl", 0.0, ValueError, "kl"),
    ("recommend", "within", False, ValueError, "within"),
    ("baselines", "values", None, ValueError, "values"),
    ("baselines", "directions", "nope", ValueError, "nope"),
    ("baselines", "folds", 1, ValueError, "folds"),
    ("baselines", "within", False, ValueError, "within"),
    ("baselines", "nonsense", 1, TypeError, "nonsense"),
]


@pytest.mark.parametrize(("name", "argument", "value", "error", "message"), BAD)
def test_a_wrong_argument_is_named(
    world: World, name: str, argument: str, value: Any, error: Any, message: str
) -> None:
    function, good = CALLS[name]
    with pytest.raises(error, match=message):
        function(world.dump, **(good | {argument: value}))


@pytest.mark.parametrize("name", CALLS)
def test_the_good_arguments_are_good(world: World, name: str) -> None:
    function, good = CALLS[name]
    function(world.dump, **good)


def test_a_null_is_outside_its_band_as_often_as_said() -> None:
    """A further draw falls beyond the first or last of 39 with chance 2/40; so ranks say p, exactly."""
    world = cm.simulate(n_prompts=20, n_responses=4, dim=3, random_state=1)
    band = cm.inference.null_band(world, "s", judges="judge/c0", kl=[0.1], draws=39)
    drawn = band.gain[0, :, 0, 0]
    np.testing.assert_allclose(band.interval[0, 0, 0], [drawn.min(), drawn.max()])
    rng, few = np.random.default_rng(2), 0
    for _ in range(3000):
        gains = rng.standard_t(3, 20)
        null = dataclasses.replace(band, gain=gains[:19].reshape(1, 19, 1, 1))
        few += null.p_value(gains[19:].reshape(1, 1, 1)).item() <= 0.05
    assert abs(few / 3000 - 0.05) < 3.5 * np.sqrt(0.05 * 0.95 / 3000)
