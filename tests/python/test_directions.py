"""Directions and Scores."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

import clinometer as cm
from clinometer.dump.directions import Directions, Scores
from clinometer.errors import DumpError

pytestmark = pytest.mark.filterwarnings("error")


def make(k: int = 3, d: int = 5, dtype: Any = np.float64) -> Directions:
    vectors = np.random.default_rng(k).normal(size=(k, d)).astype(dtype)
    return Directions([f"n{i}_L{i}" for i in range(k)], vectors, {"n0_L0": "value"}, {"model": "m", "position": "last"})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("k", "d"), [(1, 1), (3, 7), (17, 33)])
def test_save_and_load_are_exact(tmp_path: Path, dtype: Any, k: int, d: int) -> None:
    u = make(k, d, dtype)
    u.save(tmp_path / "u.safetensors")
    assert Directions.load(tmp_path / "u.safetensors") == u
    np.testing.assert_array_equal(safetensors.numpy.load_file(tmp_path / "u.safetensors")["vectors"], u.vectors)
    assert os.listdir(tmp_path) == ["u.safetensors"]
    assert pickle.loads(pickle.dumps(u)) == u


def test_arithmetic() -> None:
    u = make()
    one = Directions(["c"], np.ones(5))
    np.testing.assert_array_equal((2 * u - u / 2).vectors, 1.5 * u.vectors)
    np.testing.assert_array_equal((u + one).vectors, u.vectors + 1)
    assert (u + one).names[0] == "n0_L0+c" and (u - u).names == u.names and (-u).roles == u.roles
    assert (u + one).source == u.source
    for wrong in (make(2), make(3, 4)):
        with pytest.raises(ValueError, match="other has shape"):
            u + wrong
    with pytest.raises(ValueError, match="model"):
        u + Directions(["c"], np.ones(5), source={"model": "another"})
    for operation in (lambda: u * u, lambda: u + 1, lambda: u * np.ones(3)):
        with pytest.raises(TypeError):
            operation()


def test_layers() -> None:
    u = make()
    assert u.for_layer(1).names == ("n1_L1",) and u.for_layer(1).source["layer"] == 1
    v = Directions(["a", "b"], np.eye(2), source={"layers": [4, 6]})
    assert v.for_layer(6).vectors.tolist() == [[0.0, 1.0]]
    with pytest.raises(ValueError, match=r"\[4, 6\]"):
        v.for_layer(5)


def test_input_is_copied_and_kept_read_only() -> None:
    raw = np.ones((2, 3), np.float32)
    u = Directions(["a", "b"], raw)
    raw[:] = 7
    assert u.vectors.max() == 1 and not u.vectors.flags.writeable
    with pytest.raises(AttributeError):
        u.names = ("x", "y")
    bf = Directions(["a"], np.array([[1.5, 2.0]], ml_dtypes.bfloat16))
    assert bf.vectors.tolist() == [[1.5, 2.0]] and bf.vectors.dtype == np.float32
    assert Directions(["a", "b"], np.ones((3, 2)).T).dim == 3


@pytest.mark.parametrize(
    ("names", "vectors", "more"),
    [
        (["a"], np.ones((2, 2)), {}),
        (["a", "a"], np.ones((2, 2)), {}),
        (["a"], [[np.nan, 1]], {}),
        (["a"], np.ones((1, 1, 1)), {}),
        (["a"], np.ones((1, 0)), {}),
        ([1], np.ones((1, 2)), {}),
        (["a"], [1.0], {"roles": ["x", "y"]}),
        (["a"], ["x"], {}),
        (["a"], [1.0], {"roles": {"b": "x"}}),
        (["a"], [1.0], {"source": {"layers": [1, 2]}}),
    ],
)
def test_wrong_arguments(names: Any, vectors: Any, more: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        Directions(names, vectors, **more)


def test_other_files_are_refused(tmp_path: Path) -> None:
    safetensors.numpy.save_file({"a": np.ones((1, 2)), "b": np.ones(3)}, tmp_path / "a.safetensors")
    good = {"format": "clinometer-directions", "names": '["a"]', "roles": "null", "source": "{}"}
    for k, change in enumerate(
        [{"names": "["}, {"names": '["a","b"]'}, {"source": "[]"}, {"names": "3"}, {"roles": "3"}]
    ):
        safetensors.numpy.save_file({"vectors": np.ones((1, 2))}, tmp_path / f"{k}.safetensors", metadata=good | change)
    for file in tmp_path.iterdir():
        with pytest.raises(DumpError, match="safetensors"):
            Directions.load(file)


def test_scores() -> None:
    s = Scores(np.arange(6, dtype=np.float32).reshape(3, 2), prompt_ids=["a", "a", "b"])
    assert s.names == ("score0", "score1") and s.array.dtype == np.float32 and len(s) == 3
    assert Scores([1, 2, 3]).array.shape == (3, 1) and Scores([1, 2, 3]).array.dtype == np.float64
    assert Scores(np.ones((2, 1)), names=["x"]).names == ("x",)
    for wrong in (
        {"array": np.ones((2, 2, 2, 1))},
        {"array": np.ones((2, 0))},
        {"array": ["a"]},
        {"array": [1.0], "names": ["a", "b"]},
        {"array": [1.0], "prompt_ids": [1, 2]},
    ):
        with pytest.raises((ValueError, TypeError)):
            Scores(**wrong)
    with pytest.raises(AttributeError):
        s.names = ()  # type: ignore[misc]


def test_values_along_directions_are_their_scores() -> None:
    rng = np.random.default_rng(8)
    phi, ids, u = rng.normal(size=(60, 5)).astype(np.float32), np.arange(60) // 6, rng.normal(size=(2, 5))
    values = cm.Directions(("a", "b"), rng.normal(size=(2, 5)))
    scores = phi.astype(float) @ np.asarray(values.vectors).T
    got = cm.tilt(phi, u, [1.0], values, prompt_ids=ids)
    assert got.values == ("a", "b")
    np.testing.assert_allclose(got.gain, cm.tilt(phi, u, [1.0], scores, prompt_ids=ids).gain, atol=1e-6)
    with pytest.raises(ValueError, match="values has 4 columns but rows of the dump have 5"):
        cm.tilt(phi, u, [1.0], cm.Directions(("a",), np.ones((1, 4))), prompt_ids=ids)


def test_arrays_of_other_tools_are_directions(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    v, w = rng.normal(size=8).astype(np.float32), rng.normal(size=(3, 8))
    np.save(tmp_path / "refusal_L12.npy", v)
    np.save(tmp_path / "several.npy", w)
    safetensors.numpy.save_file({"kind": v[None], "model.layers.7": v}, tmp_path / "x.safetensors", {"model": "m"})
    one, more, both = (Directions.load(tmp_path / n) for n in ("refusal_L12.npy", "several.npy", "x.safetensors"))
    assert one.names == ("refusal_L12",) and one.layer(0) == 12 and (one.vectors == v).all()
    assert more.names == ("several_0", "several_1", "several_2") and (more.vectors == w).all()
    assert both.for_layer(7).names == ("model.layers.7",) and both.source == {"model": "m"}
    rows = rng.normal(size=(12, 8))
    ids = np.repeat([0, 1], 6)
    ours = cm.score(rows, str(tmp_path / "several.npy"), prompt_ids=ids)
    np.testing.assert_array_equal(ours, cm.score(rows, w, prompt_ids=ids))
    np.save(tmp_path / "deep.npy", w[None])
    np.save(tmp_path / "ids.npy", np.arange(3))
    for name in ("deep.npy", "ids.npy"):
        with pytest.raises(DumpError, match="directions are floats"):
            Directions.load(tmp_path / name)


@pytest.mark.parametrize("name", ["v.pt", "v.bin", "v"])
def test_a_pickled_direction_is_told_what_to_do(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04N.")
    with pytest.raises(DumpError, match=r"numpy\.save"):
        Directions.load(tmp_path / name)
