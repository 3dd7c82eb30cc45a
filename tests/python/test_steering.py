"""Directions that other tools wrote: control vectors in GGUF, steering vectors in JSON, arrays by layer."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clinometer as cm
from clinometer.engine.fitted import load_any
from clinometer.errors import DumpError
from clinometer.files.plain import PlainFile
from clinometer.sources.gguf import read_gguf

sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))
from targets import gguf_bytes

LAYERS = {layer: np.random.default_rng(layer).normal(size=33).astype(np.float32) for layer in (0, 7, 12)}


def test_a_control_vector_that_the_gguf_library_wrote(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(tmp_path / "happy.gguf", "controlvector")
    writer.add_string("controlvector.model_hint", "mistral")
    writer.add_uint32("controlvector.layer_count", len(LAYERS))
    writer.add_array("more", ["a", "b"])
    for layer, vector in LAYERS.items():
        writer.add_tensor(f"direction.{layer}", vector)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    held = cm.Directions.load(tmp_path / "happy.gguf")
    assert held.names == ("happy_L0", "happy_L7", "happy_L12") and held.source["model_type"] == "mistral"
    for layer, vector in LAYERS.items():
        np.testing.assert_array_equal(held.for_layer(layer).vectors[0], vector)
    shifted = cm.Directions.load(tmp_path / "happy.gguf", layer_offset=1)
    np.testing.assert_array_equal(shifted.for_layer(13).vectors[0], LAYERS[12])
    assert load_any(tmp_path / "happy.gguf") == held
    theirs = {t.name: t.data for t in gguf.GGUFReader(tmp_path / "happy.gguf").tensors}
    parts, _ = read_gguf(PlainFile(tmp_path / "happy.gguf"))
    assert {n: p.read().tobytes() for n, p in parts.items()} == {n: a.tobytes() for n, a in theirs.items()}


@pytest.mark.parametrize("alignment", [32, 64])
def test_gguf_of_our_own_making(tmp_path: Path, alignment: int) -> None:
    data = gguf_bytes(LAYERS, 32)
    if alignment == 64:  # a key says so, and nothing else: the data no longer lies where it must
        key = struct.pack("<Q", 17) + b"general.alignment" + struct.pack("<II", 4, 64)
        data = data[:16] + struct.pack("<Q", 4) + key + data[24:]
    (tmp_path / "x.gguf").write_bytes(data)
    if alignment == 64:
        with pytest.raises(DumpError, match=r"x\.gguf"):
            cm.Directions.load(tmp_path / "x.gguf")
        return
    np.testing.assert_array_equal(cm.Directions.load(tmp_path / "x.gguf").for_layer(7).vectors[0], LAYERS[7])


def test_steering_vectors_in_json_and_npz(tmp_path: Path) -> None:
    """The keys that SteeringVector.save of IBM's activation-steering writes."""
    table = {
        "model_type": "llama", "directions": {k: v.tolist() for k, v in LAYERS.items()},
        "explained_variances": dict.fromkeys(LAYERS, 0.5),
    }  # fmt: skip
    (tmp_path / "x.svec").write_text(json.dumps(table))
    (tmp_path / "flat.json").write_text(json.dumps(table["directions"]))
    np.savez(tmp_path / "n.npz", **{str(k): v for k, v in LAYERS.items()})
    np.savez_compressed(tmp_path / "d.npz", **{f"direction.{k}": v[None] for k, v in LAYERS.items()})
    for name in ("x.svec", "flat.json", "n.npz", "d.npz"):
        held = cm.Directions.load(tmp_path / name)
        assert held.source["layers"] == [0, 7, 12]
        for layer, vector in LAYERS.items():
            np.testing.assert_array_equal(held.for_layer(layer).vectors[0], vector)
    assert cm.Directions.load(tmp_path / "x.svec").source["explained_variances"] == {"0": 0.5, "7": 0.5, "12": 0.5}
    with pytest.raises(ValueError, match=r"layer 3 has no directions; there are: \[0, 7, 12\]"):
        cm.Directions.load(tmp_path / "x.svec").for_layer(3)


