"""An open dump written again is the dump, and directions stay with the layer, model and position they came from."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clinometer as cm

N = 36
RNG = np.random.default_rng(0)
IDS = np.repeat([f"p{k}" for k in (5, 3, 11, 7)], 9)
PHI = RNG.normal(size=(N, 4)).astype(np.float32)
COLUMNS = {"judge/a": RNG.normal(size=N), "note": np.char.add("n", np.arange(N).astype(str)), "n_tokens": np.arange(N)}
TEXTS = [(f"prompt {i}", f"response {k}") for k, i in enumerate(IDS)]
PAIRS = np.stack([np.arange(0, N, 9), np.arange(1, N, 9)], axis=1)
SAID: dict[str, Any] = {"source": {"model": "m", "position": "last"}, "sampling": {"temperature": 0.7}}


@pytest.fixture
def dump(tmp_path: Path) -> Any:
    path = tmp_path / "first"
    cm.write_dump(path, {24: PHI}, prompt_ids=IDS, columns=COLUMNS, policy="on_policy", pairs=PAIRS, texts=TEXTS,
                  directions=cm.Directions(["kind"], PHI[:1]), **SAID)  # fmt: skip
    return cm.open_dump(path)


def same(a: Any, b: Any) -> None:
    assert np.array_equal(a.read(0, a.n_rows), b.read(0, b.n_rows)) and a.dtype == b.dtype
    assert a.prompt_ids.tolist() == b.prompt_ids.tolist() and set(a.columns) == set(b.columns)
    for name in a.columns:
        assert np.array_equal(a.columns[name], b.columns[name]) and a.columns[name].dtype == b.columns[name].dtype
    assert a.policy == b.policy and a.origin == b.origin and a.sampling == b.sampling and a.layers == b.layers
    assert list(a.texts or ()) == list(b.texts or ())
    assert {n: x.tolist() for n, x in (a.pairs or {}).items()} == {n: x.tolist() for n, x in (b.pairs or {}).items()}


def test_a_dump_keeps_everything(dump: Any, tmp_path: Path) -> None:
    cm.write_dump(tmp_path / "again", dump)
    again = cm.open_dump(tmp_path / "again")
    same(dump, again)
    assert again.directions == dump.directions and again.tensor == "phi_L24"
    some = dump.select(prompts=["p11", "p3"])
    cm.write_dump(tmp_path / "some", some)
    same(some, cm.open_dump(tmp_path / "some"))
    cm.write_dump(
        tmp_path / "given", dump, prompt_ids=np.zeros(N, int), columns={"note": np.arange(N)}, policy="off_policy"
    )
    given = cm.open_dump(tmp_path / "given")
    assert given.n_prompts == 1 and given.columns["note"].dtype == np.int64 and given.policy == "off_policy"


def test_a_dump_in_memory_keeps_everything(tmp_path: Path) -> None:
    dump = cm.open_dump(PHI, prompt_ids=IDS, columns=COLUMNS, policy="off_policy")
    cm.write_dump(tmp_path / "d", dump)
    again = cm.open_dump(tmp_path / "d")
    assert again.n_prompts == 4 and again.policy == "off_policy" and set(COLUMNS) <= set(again.columns)


def test_a_writer_takes_dumps(dump: Any, tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="model 'm', which the writer would lose"),
        cm.DumpWriter(tmp_path / "a", dim={24: 4}, dtype="float32") as out,
    ):
        out.append(dump)
    with cm.DumpWriter(tmp_path / "b", dim={24: 4}, dtype="float32", policy="on_policy", **SAID) as out:
        first, rest = ["p5", "p3"], ["p11", "p7"]
        out.append({24: dump.select(prompts=first)})
        out.append({24: dump.select(prompts=rest)})
    got = cm.open_dump(tmp_path / "b")
    assert got.prompt_ids.tolist() == IDS.tolist() and list(got.texts) == list(dump.texts)
    assert np.array_equal(got.columns["note"], COLUMNS["note"])
    with cm.DumpWriter(tmp_path / "c", dim=4, dtype="float32", policy="on_policy", **SAID) as out:
        out.append(dump.select(prompts=first))
        out.append(dump.select(prompts=rest))
    assert cm.open_dump(tmp_path / "c").pairs["rejected"].tolist() == PAIRS[:, 1].tolist()


def test_dumps_side_by_side_agree(dump: Any, tmp_path: Path) -> None:
    other = cm.open_dump(2 * PHI, prompt_ids=IDS)
    cm.write_dump(tmp_path / "two", {24: dump, 12: other})
    two = cm.open_dump(tmp_path / "two", layer=12)
    assert two.layers == [12, 24] and two.prompt_ids.tolist() == IDS.tolist() and "judge/a" in two.columns
    with pytest.raises(ValueError, match="another prompt_id"):
        cm.write_dump(tmp_path / "no", {24: dump, 12: cm.open_dump(PHI, prompt_ids=IDS[::-1])})
    with pytest.warns(UserWarning, match="phi_L24.* left out"):
        cm.write_dump(tmp_path / "one", two)


def test_what_comes_from_elsewhere_is_refused(dump: Any, tmp_path: Path) -> None:
    cm.write_dump(tmp_path / "b", {12: 2 * PHI}, prompt_ids=IDS, source={"model": "other"})
    fit = cm.fit_value_direction(cm.open_dump(tmp_path / "b"), COLUMNS["judge/a"], folds=2)
    fit.save(tmp_path / "fit")
    for given, said in (
        (cm.Directions(["k"], PHI[:1], source={"layer": 12}), "layer 12"),
        (cm.Directions(["k_L12"], PHI[:1]), "layer 12"),
        (cm.Directions(["k"], PHI[:1], source={"model": "other"}), "model 'other'"),
        (cm.Directions(["k"], PHI[:1], source={"position": "mean"}), "position 'mean'"),
        (cm.Directions.from_layers({12: PHI[0], 24: PHI[1]}), r"for_layer\(24\)"),
        (fit, "model 'other'"),
        (str(tmp_path / "fit"), "model 'other'"),
        (fit.directions(), "model 'other'"),
    ):
        for call in (
            lambda x, **o: cm.tilt(dump, x, [1.0], **o),
            lambda x, **o: cm.score(dump, x, **o),
            lambda x, **o: cm.cross_covariance(dump, x, "judge/a", **o),
            lambda x, **o: cm.tilted_mean(dump, [x], [1.0], **o),
        ):
            with pytest.raises(ValueError, match=said):
                call(given)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                call(given, check_source=False)
    with pytest.raises(ValueError, match="layer 12"):
        cm.tilt(dump, "judge/a", [1.0], cm.Directions(["v"], PHI[:1], source={"layer": 12}))
    for given in (
        cm.Directions(["k"], PHI[:1]),
        cm.Directions(["k"], PHI[:1], source={"layer": "24", "revision": "x"}),
        cm.Directions.from_layers({12: PHI[0], 24: PHI[1]}).for_layer(24),
    ):
        assert np.isfinite(cm.tilt(dump, given, [1.0]).kl).all()
