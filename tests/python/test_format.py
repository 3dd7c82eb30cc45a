"""docs/format.md, checked both ways: dumps made from that page alone are read, and our dumps are read by others."""

from __future__ import annotations

import contextlib
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy

import clinometer as cm
from clinometer.cli import main
from clinometer.dump import DumpWriter, open_dump, write_dump

PAGE = Path(__file__).parents[2] / "docs" / "format.md"
BF16 = ml_dtypes.bfloat16


# A writer and a reader of the format in a few lines, from docs/format.md: safetensors and json, nothing of ours


def put(folder: Path, held: list[dict[str, np.ndarray]], /, **keys: Any) -> Path:
    """Write shards and a manifest; `keys` replace those of a minimal one, None removes."""
    folder.mkdir()
    entries, at = [], 0
    for k, tensors in enumerate(held):
        file = f"shard{k}.safetensors"
        safetensors.numpy.save_file({n: np.ascontiguousarray(a) for n, a in tensors.items()}, folder / file)
        rows = len(next(iter(tensors.values())))
        entries.append({"file": file, "row_start": at, "rows": rows})
        at += rows
    phi = held[0].get("phi")
    table: dict[str, Any] = {"format": "clinometer-dump", "version": 1, "n_rows": at, "shards": entries}
    if phi is not None:
        table |= {"d": phi.shape[1], "dtype": phi.dtype.name}
    table |= keys
    (folder / "manifest.json").write_text(json.dumps({k: v for k, v in table.items() if v is not None}))
    return folder


