"""clinometer convert: every source as the same dump, on after kills, refusals, silence in a pipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy

from clinometer import cli
from clinometer.dump import converting as module
from clinometer.dump import open_dump, write_dump
from clinometer.dump.converting import convert_dump
from clinometer.dump.directions import Directions
from clinometer.errors import DumpError
from clinometer.sources import torch_child
from clinometer.sources.pickled import Pickled
from clinometer.sources.tensors import Virtual
from clinometer.sources.window import Window

sys.path.insert(0, str(Path(__file__).parents[1] / "torture"))
import convert_kills

N, D = 501, 7


def rows(dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(N, D)).astype(dtype)


def bits(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BATCH_BYTES", 50 * D * 4)


def sources(folder: Path, phi: np.ndarray) -> dict[str, Path]:
    more = {"prompt_id": np.arange(N) // 3, "value_x": np.linspace(0, 1, N)}
    table = pa.table({"phi": pa.FixedSizeListArray.from_arrays(pa.array(phi.reshape(-1)), D), **more})
    pq.write_table(table, folder / "x.parquet", row_group_size=100)
    with pa.OSFile(str(folder / "x.arrow"), "wb") as out, pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table, 33)
    safetensors.numpy.save_file({"phi": phi, **more}, folder / "x.safetensors")
    np.savez(folder / "s.npz", phi=phi, **more)
    np.savez_compressed(folder / "c.npz", phi=phi, **more)
    (folder / "npy").mkdir()
    for name, array in {"phi": np.asfortranarray(phi.astype(phi.dtype.newbyteorder(">"))), **more}.items():
        np.save(folder / "npy" / f"{name}.npy", array)
    write_dump(folder / "own", phi, **{"prompt_ids": more["prompt_id"], "columns": {"value_x": more["value_x"]}})
    names = ("x.parquet", "x.arrow", "x.safetensors", "s.npz", "c.npz", "npy", "own")
    return {name: folder / name for name in names}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_source_gives_the_same_dump(tmp_path: Path, small_batches: None, dtype: Any) -> None:
    phi = rows(dtype)
    done: list[int] = []
    made = {}
    for name, source in sources(tmp_path, phi).items():
        target = tmp_path / f"to-{name}"
        told = convert_dump(source, target, shard_rows=200, progress=lambda a, _: done.append(a))
        assert (told.n_rows, told.tensors, told.left_out, told.rows_before) == (N, ("phi",), (), 0)
        assert done[-1] == N and done == sorted(done)
        done.clear()
        made[name] = bits(target)
        dump = open_dump(target)
        assert b"".join(s.array.tobytes() for s in dump.segments) == phi.tobytes()
    for name, held in made.items():
        assert held == made["own"], name
    want = tmp_path / "want"
    write_dump(want, phi, prompt_ids=np.arange(N) // 3, columns={"value_x": np.linspace(0, 1, N)}, shard_rows=200)
    assert made["own"] == bits(want)


def test_arrays_layers_and_everything_beside_the_rows(tmp_path: Path, small_batches: None) -> None:
    phi = rows()
    write_dump(
        tmp_path / "a", {3: phi, 4: phi[:, :2]}, prompt_ids=[f"p{k // 3}" for k in range(N)], policy="on_policy",
        columns={"judge/kind": np.arange(N, dtype=np.float32), "who": [f"m{k % 3}" for k in range(N)]},
        source={"model": "m"}, texts=[(f"p{k}", "r") for k in range(N)], pairs=([[0, 1]], [0.25]),
        directions=Directions(["u"], np.ones((1, D))),
    )  # fmt: skip
    convert_dump(tmp_path / "a", tmp_path / "b")
    assert bits(tmp_path / "a") == bits(tmp_path / "b")
    convert_dump(tmp_path / "a", tmp_path / "c", layer=4, dtype="bfloat16")
    one = open_dump(tmp_path / "c")
    assert (one.tensor, one.dtype, one.dim) == ("phi_L4", "bfloat16", 2)
    convert_dump(open_dump(tmp_path / "a", layer=3).select(prompts=["p1", "p7"]), tmp_path / "s", tensor="phi_L3")
    assert open_dump(tmp_path / "s").n_rows == 6
    told = convert_dump(phi, tmp_path / "d", prompt_ids=np.arange(N), columns={"value_x": np.arange(N)})
    assert told.columns == ("prompt_id", "value_x") and open_dump(tmp_path / "d").n_prompts == N
    safetensors.numpy.save_file({"phi": phi, "hook": np.zeros((2, 2)), "raw": phi * 2}, tmp_path / "x.safetensors")
    assert convert_dump(tmp_path / "x.safetensors", tmp_path / "e").left_out == ("hook", "raw")


def test_hidden_layers_of_a_dataset_keep_their_numbers(tmp_path: Path) -> None:
    lists = pa.FixedSizeListArray.from_arrays(pa.array(rows(np.float16).reshape(-1).view(np.int16)), D)
    pq.write_table(pa.table({"hidden_3": lists, "hidden_12": lists}), tmp_path / "x.parquet")
    told = convert_dump(tmp_path / "x.parquet", tmp_path / "d", half_bits="float16")
    assert told.tensors == ("hidden_3_L3", "hidden_12_L12")
    np.testing.assert_array_equal(open_dump(tmp_path / "d", layer=12).read(0, N), rows(np.float16).astype(np.float32))


class Stopped(Exception):
    pass


@pytest.mark.parametrize("stop", [1, 4, 7, 10])
def test_a_stopped_conversion_goes_on(tmp_path: Path, small_batches: None, stop: int) -> None:
    np.savez_compressed(tmp_path / "x.npz", phi=rows(), prompt_id=np.arange(N) // 3, who=np.full(N, "m\u00e9"))
    convert_dump(tmp_path / "x.npz", tmp_path / "whole", shard_rows=120)
    done: list[int] = []

    def tell(a: int, _: int) -> None:
        done.append(a)
        if len(done) == stop:
            raise Stopped

    with pytest.raises(Stopped):
        convert_dump(tmp_path / "x.npz", tmp_path / "d", shard_rows=120, progress=tell)
    with pytest.raises(DumpError, match="unfinished"):
        open_dump(tmp_path / "d")
    told = convert_dump(tmp_path / "x.npz", tmp_path / "d", shard_rows=120, progress=tell)
    assert told.rows_before == 50 * stop and len(done) == -(-N // 50)
    assert bits(tmp_path / "d") == bits(tmp_path / "whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d", "whole", "x.npz"]
    # the very last step may be what a kill kept from its end: once more says the same and writes nothing
    again = convert_dump(tmp_path / "x.npz", tmp_path / "d", shard_rows=120)
    assert again.rows_before == N and again.tensors == told.tensors and again.columns == told.columns


def test_another_source_or_other_options_are_refused(tmp_path: Path, small_batches: None) -> None:
    np.savez(tmp_path / "x.npz", phi=rows())

    def stop(*_: int) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        convert_dump(tmp_path / "x.npz", tmp_path / "d", progress=stop)
    with pytest.raises(DumpError, match="other options"):
        convert_dump(tmp_path / "x.npz", tmp_path / "d", dtype="float16")
    np.savez(tmp_path / "x.npz", phi=rows() + 1)
    with pytest.raises(DumpError, match="the source has changed"):
        convert_dump(tmp_path / "x.npz", tmp_path / "d")
    os.unlink(tmp_path / ".d.converting.json")
    with pytest.raises(ValueError, match="something else"):
        convert_dump(tmp_path / "x.npz", tmp_path / "d")
    write_dump(tmp_path / "o", rows() * 2)
    with pytest.raises(ValueError, match="is a dump already"):
        convert_dump(tmp_path / "x.npz", tmp_path / "o")
    with pytest.raises(DumpError, match="cannot be named 'texts'"):
        convert_dump(rows(), tmp_path / "n", columns={"texts": np.zeros(N)})
    assert not (tmp_path / "n").exists() and not (tmp_path / ".n.converting.json").exists()
    with pytest.raises(ValueError, match="shard_rows"):
        convert_dump(rows(), tmp_path / "n", shard_rows=0)
    assert not (tmp_path / ".n.converting.json").exists()
    safetensors.numpy.save_file({"phi_a": rows(), "phi_b": rows()[:5]}, tmp_path / "x.safetensors")
    with pytest.raises(DumpError, match="different numbers of rows"):
        convert_dump(tmp_path / "x.safetensors", tmp_path / "n")


def test_a_few_kills(tmp_path: Path) -> None:
    total = convert_kills.torture(kills=2, seed=int.from_bytes(os.urandom(4), "little"), rows=6000, kinds=("x.npz",))
    assert total["kills"] == 2 and not total["lost"] and not total["different"], total


# .pt


def test_pickles_through_a_process_of_their_own(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    phi = torch.randn(N, D).to(torch.bfloat16)
    held = {
        "phi": {24: phi, 25: phi.t().contiguous().t()}, "prompt_id": torch.arange(N) // 3, "model": "m",
        "value_x": [0.5] * N, "ok": torch.arange(N) % 2 == 0, "config": {"layers": [24, 25]},
    }  # fmt: skip
    torch.save(held, tmp_path / "x.pt")
    told = convert_dump(tmp_path / "x.pt", tmp_path / "d", tensor="phi.25")
    dump = open_dump(tmp_path / "d")
    assert dump.dtype == "bfloat16" and told.left_out == ("phi.24", "config.layers")
    np.testing.assert_array_equal(dump.read(0, N), phi.float().numpy())
    assert dump.n_prompts == N // 3 and dump.columns["ok"].dtype == bool
    assert dump.source == {"model": "m"}
    assert list(_held(torch, {24: phi, 25: [phi, {"a": phi}]}).tensors) == ["phi_L24", "phi_L25.0", "phi_L25.1.a"]
    assert list(_held(torch, phi).tensors) == ["phi"]
    nested: Any = phi
    for _ in range(10):
        nested = {"a": nested}
    with pytest.raises(ValueError, match="nested"):
        _held(torch, nested)
    with pytest.raises(DumpError, match="clinometer convert"):
        open_dump(tmp_path / "x.pt")


def _held(torch: Any, value: Any) -> torch_child.Held:
    out = torch_child.Held(torch)
    out.take(value)
    return out


def test_a_pickle_keeps_everything_or_names_it(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    phi = torch.randn(6, 4)
    held = {
        "acts": phi, "prompt_id": ["a", "a", "b", "b", "c", "c"], "value_x": [0.1] * 6, "layer": 3, "kl": float("nan"),
        "position": [1], "f8": phi.to(torch.float8_e4m3fn), "z": torch.zeros(6, dtype=torch.complex64),
        "pairs": [("a", "b")] * 6, "none": None,
    }  # fmt: skip
    for zipped in (True, False):  # the second is the format before torch 1.6, which no map reads
        if not zipped:
            del held["f8"]  # which torch itself cannot load from there
        torch.save(held, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
        told = convert_dump(tmp_path / "x.pt", tmp_path / f"d{zipped}")
        dump = open_dump(told.path)
        assert dump.prompt_ids is not None and dump.prompt_ids.tolist() == held["prompt_id"]
        assert dump.column("x").tolist() == [0.1] * 6 and dump.source == {"layer": 3}
        assert set(told.left_out) == {"kl", "position", "z", "pairs", *(("f8",) if zipped else ())}
        np.testing.assert_array_equal(dump.read(0, 6), phi.numpy())


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"PK\x03\x04" + bytes(64), "was cut"), (b"\x80\x04N.", "no file of torch"), (b"hello", "no file of")],
)
def test_what_torch_did_not_save_is_told_so(tmp_path: Path, data: bytes, says: str) -> None:
    pytest.importorskip("torch")
    (tmp_path / "x.pt").write_bytes(data)
    with pytest.raises(DumpError, match=says):
        convert_dump(tmp_path / "x.pt", tmp_path / "d")


@pytest.mark.parametrize("odd", [np.zeros(3), np.float64(1.5), {1}, 1 + 2j])
def test_a_refused_pickle_says_what_it_holds(tmp_path: Path, odd: Any) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"phi": torch.ones(3, 2), "odd": odd}, tmp_path / "x.pt")
    try:
        told = convert_dump(tmp_path / "x.pt", tmp_path / "d").left_out
    except DumpError as error:
        assert ("numpy" in str(error)) == (type(odd).__module__ == "numpy")
        assert "x1b" not in str(error) and "options" not in str(error)
    else:
        assert told == ("odd",)


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def test_a_hostile_pickle_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"phi": torch.ones(3, 2), "e": Evil(tmp_path / "ran")}, tmp_path / "x.pt")
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(DumpError, match="restricted loader refuses"):
        convert_dump(tmp_path / "x.pt", tmp_path / "d")
    assert not (tmp_path / "ran").exists() and not (tmp_path / "d").exists()
    (tmp_path / "x.pt").write_bytes(b"\x80\x02}q\x00.")  # a plain pickle, which torch cannot map
    with pytest.raises(DumpError, match=r"x\.pt"):
        convert_dump(tmp_path / "x.pt", tmp_path / "d")
    with pytest.raises(DumpError, match="cannot be opened"):
        convert_dump(tmp_path / "gone.pt", tmp_path / "d")


# The command


def test_the_command(tmp_path: Path, capsys: Any) -> None:
    source = sources(tmp_path, rows())["c.npz"]
    assert cli.main(["convert", str(source), str(tmp_path / "d"), "--shard-rows", "100", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["n_rows"] == N and err == ""
    assert cli.main(["convert", str(source), str(tmp_path / "e"), "--dtype", "float16"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("wrote ") and f"{N} rows of phi" in out and err == ""
    assert open_dump(tmp_path / "e").dtype == "float16"
    for argv in (
        ["convert", "gone.npz", str(tmp_path / "f")],
        ["convert", str(source), str(tmp_path / "gone" / "x" / "f")],
    ):
        code = cli.main(argv)
        out, err = capsys.readouterr()
        assert (code, out) == (2, "") or code == 0  # folders on the way are made
        assert code == 0 or (err.startswith("clinometer: ") and err.count("\n") == 1)


def test_progress_on_a_terminal_only(tmp_path: Path) -> None:
    import pty

    np.save(tmp_path / "x.npy", rows())
    code = (
        "import clinometer.dump.converting as c, clinometer.common.progress as p, sys\n"
        "import time; c._BATCH_BYTES = 2000; p.time.monotonic = iter(range(10**6)).__next__\n"
        "from clinometer.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "convert", str(tmp_path / "x.npy")]
    quiet = subprocess.run([*command, str(tmp_path / "a")], capture_output=True, text=True)
    assert quiet.returncode == 0 and quiet.stderr == "" and quiet.stdout.count("\n") == 1
    ours, theirs = pty.openpty()
    loud = subprocess.run([*command, str(tmp_path / "b")], stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert (
        loud.returncode == 0
        and "rows/s" in shown
        and "s left" in shown
        and bits(tmp_path / "a") == bits(tmp_path / "b")
    )


def test_tensors_of_a_pickle_are_mapped_where_they_lie_as_they_are(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    phi = torch.randn(N, D).to(torch.float16)
    torch.save({"phi": phi, "turned": phi.t().contiguous().t(), "half": phi[100:200]}, tmp_path / "x.pt")
    with Pickled(str(tmp_path / "x.pt")) as pickled:
        tensors = pickled.found().tensors
        placed = {n for n, t in tensors.items() if not isinstance(t, Virtual)}
        assert placed == ({"phi", "half"} if sys.platform == "linux" else set())
        for name, want in (("phi", phi), ("turned", phi), ("half", phi[100:200])):
            np.testing.assert_array_equal(tensors[name].read(), want.numpy(), name)
    with zipfile.ZipFile(tmp_path / "x.pt") as old, zipfile.ZipFile(tmp_path / "big.pt", "w") as new:
        for name in old.namelist():
            raw = old.read(name)
            raw = b"big" if name.endswith("/byteorder") else raw
            new.writestr(name, np.frombuffer(raw, "u2").byteswap().tobytes() if "/data/" in name else raw)
    with Pickled(str(tmp_path / "big.pt")) as pickled:
        np.testing.assert_array_equal(pickled.found().tensors["phi"].read(), phi.numpy())


def test_rows_that_are_turned_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    fetch = Window.fetch
    monkeypatch.setattr(Window, "fetch", lambda self, a, b: seen.append((len(self), a, b)) or fetch(self, a, b))
    np.save(tmp_path / "x.npy", rows(">f4"))
    with pytest.warns(UserWarning, match="big-endian"):
        dump = open_dump(tmp_path / "x.npy")
    seen.clear()
    dump.check()
    assert not seen
