"""Room for large arrays: reserved before it is used, from the file where it lies in one, and nothing left of a kill."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clinometer as cm
from clinometer.common import memory as room
from clinometer.engine import passes
from clinometer.files import atomic as leftovers
from clinometer.files.atomic import new_file

N, K = 4003, 5


@pytest.fixture
def world() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 7)).astype(np.float32)
    return {"x": x, "u": rng.normal(size=(K, 7)), "v": x[:, 0] + rng.normal(size=N), "ids": np.arange(N) // 6}


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_no_room_is_said_before_work(world: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "KEPT_BYTES", 1 << 10)
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match=f"no room for {8 * N * K:,} bytes of kept scores") as caught:
        cm.tilt(world["x"], world["u"], [1.0], world["v"], prompt_ids=world["ids"])
    assert caught.value.errno == errno.ENOSPC and caught.value.filename


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_no_room_is_said_where_bytes_must_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    with open("/dev/full", "r+b", buffering=0) as file, pytest.raises(OSError, match="no room for 8,388,608 bytes"):
        room.reserve(file, 0, 1 << 23, "scores")
    with room.reserved(10_000, "scores") as file:
        assert os.fstat(file.fileno()).st_size == 10_000 and file.read() == bytes(10_000)


@pytest.mark.parametrize("betas", [[0.5, 2.0], None])
def test_scores_in_a_file_give_the_same_bits(
    betas: Any, world: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def found() -> list[Any]:
        kw = {"prompt_ids": world["ids"]}
        tilt = cm.tilt(world["x"], world["u"], betas, world["v"], **kw)
        tiny = cm.tilt(world["x"], world["u"] * 1e-130, None, world["v"], **kw)
        return [
            *tilt.to_dict().values(),
            tiny.gain,
            cm.cross_covariance(world["x"], world["u"], world["v"], **kw).value,
        ]

    want = found()
    monkeypatch.setattr(passes, "KEPT_BYTES", 1 << 10)
    monkeypatch.setattr(room, "STRIP", 1 << 12)
    for a, b in zip(found(), want, strict=True):
        np.testing.assert_array_equal(a, b)


def test_tables_keep_their_place() -> None:
    held, filed = np.arange(12.0).reshape(4, 3), room.empty((4, 3), np.float64, -1, "scores")
    filed[:] = held
    for table, kind in ((held, np.ndarray), (filed, np.memmap)):
        some = room.columns(table, np.array([2, 0]))
        assert type(some) is kind and some.flags.c_contiguous
        np.testing.assert_array_equal(some, held[:, [2, 0]])
        assert room.columns(table, np.arange(3)) is table


def test_a_screen_and_a_game_in_files(monkeypatch: pytest.MonkeyPatch) -> None:
    from clinometer import lp
    from clinometer.lp import candidates
    from clinometer.theory import screening

    world = cm.simulate(n_prompts=60, n_responses=6, dim=4, random_state=0)
    u = np.random.default_rng(1).normal(size=(500, 4))

    def blocks() -> Any:
        return iter(np.array_split(u, 7))

    want = lp.game(world, u, "s").table, cm.theory.screen(world, blocks, "s").status
    monkeypatch.setattr(candidates, "MEMORY", 100)
    monkeypatch.setattr(screening, "MEMORY", 100)
    got = lp.game(world, blocks, "s").table, cm.theory.screen(world, blocks, "s").status
    np.testing.assert_allclose(got[0], want[0], rtol=1e-6)
    np.testing.assert_array_equal(got[1], want[1])


def test_more_memory_than_there_is_is_refused_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_available", lambda: 1 << 30)
    wide = np.zeros((2, 1 << 16), np.float16)
    with pytest.raises(MemoryError, match=r"65,536 columns wants 96\.0 GiB of memory, 1\.0 are left; covariance=False"):
        cm.moments(wide, prompt_ids=[0, 0])
    assert cm.moments(wide, prompt_ids=[0, 0], covariance=False).covariance is None


@pytest.mark.parametrize("fit", ["logistic", "lda", "generation"])
def test_fits_that_want_a_matrix_for_each_fold_say_so_first(fit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_available", lambda: 1 << 30)
    rng = np.random.default_rng(0)
    wide, ids, y = rng.normal(size=(60, 1 << 16)).astype(np.float32), np.arange(60) // 6, rng.normal(size=60)
    with pytest.raises(
        MemoryError, match=r"columns in 5 folds wants 320\.0 GiB of memory, 1\.0 are left; method='ridge'"
    ):
        if fit == "generation":
            cm.fit_generation_direction(wide, y, prompt_ids=ids)
        else:
            cm.fit_value_direction(wide, y > 0, method=fit, prompt_ids=ids)


LIMITED = """
import resource, sys, warnings
import numpy as np, clinometer as cm
from clinometer.engine import passes
warnings.simplefilter("ignore")
passes.KEPT_BYTES = 1 << 10
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
try:
    cm.tilt(np.ones((20_000, 2)), np.eye(2), [1.0], np.arange(20_000.0), prompt_ids=np.arange(20_000) // 4)
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="signals of limits differ")
def test_a_limit_on_the_size_of_files_is_said_as_no_room(tmp_path: Path) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", LIMITED], env=env, capture_output=True, text=True, check=True)
    assert "no room for 320,000 bytes of kept scores" in done.stdout and "File too large" in done.stdout
    assert not list(tmp_path.iterdir())


KILLED = """
import os, signal, warnings
import numpy as np, clinometer as cm
from clinometer.engine import passes
warnings.simplefilter("ignore")
passes.KEPT_BYTES = 1 << 10
kill = lambda done, total: os.kill(os.getpid(), signal.SIGKILL)
cm.tilt(np.ones((20_000, 2)), np.eye(2), [1.0], np.arange(20_000.0), prompt_ids=np.arange(20_000) // 4, progress=kill)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 here")
def test_kept_scores_of_the_killed_leave_no_file(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED], env={**os.environ, "TMPDIR": str(tmp_path)})
    assert done.returncode == -signal.SIGKILL and not list(tmp_path.iterdir())


def test_what_the_machine_says_of_its_memory() -> None:
    left = room._available()
    assert left is None or 0 <= left < 1 << 60
    if sys.platform.startswith("linux"):
        assert left is not None


WRITER = """
import sys, time
from clinometer.files.atomic import new_file, new_folder
kind = new_file if sys.argv[1] == "file" else new_folder
with kind(sys.argv[2]) as out:
    print("half", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(leftovers.fcntl is None, reason="no locks here")
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_halves_of_the_killed_are_swept_and_those_of_the_living_stay(kind: str, tmp_path: Path) -> None:
    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WRITER, kind, str(tmp_path / "x")]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None and child.stdout.readline() == "half\n"
        return child

    dead, living = start(), start()
    dead.send_signal(signal.SIGKILL)
    dead.wait()
    assert len(list(tmp_path.iterdir())) == 2
    (tmp_path / f".y.{dead.pid}.tmp").write_text("of somebody else")
    with new_file(tmp_path / "z") as out:
        out.write(b"whole")
    left = sorted(p.name for p in tmp_path.iterdir())
    assert len(left) == 3 and f".x.{living.pid}." in left[0] and left[1:] == [f".y.{dead.pid}.tmp", "z"]
    living.kill()
    for child in (dead, living):
        child.communicate()