def get(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The manifest, and every tensor and column over all shards."""
    table = json.loads((folder / "manifest.json").read_text())
    loaded = [safetensors.numpy.load_file(folder / s["file"]) for s in table["shards"]]
    out = {}
    text = {c["name"] for c in table["columns"] if c["dtype"] == "string"}
    for name in loaded[0]:
        pieces = [t[name] for t in loaded]
        if name in text:
            rows = [bytes(r).rstrip(b"\0").decode() for p in pieces for r in p]
            out[name] = np.array(rows, dtype=str)
        else:
            out[name] = np.concatenate(pieces)
    return table, out


def rows(n: int, d: int, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(n + d).normal(size=(n, d)).astype(dtype)


def padded(*texts: str) -> np.ndarray:
    raw = [t.encode() for t in texts]
    width = max(map(len, raw), default=1)
    return np.array([list(t.ljust(width, b"\0")) for t in raw], np.uint8).reshape(len(raw), width)


READ: dict[str, Callable[[Path], Any]] = {}


def readable(make: Callable[[Path], Any]) -> Callable[[Path], Any]:
    READ[make.__name__] = make
    return make


@readable
def minimal(f: Path) -> Any:
    phi = rows(5, 3)
    d = open_dump(put(f, [{"phi": phi}]))
    assert (d.n_rows, d.dim, d.dtype, d.policy, d.prompt_ids) == (5, 3, "float32", None, None)
    return d, phi


@readable
def odd_shards_of_bfloat16(f: Path) -> Any:
    phi = rows(33, 17, BF16)
    d = open_dump(put(f, [{"phi": p} for p in np.split(phi, [1, 2, 18])]))
    assert [len(s.array) for s in d.segments] == [1, 1, 16, 15]
    return d, phi


@readable
def doubles(f: Path) -> Any:
    phi = rows(4, 2, np.float64)
    return open_dump(put(f, [{"phi": phi[:3]}, {"phi": phi[3:]}])), phi


@readable
def halves_with_nan(f: Path) -> Any:
    phi = rows(3, 2, np.float16)
    phi[1, 0] = np.nan
    return open_dump(put(f, [{"phi": phi}], requires=[]), nonfinite="keep"), phi


@readable
def no_rows(f: Path) -> Any:
    return open_dump(put(f, [{"phi": rows(0, 4)}])), rows(0, 4)


@readable
def layers(f: Path) -> Any:
    a, b = rows(6, 3, BF16), rows(6, 5)
    tensors = [
        {"name": "phi_L2", "d": 3, "dtype": "bfloat16", "layer": 2},
        {"name": "late", "d": 5, "dtype": "float32", "layer": 9},
    ]
    d = open_dump(put(f, [{"phi_L2": a, "late": b, "phi_other": b}], tensors=tensors), layer=9)
    assert d.layers == [2, 9] and set(d.extras) == {"phi_L2", "phi_other"}
    np.testing.assert_array_equal(d.select(layer=2).read(0, 6), a.astype(np.float32))
    return d, b


@readable
def columns(f: Path) -> Any:
    phi, ids = rows(6, 2), np.array([7, -3, 7, 7, -3, 2], np.int32)
    held = {
        "phi": phi,
        "prompt_id": ids,
        "value_x": np.arange(6.0),
        "judge/y": np.arange(6, dtype=np.float16),
        "ok": ids > 0,
    }
    d = open_dump(put(f, [{n: a[:4] for n, a in held.items()}, {n: a[4:] for n, a in held.items()}],
                      prompt={"grouped": False, "n_prompts": 3, "max_responses": 3}))  # fmt: skip
    assert d.n_prompts == 3 and d.prompt_ids is not None and d.prompt_ids.tolist() == ids.tolist()
    assert d.column("x").tolist() == [0, 1, 2, 3, 4, 5] and d.column("judge_y").dtype == np.float16
    assert d.column("ok").dtype == bool
    return d, phi


@readable
def strings_of_other_widths(f: Path) -> Any:
    phi = rows(3, 2)
    shards = [{"phi": phi[:2], "prompt_id": padded("a", "")}, {"phi": phi[2:], "prompt_id": padded("r\u00e9ponse")}]
    d = open_dump(put(f, shards, columns=[{"name": "prompt_id", "dtype": "string", "role": "prompt_id"}]))
    assert d.prompt_ids is not None and d.prompt_ids.tolist() == ["a", "", "r\u00e9ponse"]
    return d, phi


@readable
def unknown_keys(f: Path) -> Any:
    phi = rows(2, 2)
    d = open_dump(put(f, [{"phi": phi}], odd=[1], source={"model": "m", "mine": {"a": 1}},
                      sampling={"policy": "off_policy", "seed": 3},
                      preprocessing={"centered": True}))  # fmt: skip
    assert d.source == {"model": "m", "mine": {"a": 1}, "odd": [1]} and d.policy == "off_policy"
    assert d.sampling["seed"] == 3 and d.preprocessing == {"centered": True}
    return d, phi


@readable
def files(f: Path) -> Any:
    phi = rows(3, 2)
    put(f, [{"phi": phi}], files={"pairs": "p.safetensors", "directions": "u.safetensors", "text": "t.jsonl"})
    safetensors.numpy.save_file(
        {"chosen": np.array([0]), "rejected": np.array([2]), "prob": np.array([0.9], np.float32)}, f / "p.safetensors"
    )
    said = {"format": "clinometer-directions", "names": '["u"]', "roles": "[null]", "source": "{}"}
    safetensors.numpy.save_file({"vectors": np.eye(1, 2, dtype=np.float32)}, f / "u.safetensors", metadata=said)
    (f / "t.jsonl").write_text(
        "".join(json.dumps({"prompt": "p", "response": f"r{k}", "more": k}) + "\n" for k in range(3))
    )
    d = open_dump(f)
    assert d.pairs is not None and d.pairs["rejected"].tolist() == [2]
    assert d.directions is not None and d.directions.names == ("u",)
    assert d.texts is not None and d.texts[2] == {"prompt": "p", "response": "r2", "more": 2}
    return d, phi


@pytest.mark.parametrize("name", READ)
def test_dumps_made_from_the_page_are_read(tmp_path: Path, name: str) -> None:
    dump, phi = READ[name](tmp_path / "d")
    assert b"".join(s.array.tobytes() for s in dump.segments) == phi.tobytes()
    wide = phi if phi.dtype == np.float64 else phi.astype(np.float32)
    np.testing.assert_array_equal(dump.read(0, len(phi)), wide)


def with_shard(**change: Any) -> dict[str, Any]:
    return {"shards": [{"file": "shard0.safetensors", "row_start": 0, "rows": 4} | change]}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no format": ({"format": None}, "format"),
    "width of no tensor": (
        {"d": 3, "tensors": [{"name": "phi", "d": 2, "dtype": "float32"}]},
        "manifest.json', d: '3'",
    ),
    "dtype of no tensor": (
        {"dtype": "float16", "tensors": [{"name": "phi", "d": 2, "dtype": "float32"}]},
        "manifest.json', dtype: 'float16'",
    ),
    "other format": ({"format": "other"}, "format"),
    "no version": ({"version": None}, "version"),
    "version 2": ({"version": 2}, r"version: version 2 .*newer"),
    "version 0": ({"version": 0}, "version"),
    "version true": ({"version": True}, "version"),
    "version 1.0": ({"version": 1.0}, "version"),
    "requires": ({"requires": ["sparse"]}, "requires 'sparse'"),
    "requires text": ({"requires": "sparse"}, "requires"),
    "no rows key": ({"n_rows": None}, "n_rows"),
    "too few rows": ({"n_rows": 3}, "n_rows"),
    "too many rows": ({"n_rows": 5}, "n_rows"),
    "rows of a shard": (with_shard(rows=3) | {"n_rows": 3}, "shape"),
    "row_start": (with_shard(row_start=1), "row_start"),
    "bytes": (with_shard(bytes=1), "bytes"),
    "gone": (with_shard(file="gone.safetensors"), "gone"),
    "no shards": ({"shards": None}, "shards"),
    "shards as object": ({"shards": {}}, "shards"),
    "d": ({"d": 3}, "stated"),
    "dtype": ({"dtype": "float16"}, "stated"),
    "no d": ({"d": None}, "d"),
    "tensors": ({"tensors": [{"name": "psi", "d": 2, "dtype": "float32"}]}, "psi"),
    "tensors of another width": ({"tensors": [{"name": "phi", "d": 9, "dtype": "float32"}]}, "stated"),
    "column that is not there": ({"columns": [{"name": "x", "dtype": "int32"}]}, "'x'.*no shard"),
    "column of another dtype": ({"columns": [{"name": "value_v", "dtype": "int32"}]}, "value_v.*float64"),
    "column as string": ({"columns": [{"name": "value_v", "dtype": "string"}]}, "value_v"),
    "columns as object": ({"columns": {}}, "columns"),
    "policy": ({"sampling": {"policy": "maybe"}}, "policy"),
    "sampling": ({"sampling": [1]}, "sampling"),
    "preprocessing": ({"preprocessing": 1}, "preprocessing"),
    "source": ({"source": "x"}, "source"),
    "files": ({"files": {"text": "../t"}}, "text"),
    "files as list": ({"files": []}, "files"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_page_forbids_is_refused_by_field(tmp_path: Path, name: str) -> None:
    shard = {"phi": rows(4, 2), "value_v": np.arange(4.0)}
    open_dump(put(tmp_path / "good", [shard]))
    keys, match = REFUSED[name]
    with pytest.raises(cm.DumpError, match=match):
        open_dump(put(tmp_path / "d", [shard], **keys))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('{"format": "clinometer-dump", "format": "clinometer-dump"}', "twice"),
        ('{"n_rows": NaN}', "NaN"),
        ("[]", "object"),
        ("{", "JSON"),
        ('{"a": ' + "[" * 100000, "nested|JSON"),
        ('{"n_rows": ' + "9" * 5000 + "}", "digits"),
    ],
)
def test_manifests_that_are_no_strict_json(tmp_path: Path, text: str, match: str) -> None:
    put(tmp_path / "d", [{"phi": rows(1, 1)}])
    (tmp_path / "d" / "manifest.json").write_text(text)
    with pytest.raises(cm.DumpError, match=match):
        open_dump(tmp_path / "d")


@pytest.mark.parametrize(
    ("second", "match"),
    [
        ({"phi": rows(2, 3), "x": np.ones(2)}, "width"),
        ({"phi": rows(2, 2, np.float16), "x": np.ones(2)}, "dtype"),
        ({"phi": rows(2, 2)}, "every shard"),
        ({"phi": rows(2, 2), "x": np.ones(2), "y": np.ones(2)}, "every shard"),
        ({"phi": rows(2, 2), "x": np.ones(2, np.float32)}, "dtype"),
    ],
)
def test_shards_that_do_not_fit_each_other(tmp_path: Path, second: Any, match: str) -> None:
    with pytest.raises(cm.DumpError, match=match):
        open_dump(put(tmp_path / "d", [{"phi": rows(2, 2), "x": np.ones(2)}, second]))


# Ours, read by others


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("way", ["call", "writer"])
def test_our_dumps_are_read_by_the_library(tmp_path: Path, kind: str, way: str) -> None:
    dtype = BF16 if kind == "bfloat16" else np.dtype(kind)
    phi, ids = {3: rows(17, 7, dtype), 5: rows(17, 1, dtype)}, np.array([f"p{k // 4}" for k in range(17)])
    held = {"judge/k": np.arange(17, dtype=np.float32), "n_tokens": np.arange(17), "ok": np.arange(17) > 3}
    if way == "call":
        write_dump(tmp_path / "d", phi, prompt_ids=ids, columns=held, shard_rows=5)
    else:
        with DumpWriter(tmp_path / "d", dim={3: 7, 5: 1}, dtype=kind, shard_rows=5) as out:
            for low in range(0, 17, 3):
                cut = slice(low, low + 3)
                out.append({k: p[cut] for k, p in phi.items()}, ids[cut], **{n: c[cut] for n, c in held.items()})
    table, got = get(tmp_path / "d")
    assert table["n_rows"] == 17 and [s["rows"] for s in table["shards"]] == [5, 5, 5, 2]
    assert all((tmp_path / "d" / s["file"]).stat().st_size == s["bytes"] for s in table["shards"])
    for layer, p in phi.items():
        assert got[f"phi_L{layer}"].dtype == dtype and got[f"phi_L{layer}"].tobytes() == p.tobytes()
    assert got["prompt_id"].tolist() == ids.tolist()
    for name, column in held.items():
        assert got[name].dtype == column.dtype and got[name].tolist() == column.tolist()
    for shard in table["shards"]:
        with safetensors.safe_open(tmp_path / "d" / shard["file"], "np") as file:
            assert set(file.keys()) == set(got)


def test_the_example_of_the_page_is_what_the_command_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = PAGE.read_text()
    blocks = {kind: re.search(rf"```{kind}\n(.*?)```", page, re.S) for kind in ("python", "json")}
    assert blocks["python"] is not None and blocks["json"] is not None
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks["python"][1], str(PAGE), "exec"), {})
    assert json.loads((tmp_path / "example" / "manifest.json").read_text()) == json.loads(blocks["json"][1])
    assert open_dump(tmp_path / "example").texts is not None


# Names from outside


HOSTILE = [
    "\x1b]0;owned\x07", "\x1b[2J", "a\nclinometer: all is well", "a\rb", "\x00", "\x7f", "\x9b31m", "\u202egnp.exe",
    "\u2066x", "\u200b", "\u2028", "\ud800", "\ufeff", "=cmd()", "</script>", "%s%n", "{0.__class__}", "\U000e0041",
]  # fmt: skip


def said(call: Callable[[], Any]) -> str:
    """Error and warnings of a call that may fail."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            call()
            error = ""
        except (ValueError, TypeError, OSError) as exc:
            error = str(exc)
    return error + "".join(str(w.message) for w in caught)


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_are_harmless_in_every_message(tmp_path: Path, name: str, capsys: Any) -> None:
    usable = "\0" not in name and "\ud800" not in name
    phi = rows(4, 2)
    messages = []
    file = tmp_path / "x.safetensors"
    head = {
        n: {"dtype": "F32", "shape": [4, 2], "data_offsets": [32 * k, 32 * k + 32]}
        for k, n in enumerate((f"phi{name}", "phi2"))
    }
    head[f"value_{name}"] = {"dtype": "F32", "shape": [4], "data_offsets": [64, 80]}
    raw = json.dumps(head).encode()
    file.write_bytes(len(raw).to_bytes(8, "little") + raw + bytes(80))
    messages += [
        said(lambda: open_dump(file)),
        said(lambda: open_dump(file, tensor=name)),
        said(lambda: open_dump(file, layer=3)),
    ]
    put(tmp_path / "m", [{"phi": phi}], **{"requires": [name]})
    messages.append(said(lambda: open_dump(tmp_path / "m")))
    for k, keys in enumerate(({"dtype": name}, {"format": name}, {"columns": [{"name": name, "dtype": name}]},
                              {"sampling": {"policy": name}}, {"files": {"text": name}}, {"files": {name: name}},
                              {"tensors": [{"name": name}]}, with_shard(file=name))):  # fmt: skip
        put(tmp_path / f"m{k}", [{"phi": phi}], **keys)
        messages.append(said(lambda k=k: open_dump(tmp_path / f"m{k}")))
    ids = [name, name, "b", "b"]
    dump = open_dump(phi, prompt_ids=np.array(ids) if usable else [1, 1, 2, 2], columns={f"judge/{name}": [1, 2, 3, 4]})
    messages += [said(lambda: dump.column(name + "x")), said(lambda: dump.select(prompts=[name + "x"]))]
    messages += [said(lambda: cm.score(dump, [name + "x"])), repr(dump)]
    messages += [said(lambda: write_dump(tmp_path / "w", {name: phi}, columns={name: [1, 2, 3, 4]}))]
    messages += [
        said(lambda: write_dump(tmp_path / "w", phi, policy=name)),
        said(lambda: write_dump(tmp_path / "w", phi, dtype=name)),
    ]
    messages += [
        said(lambda: DumpWriter(tmp_path / "v", dim={8: 2}, dtype=name)),
        said(lambda: cm.Directions([name, name], phi[:2])),
    ]
    with (
        contextlib.suppress(ValueError),
        DumpWriter(tmp_path / "v", dim=2, dtype="float32", source={name: name}) as out,
    ):
        messages += [
            said(lambda: out.append(phi, [1] * 4, **{name: [1] * 3})),
            said(lambda: out.append(phi, [1] * 4, **{name: [1j] * 4})),
        ]
        out.append(phi, [1] * 4)
        messages.append(said(lambda: out.append(phi, [1] * 4, **{name + "x": [1] * 4})))
    messages.append(said(lambda: DumpWriter(tmp_path / "v", dim=2, dtype="float32", source={"model": name})))
    if usable:
        path = tmp_path / f"f{name.replace('/', '_')}.safetensors"
        messages += [
            said(lambda: open_dump(path)),
            said(lambda: cm.Directions.load(path)),
            said(lambda: cm.Fold.load(path)),
        ]
        path.write_bytes(file.read_bytes())
        messages += [
            said(lambda: open_dump(path)),
            said(lambda: cm.Fold.load(path)),
            repr(open_dump(path, tensor="phi2")),
            said(lambda: open_dump(path, tensor="phi2").column("x")),
        ]
        files = path.with_suffix(".npy")
        np.save(files, np.asfortranarray(rows(4, 3)))
        messages += [
            said(lambda: open_dump(files)),
            said(lambda: cm.score(open_dump(np.full((2, 2), np.nan)), [[1, 0]])),
        ]
        main(["inspect", str(path)])
        main(["inspect", str(path), "--tensor", "phi2", "--prompt-ids", name])
        main(["score", str(path), "--tensor", "phi2", "--constitutions", name])
        shown = capsys.readouterr()
        lines = (shown.out + shown.err).split("\n")
        assert len(lines) > 10 and not any(line.startswith("clinometer: all is well") for line in lines)
        messages += lines
    assert all(m.isprintable() for m in messages), [m for m in messages if not m.isprintable()]
    assert sum(bool(m) for m in messages) > 15