def test_a_loaded_direction_tilts(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"3": [1.0, 0.0], "4": [0.0, 1.0]}))
    phi = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    got = cm.tilt(
        phi, cm.Directions.load(tmp_path / "x.json").for_layer(4), [1.0], phi[:, 1], prompt_ids=np.arange(40) // 8
    )
    want = cm.tilt(phi, [[0.0, 1.0]], [1.0], phi[:, 1], prompt_ids=np.arange(40) // 8)
    assert got.gain == want.gain and got.directions == ("x_L4",)


def test_a_file_of_several_layers_gives_those_of_the_dumps_own_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"3": [1.0, 0.0], "4": [0.0, 1.0]}))
    phi = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    cm.write_dump(tmp_path / "dump", {4: phi, 5: phi + 1}, prompt_ids=np.arange(40) // 8)
    dump = cm.open_dump(tmp_path / "dump", layer=4)
    with pytest.warns(UserWarning, match=r"layer 4, the dump's, are taken, not those of 3"):
        got = cm.tilt(dump, str(path), [1.0], phi[:, 1])
    assert got.directions == ("x_L4",)
    np.testing.assert_array_equal(got.gain, cm.tilt(dump, [[0.0, 1.0]], [1.0], phi[:, 1]).gain)
    with pytest.raises(ValueError, match="layer"):
        cm.tilt(cm.open_dump(tmp_path / "dump", layer=5), str(path), [1.0], phi[:, 1])
    assert len(cm.tilt(dump, str(path), [1.0], phi[:, 1], check_source=False).directions) == 2


def test_directions_by_layer() -> None:
    held = cm.Directions.from_layers(LAYERS, "kind", source={"model": "m"})
    assert held.names == ("kind_L0", "kind_L7", "kind_L12") and held.for_layer(7).source == {"model": "m", "layer": 7}
    wrong: list[Any] = [{}, {-1: [1.0]}, {"3": [1.0]}, {True: [1.0]}, {3: [[1.0], [2.0]]}, {3: [1.0], 4: [1.0, 2.0]},
                        {3: [np.nan]}, [1.0]]  # fmt: skip
    for vectors in wrong:
        with pytest.raises((ValueError, TypeError), match="vectors"):
            cm.Directions.from_layers(vectors)


BAD_JSON = {
    "list": "[]", "empty": "{}", "number": '{"3": 1.0}', "text": '{"3": ["1.0"]}', "bool": '{"3": [true]}',
    "nested": '{"3": [[1.0]]}', "nan": '{"3": [NaN]}', "null": '{"3": null}', "name": '{"kind": [1.0]}',
    "negative": '{"-1": [1.0]}', "widths": '{"3": [1.0], "4": [1.0, 2.0]}', "no width": '{"3": []}',
    "twice": '{"3": [1.0], "3": [2.0]}', "same layer": '{"3": [1.0], "03": [2.0]}', "huge": '{"3": [1e999]}',
    "inner": '{"directions": [1.0]}', "cut": '{"3": [1.0', "digits": '{"3": [' + "1" * 5000 + "]}",
    "deep": '{"3": ' + "[" * 100000 + "]" * 100000 + "}",
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_JSON)
def test_wrong_steering_files_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.svec").write_text(BAD_JSON[name])
    with pytest.raises(DumpError, match=r"x\.svec"):
        cm.Directions.load(tmp_path / "x.svec")


def test_gguf_that_lies_is_refused(tmp_path: Path) -> None:
    good = gguf_bytes({3: np.arange(4.0), 5: np.arange(4.0)})
    info = good.index(b"direction.3") + len(b"direction.3")

    def put(at: int, form: str, *values: Any) -> bytes:
        raw = struct.pack(form, *values)
        return good[:at] + raw + good[at + len(raw) :]

    twice = struct.pack("<Q", 20) + b"general.architecture" + struct.pack("<IQ", 8, 13) + b"controlvector"
    bad = {
        "magic": b"GGUX" + good[4:], "version": put(4, "<I", 1), "big-endian": put(4, ">I", 3),
        "tensors": put(8, "<Q", 2**63), "one tensor fewer": put(8, "<Q", 1), "keys": put(16, "<Q", 2**40),
        "no axis": put(info, "<I", 0), "many axes": put(info, "<I", 5), "wrap": put(info + 4, "<Q", 2**62),
        "longer": put(info + 4, "<Q", 5000), "quantised": put(info + 12, "<I", 2), "type": put(info + 12, "<I", 99),
        "offset": put(info + 16, "<Q", 32), "far": put(info + 16, "<Q", 2**63), "cut": good[:-20],
        "more": good + bytes(64),
        "name": good.replace(b"direction.5", b"direction.3"), "odd": good.replace(b"direction.5", b"dorection.5"),
        "utf8": good.replace(b"direction.5", b"direction\xff5"),
        "other": good.replace(b"controlvector", b"controlvectox", 1),
        "count": good.replace(struct.pack("<II", 4, 2), struct.pack("<II", 4, 3)),
        "key twice": good[:16] + struct.pack("<Q", 4) + twice + good[24:],
        "empty": b"", "head": good[:10],
    }  # fmt: skip
    for name, data in bad.items():
        (tmp_path / "x.gguf").write_bytes(data)
        with pytest.raises(DumpError, match=r"x\.gguf"):
            cm.Directions.load(tmp_path / "x.gguf")
            pytest.fail(name)
