"""Every function that enters the compiled core, on rows of a chosen size: what is interrupted, starved and compared."""

from __future__ import annotations

import hashlib
import os
import pickle
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

import clinometer as cm
from clinometer import _core, lp
from clinometer.dump.converting import convert_dump

Calls = dict[str, Callable[[], Any]]


def calls(prompts: int, n: int, d: int, folder: str, seed: int = 0) -> Calls:
    """Name to call, each of which computes the same numbers every time; files of rows lie in `folder`."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((prompts * n, d)).astype(np.float32)
    ids, u = np.repeat(np.arange(prompts), n), rng.standard_normal((3, d)) / np.sqrt(d)
    values = x @ u[:2].T + rng.standard_normal((prompts * n, 2))
    columns = {"judge/kind": x @ u[2], "value_good": values[:, 0], "value_yes": (values[:, 1] > 0).astype(float)}
    path = os.path.join(folder, f"d{prompts}")
    first = np.arange(prompts) * n
    cm.write_dump(path, x, prompt_ids=ids, columns=columns, policy="on_policy",
                  pairs=np.stack([first, first + 1], axis=1))  # fmt: skip
    dump, held = cm.open_dump(path), cm.open_dump(x, prompt_ids=ids, columns=columns, policy="on_policy")
    scores = cm.Scores(x @ u.T, prompt_ids=ids)
    labels = (rng.random(prompts) < 0.5).astype(float)
    judge = {"constitutions": ["judge/kind"], "values": ["good"], "kl": [0.1]}
    return {
        "open_dump": lambda: cm.open_dump(path).read(0, 2),
        "moments": lambda: cm.moments(dump),
        "moments, variances": lambda: cm.moments(held, covariance=False),
        "score": lambda: cm.score(dump, u),
        "covariance_projection": lambda: cm.covariance_projection(held, u),
        "cross_covariance": lambda: cm.cross_covariance(held, u, ["good"]),
        "tilt": lambda: cm.tilt(held, u, [0.5, 2.0], ["good", "yes"]),
        "tilt at a KL": lambda: cm.tilt(held, u, None, ["good"], kl=[0.1]),
        "tilt of scores": lambda: cm.tilt(scores, None, np.geomspace(0.1, 10, 12), values),
        "tilt of one prompt": lambda: cm.tilt(scores, None, [0.5, 2.0], values, within=False),
        "KL horizon": lambda: cm.tilt(scores, None),
        "tilted_mean": lambda: cm.tilted_mean(held, u, [1.0]),
        "fit_value_direction": lambda: cm.fit_value_direction(held, "good"),
        "fit_value_direction, logistic": lambda: cm.fit_value_direction(held, "yes", method="logistic"),
        "fit_preference_direction": lambda: cm.fit_preference_direction(held, np.stack([first, first + 1], 1), labels),
        "fit_generation_direction": lambda: cm.fit_generation_direction(held, "judge/kind"),
        "gain_intervals": lambda: cm.inference.gain_intervals(
            held, "judge/kind", None, ["good"], kl=[0.1], replicates=20
        ),
        "null_band": lambda: cm.inference.null_band(held, ["good"], kl=[0.1], draws=8),
        "report": lambda: cm.report(held, **judge).to_json(),
        "screen": lambda: cm.theory.screen(held, _many(d, prompts), ["good"]),
        "lp.game": lambda: lp.game(held, _many(d, prompts), ["good", "yes"]),
        "lp.pareto": lambda: lp.pareto(held, u, ["good", "yes"], splits=5),
        "best_of_n": lambda: cm.theory.best_of_n(held, u, ["good"], n=[4]),
        "compare": lambda: cm.compare(dump, cm.open_dump(x[:, ::-1] * 2, prompt_ids=ids, columns=columns), ["good"]),
        "convert": lambda: _converted(path),
        "fold": lambda: _folded(x, ids),
        "lp.cone": lambda: lp.cone(rng_of(1).standard_normal((max(prompts, 8), 6, 9))),
        "lp.gram_cone": lambda: lp.gram_cone(_grams(max(prompts, 8))),
        "lp.ensemble": lambda: lp.ensemble(rng_of(2).standard_normal((8, prompts * n))),
        "lp.ensemble, many": lambda: lp.ensemble(rng_of(3).standard_normal((max(prompts, 8), 4, 12))),
        "lp.constrained": lambda: lp.constrained(rng_of(4).standard_normal((4, len(x))), np.ones(len(x)), [-1.0] * 4),
        "lp.prompt": lambda: lp.prompt(held, ["good", "yes"], ratio_cap=2.0),
        "lp.prompt at a KL": lambda: lp.prompt(held, ["good", "yes"], kl=0.1),
        "lp.pareto_front": lambda: lp.pareto_front(rng_of(5).standard_normal((prompts * n, 3))),
        "pareto_cone": lambda: cm.pareto_cone(x[:200, :3].astype(float).T @ x[:200, :3], np.eye(3)),
        "non-finite rows": lambda: cm.moments(cm.open_dump(_holed(x), prompt_ids=ids, nonfinite="drop")),
        "probes": lambda: [_core.probe_read(x, 4, 2) >= 0, _core.probe_fma(0.001, 2) > 0, _core.probe_exp(0.01, 2) > 0,
                           _core.probe_exp_values(np.linspace(-8, 0, 99, dtype=np.float32))],
        "kernels": lambda: [_core.isa_available(), _core.isa_select(_core.isa()), repr(_core.ScoreVariance(2))],
        "mapped file": lambda: _mapped(path),
    }  # fmt: skip


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _many(d: int, prompts: int) -> Any:
    return rng_of(7).standard_normal((max(prompts, 8), d))


def _converted(path: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        convert_dump(path, os.path.join(folder, "again"))
        again = cm.open_dump(os.path.join(folder, "again"))
        return again.read(0, again.n_rows)


def _grams(problems: int) -> Any:
    a = rng_of(6).standard_normal((problems, 5, 7))
    return a @ a.transpose(0, 2, 1)


def _holed(x: Any) -> Any:
    out = x.copy()
    out[len(x) // 2, 0] = np.nan
    return out


def _folded(x: Any, ids: Any) -> Any:
    """A fold that is saved and read again; a state that is pickled, compared and merged."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "fold")
        fold = cm.Fold(cm.stat.Moments(), dim=x.shape[1])
        fold.absorb(x, ids)
        fold.save(path)
        out = cm.Fold(cm.stat.Moments(), dim=x.shape[1]).load(path).finish()
    state = _core.ScoreVariance(2)
    assert pickle.loads(pickle.dumps(state)) == state
    state.merge(state.empty())
    return out, sorted(state.settings())


def _mapped(path: str) -> Any:
    name = next(f for f in sorted(os.listdir(path)) if f.endswith(".safetensors"))
    file = _core.MappedFile(os.path.join(path, name))
    file.check()
    return [file.size, os.path.basename(file.path), memoryview(file)[0]]


def digest(found: Any) -> str:
    """A hash of every number and word of a result."""
    said = hashlib.sha256()
    for part in _parts(found):
        said.update(part)
    return said.hexdigest()[:16]


def _parts(found: Any) -> Iterable[bytes]:
    if isinstance(found, np.ndarray) and found.dtype != object:
        yield str(found.shape).encode() + np.ascontiguousarray(found).tobytes()
    elif is_dataclass(found) and not isinstance(found, type):
        for field in fields(found):
            if not field.name.startswith("_"):
                yield from _parts(getattr(found, field.name))
    elif isinstance(found, dict):
        for key in found:
            yield str(key).encode()
            yield from _parts(found[key])
    elif isinstance(found, (list, tuple)):
        for one in found:
            yield from _parts(one)
    elif isinstance(found, (str, bytes, int, float, np.generic, type(None))):
        yield repr(found).encode()
