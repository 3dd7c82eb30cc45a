"""Every row-based quantity of the theory on awkward rows: one of each, gaps, flat scores, huge offsets, none."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clinometer as cm
from clinometer import theory

Call = Callable[..., Any]
ROWS: dict[str, Call] = {
    "frontier": lambda d, u, f, **o: theory.gain_kl_frontier(d, u, f, kl=[0.1], **o),
    "cumulants": theory.cumulants,
    "best_of_n": lambda d, u, f, **o: theory.best_of_n(d, u, f, [1, 2], replacement=True, **o),
    "judge_ceiling": theory.judge_ceiling,
    "ensembles": lambda d, u, f, **o: theory.ensembles(d, u, [0.5, 0.5], f, [1.0], **o),
    "iterate": lambda d, u, f, **o: theory.iterate(d, u, 1.0, f, **o),
    "screen": theory.screen,
    "complementarity": lambda d, u, f, **o: theory.complementarity(u[:1], u[1:], f, dump=d, **o),
    "examples": lambda d, u, f, **o: cm.examples(d, u[:1], kl=0.01, values=f, **o),
}
U = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, -1.0]])


def quietly(f: Call, *args: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="kl: beyond what the rows can reach")
        warnings.filterwarnings("ignore", message="iterate: the KL of round")
        return f(*args, **options)


def arrays(result: Any) -> dict[str, np.ndarray]:
    return {n: a for n, a in result.to_dict().items() if isinstance(a, np.ndarray) and a.dtype.kind == "f"}


def world(n_prompts: int = 12, n: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(n_prompts), n)
    phi = rng.standard_normal((len(ids), 3)) + rng.standard_normal((n_prompts, 3))[ids]
    return phi, ids, np.column_stack([phi[:, 0] ** 2, rng.standard_normal(len(ids))])


@pytest.mark.parametrize("name", list(ROWS))
def test_one_row_moves_nothing(name: str) -> None:
    found = quietly(ROWS[name], np.ones((1, 3)), U, np.array([2.0]), prompt_ids=[0])
    for field in ("gain", "kl_reached", "pool_gain", "mixture_gain", "mixture_kl", "limit"):
        a = np.atleast_1d(getattr(found, field, 0.0))
        assert not np.nan_to_num(a).any(), field


@pytest.mark.parametrize("name", list(ROWS))
def test_prompts_of_one_response_are_no_error(name: str) -> None:
    phi, _, f = world()
    found = quietly(ROWS[name], phi, U, f[:, 0], prompt_ids=np.arange(len(phi)))
    assert not np.nan_to_num(np.atleast_1d(getattr(found, "gain", 0.0))).any()


@pytest.mark.parametrize("name", list(ROWS))
def test_a_flat_score_and_a_flat_value(name: str) -> None:
    phi, ids, _ = world()
    phi = np.column_stack([np.full(len(phi), 3.0), phi[:, 1:]])
    found = quietly(ROWS[name], phi, np.eye(3)[:2], np.full(len(phi), 7.0), prompt_ids=ids)
    for field in ("gain", "oracle", "curve", "pool_gain", "step"):
        assert np.abs(np.nan_to_num(np.atleast_1d(getattr(found, field, 0.0)))).max() < 1e-12


@pytest.mark.parametrize("name", list(ROWS))
def test_gaps_leave_the_other_value_alone(name: str) -> None:
    phi, ids, f = world()
    gaps = f.copy()
    gaps[::3, 1], gaps[ids == 4, 1] = np.nan, np.nan
    both, one = (quietly(ROWS[name], phi, U, x, prompt_ids=ids) for x in (gaps, f[:, :1]))
    for field in ("gain", "oracle", "pool_gain", "mixture_gain", "worst_gain", "together", "bound"):
        if hasattr(one, field):
            a, b = np.asarray(getattr(both, field)), np.asarray(getattr(one, field))
            part = a[:1] if name in ("screen", "complementarity") else a[..., :1]
            # what mixed precision promises of a gain: prompts with gaps go through f64, the others need not
            np.testing.assert_allclose(part, b, rtol=1e-6, atol=3e-7, err_msg=field)


@pytest.mark.parametrize("name", list(ROWS))
def test_order_names_and_offsets_do_not_matter(name: str) -> None:
    phi, ids, f = world()
    order = np.random.default_rng(1).permutation(len(phi))
    words = np.array([f"prompt {i}" for i in ids])
    plain = quietly(ROWS[name], phi, U, f, prompt_ids=ids, precision="double")
    moved = quietly(ROWS[name], phi[order] + 1e5, U, f[order] + 1e5, prompt_ids=words[order], precision="double")
    for field in ("gain", "gain_se", "kl", "oracle", "pool_gain", "mixture_gain", "worst_gain", "together", "bound"):
        if hasattr(plain, field) and name != "examples":
            np.testing.assert_allclose(
                getattr(moved, field), getattr(plain, field), rtol=1e-5, atol=1e-7, err_msg=field
            )
    if name == "examples":
        assert order[moved.row].tolist() == plain.row.tolist()


@pytest.mark.parametrize("name", list(ROWS))
def test_what_cannot_be_used_is_refused(name: str) -> None:
    phi, ids, f = world()
    bad = phi.copy()
    bad[7, 1] = np.nan
    with pytest.raises(cm.DumpError, match=r"row 7|first row 7"):
        quietly(ROWS[name], bad, U, f, prompt_ids=ids)
    with pytest.raises(ValueError, match="no rows"):
        quietly(ROWS[name], np.zeros((0, 3)), U, np.zeros(0), prompt_ids=np.zeros(0, int))
    with pytest.raises(ValueError, match="columns"):
        quietly(ROWS[name], phi, U[:, :2], f, prompt_ids=ids)
    with pytest.raises(ValueError, match="infinities"):
        quietly(ROWS[name], phi, U, np.where(f > 1.0, np.inf, f), prompt_ids=ids)
    with pytest.raises(ValueError, match="within"):
        quietly(ROWS[name], phi, U, f, prompt_ids=ids, within=False)


@pytest.mark.parametrize("name", list(ROWS))
@pytest.mark.parametrize("base", ["counts", "logprob", "reweight"])
def test_weights_stand_for_repeated_rows(name: str, base: str) -> None:
    phi, ids, f = world()
    counts = np.random.default_rng(2).integers(1, 4, len(phi))
    again = np.repeat(np.arange(len(phi)), counts)
    options: dict[str, Any] = {"counts": counts} if base == "counts" else {"logprobs": np.log(counts)}
    if base == "reweight":
        options["proposal_logprobs"] = np.zeros(len(phi))
    weighted = quietly(ROWS[name], phi, U, f, prompt_ids=ids, base=base, precision="double", **options)
    plain = quietly(ROWS[name], phi[again], U, f[again], prompt_ids=ids[again], precision="double")
    fields = ("kl", "oracle", "pool_gain", "mixture_gain", "together")
    for field in fields if name != "judge_ceiling" and name != "screen" and name != "examples" else ():
        if hasattr(plain, field):
            np.testing.assert_allclose(
                getattr(weighted, field), getattr(plain, field), rtol=1e-7, atol=1e-9, err_msg=field
            )
    if name in ("frontier", "best_of_n", "iterate"):
        np.testing.assert_allclose(weighted.gain, plain.gain, rtol=1e-7, atol=1e-9)


def every_quantity(dump: Any, judges: list[str], values: list[str]) -> None:
    """Each function of the theory on rows gives finite figures."""
    for name, call in ROWS.items():
        if name in ("screen", "complementarity", "examples"):
            continue
        for field, a in arrays(quietly(call, dump, judges, values)).items():
            open_ended = ("gain_interval", "regret_interval") if name == "best_of_n" else ()  # of rare values
            may = ("kl", "exact_radius", "sign_flip", "efficiency", *open_ended)
            assert np.isfinite(a).all() or field in may, (name, field)
    found = theory.screen(dump, np.random.default_rng(0).standard_normal((300, dump.dim)), values)
    assert found.n_candidates == 300
    assert (quietly(theory.complementarity, *judges, values, dump=dump).gain >= 0.0).all()
    assert "gain most" in str(quietly(cm.examples, dump, judges[0], n=1))
    spectrum = theory.randomised_spectrum(dump, 4)
    exact = theory.effective_rank(cm.moments(dump)).participation
    assert spectrum.participation == pytest.approx(exact, abs=4 * spectrum.participation_se + 1e-3)


def test_the_demo_dump_gives_every_quantity() -> None:
    from clinometer.cli.commands import DEMO_LAYER
    from clinometer.cli.sources import DEMO

    dump, values = cm.open_dump(DEMO, layer=DEMO_LAYER), ["helpful", "-harm"]
    every_quantity(dump, ["judge/kind", "judge/honest"], values)
    low, high = (dump.select(layer=layer) for layer in dump.layers)
    assert cm.compare(low, high, values).shift is not None
    assert theory.ceiling_by_layer(dump, values).layers == tuple(dump.layers)


@pytest.mark.parametrize(
    ("name", "site", "values"),
    [
        ("xstest_smollm2", {"tensor": "phi_mean_L24"}, ["harmless", "helpful"]),
        ("pyrit_minilm", {"layer": 6}, ["harmless", "nontoxic"]),
    ],
)
def test_real_dumps_beside_the_checkout_give_every_quantity(name: str, site: Any, values: list[str]) -> None:
    path = Path(__file__).parents[3] / "shared" / "data" / f"{name}.safetensors"
    if not path.exists():
        pytest.skip(f"no {path.name} beside the checkout")
    every_quantity(cm.open_dump(path, **site), values[::-1], values)


@pytest.mark.parametrize(
    "module",
    [m.name for m in pkgutil.iter_modules(theory.__path__, "clinometer.theory.")]
    + ["clinometer.theory.comparing", "clinometer.reporting.responses", "clinometer.verify"],
)
def test_docstring_examples_run(module: str) -> None:
    found = doctest.testmod(importlib.import_module(module))
    assert found.failed == 0
