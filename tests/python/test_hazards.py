"""What goes wrong in real runs: files that shrink, Ctrl-C, outliers, NaN rows, forks."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clinometer as cm


def run_python(script: str, *arguments: str, timeout: float = 100) -> str:
    """Standard output of a process of its own; it must end by itself and well."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def sparse_npy(path: Path, rows: int, dim: int) -> None:
    """A float32 .npy of zeros whose pages were never written: large, but almost no disk."""
    np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, dim)).flush()


TRUNCATE = """
    import os, sys, threading
    import numpy as np, clinometer as cm
    path, when, name = sys.argv[1], sys.argv[2], sys.argv[3]
    rows = 60_000
    dump = cm.open_dump(path, prompt_ids=np.arange(rows) // 8)
    started = threading.Event()
    cut = lambda: os.truncate(path, 4096 * 3)
    def progress(done, total):
        started.set()
    def later():
        started.wait()
        cut()
    if when == "before":
        cut()
    else:
        threading.Thread(target=later, daemon=True).start()
    u = np.ones((2, dump.dim))
    calls = {
        "moments": lambda: cm.moments(dump, progress=progress),
        "tilt": lambda: cm.tilt(dump, u, [1.0], progress=progress),
        "score": lambda: cm.score(dump, u, progress=progress),
    }
    try:
        for _ in range(20):
            calls[name]()
    except cm.DumpChangedError as error:
        assert path in str(error), error
        print("changed")
    small = cm.moments(np.eye(3), prompt_ids=[0, 0, 1])   # the process lives and works on
    assert np.isfinite(small.covariance).all()
    print("alive")
"""


@pytest.mark.parametrize("when", ["before", "during"])
@pytest.mark.parametrize("name", ["moments", "tilt", "score"])
def test_a_file_that_shrinks_is_an_error_and_not_a_crash(tmp_path: Path, when: str, name: str) -> None:
    path = tmp_path / "rows.npy"
    sparse_npy(path, 60_000, 512)
    assert run_python(TRUNCATE, str(path), when, name).split() == ["changed", "alive"]


INTERRUPT = """
    import os, signal, sys, threading, time
    import numpy as np, clinometer as cm
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs have it ignored
    rng = np.random.default_rng(0)
    name = sys.argv[1]
    if name == "moments":
        phi = rng.standard_normal((40_000, 2048), dtype=np.float32)
        call = lambda: cm.moments(phi, prompt_ids=np.arange(len(phi)) // 16)
    elif name == "tilt":
        n = 400_000
        scores = cm.Scores(rng.standard_normal((n, 4)), prompt_ids=np.arange(n) // 16)
        values = rng.standard_normal((n, 3))
        call = lambda: cm.tilt(scores, None, np.geomspace(0.1, 10, 12), values)
    else:
        scores = cm.Scores(rng.standard_normal((600_000, 3)), prompt_ids=np.arange(600_000) // 16)
        call = lambda: cm.tilt(scores, None)
    sent = []
    def stop():
        time.sleep(1.0)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=stop, daemon=True).start()
    try:
        while True:
            call()
    except KeyboardInterrupt:
        print(time.monotonic() - sent[0])
"""


@pytest.mark.parametrize("name", ["moments", "tilt", "kl"])
def test_interrupt_ends_a_long_pass_at_once(name: str) -> None:
    waits = []
    for _ in range(3):  # other processes may hold the CPUs: the best of three is the program's own doing
        waits.append(float(run_python(INTERRUPT, name)))
        if waits[-1] < 0.5:
            return
    pytest.fail(f"Ctrl-C took {waits} s")


def test_after_a_fork_the_passes_still_work() -> None:
    out = run_python("""
        import os, sys
        import numpy as np, clinometer as cm
        rng = np.random.default_rng(0)
        phi, ids = rng.normal(size=(40_000, 32)).astype(np.float32), np.arange(40_000) // 8
        before = cm.moments(phi, prompt_ids=ids, n_threads=4).covariance
        sys.stdout.flush()
        child = os.fork()
        after = cm.moments(phi, prompt_ids=ids, n_threads=4).covariance
        if child == 0:
            os._exit(0 if (after == before).all() else 1)
        print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), (after == before).all())
    """)
    assert out.split() == ["child", "0", "True"]


def test_importing_needs_numpy_alone() -> None:
    out = run_python("""
        import sys, clinometer, numpy as np
        clinometer.score(np.eye(2), [[1.0, 2.0]], prompt_ids=[0, 0])
        print([m for m in ("scipy", "torch", "pandas", "matplotlib", "ml_dtypes") if m in sys.modules])
    """)
    assert out.strip() == "[]"


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    return (
        rng.normal(size=(60, 5)).astype(np.float32),
        np.arange(60) // 6,
        rng.normal(size=(2, 5)),
        rng.normal(size=60),
    )


@pytest.mark.parametrize("size", [1e20, 1e30, -1e36])
@pytest.mark.parametrize("precision", ["mixed", "double"])
def test_one_huge_row_neither_overflows_nor_spoils_the_other_prompts(size: float, precision: str) -> None:
    phi, ids, u, values = data()
    phi[20] *= np.float32(size)
    x = phi.astype(float)
    want = cm.reference.moments(x, ids)["covariance"]
    got = cm.moments(phi, prompt_ids=ids, precision=precision)
    assert got.covariance is not None
    np.testing.assert_allclose(got.covariance, want, rtol=1e-6)
    projected = cm.covariance_projection(phi, u, prompt_ids=ids, precision=precision)
    np.testing.assert_allclose(projected, u @ want, rtol=1e-5, atol=1e-6 * np.abs(want).max())
    calm = ids != ids[20]
    scores = cm.score(phi, u, prompt_ids=ids, precision=precision)
    np.testing.assert_allclose(scores[calm], x[calm] @ u.T, rtol=1e-5, atol=1e-5)
    tilt = cm.tilt(phi, u, [1.0], values, prompt_ids=ids, precision=precision)
    assert np.isfinite(tilt.kl).all() and np.isfinite(tilt.gain).all() and np.isfinite(tilt.gain_se).all()


@pytest.mark.parametrize("far", [1e6, 1e20, 1e100])
def test_a_row_that_scores_far_above_wins_its_prompt(far: float) -> None:
    _, ids, _, values = data()
    scores = np.random.default_rng(3).normal(size=60)
    scores[20] = far
    want = cm.reference.tilt(scores, [1.0], values, ids)["gain"]
    for precision, allowed in (("double", 1e-11), ("mixed", 1e-7)):
        got = cm.tilt(cm.Scores(scores[:, None], prompt_ids=ids), None, [1.0], values, precision=precision)
        np.testing.assert_allclose(got.gain, want, rtol=0, atol=allowed)


@pytest.mark.parametrize("far", [1e10, 1e20])
def test_a_row_that_scores_far_below_leaves_the_others_their_differences(far: float) -> None:
    _, ids, _, values = data()
    scores = np.random.default_rng(3).normal(size=60)
    scores[20] = -far
    want = cm.reference.tilt(scores, [1.0], values, ids)["gain"]
    for precision, allowed in (("double", 1e-11), ("mixed", 1e-7)):
        got = cm.tilt(cm.Scores(scores[:, None], prompt_ids=ids), None, [1.0], values, precision=precision)
        np.testing.assert_allclose(got.gain, want, rtol=0, atol=allowed)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("precision", ["mixed", "double"])
def test_subnormal_rows_keep_their_digits(dtype: type, precision: str) -> None:
    tiny = float(np.finfo(dtype).smallest_normal) / 4
    phi = (np.random.default_rng(0).integers(-200, 200, size=(36, 5)) * (tiny / 64)).astype(dtype)
    assert (np.abs(phi) < np.finfo(dtype).smallest_normal).mean() > 0.2
    ids = np.arange(36) // 6
    u = np.ones((1, 5)) / np.abs(phi).astype(float).max()
    scores = phi.astype(float) @ u.T
    np.testing.assert_allclose(cm.score(phi, u, prompt_ids=ids, precision=precision), scores, rtol=1e-5, atol=1e-6)
    got = cm.tilt(phi, u, [1.0], scores[:, 0], prompt_ids=ids, precision=precision)
    np.testing.assert_allclose(got.gain, cm.reference.tilt(scores, [1.0], scores, ids)["gain"], rtol=1e-5)


CALLS = {
    "moments": lambda dump, u, v: cm.moments(dump),
    "variances": lambda dump, u, v: cm.moments(dump, covariance=False),
    "pooled": lambda dump, u, v: cm.moments(dump, within=False),
    "score": lambda dump, u, v: cm.score(dump, u),
    "projection": lambda dump, u, v: cm.covariance_projection(dump, u),
    "cross": lambda dump, u, v: cm.cross_covariance(dump, u, v),
    "tilt": lambda dump, u, v: cm.tilt(dump, u, [1.0], v),
    "tilted_mean": lambda dump, u, v: cm.tilted_mean(dump, u, [1.0]),
    "fit": lambda dump, u, v: cm.fit_value_direction(dump, v, folds=2),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bad_row_is_named_and_counted(name: str, bad: float) -> None:
    phi, ids, u, values = data()
    phi[[17, 40, 41], 2] = bad
    dump = cm.open_dump(phi, prompt_ids=ids)
    with pytest.raises(cm.DumpError, match=r"\b3 rows .*first row 17\b"):
        CALLS[name](dump, u, values)


@pytest.mark.parametrize("name", CALLS)
def test_drop_leaves_out_whole_prompts(name: str) -> None:
    phi, ids, u, values = data()
    good = ~np.isin(ids, ids[[17, 40]])
    bad = phi.copy()
    bad[[17, 40, 41], 2] = np.nan
    assert ids[40] == ids[41]
    got = CALLS[name](cm.open_dump(bad, prompt_ids=ids, nonfinite="drop"), u, values)
    want = CALLS[name](cm.open_dump(phi[good], prompt_ids=ids[good]), u, values[good])
    if name == "score":
        assert np.isnan(got[~good]).all()
        np.testing.assert_allclose(got[good], want, rtol=1e-6)
        return
    if isinstance(want, np.ndarray):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-9)
        return
    if name != "tilted_mean":
        assert got.n_dropped == 2 and got.n_prompts == want.n_prompts and got.n_rows == want.n_rows
    for key, array in vars(want).items():
        if isinstance(array, np.ndarray) and array.dtype == float:
            np.testing.assert_allclose(getattr(got, key), array, rtol=1e-4, atol=1e-8, err_msg=key)


def test_prompt_weights_align_with_the_ids_before_any_drop() -> None:
    phi, ids, _, _ = data()
    weights = np.random.default_rng(0).random(10)
    bad = phi.copy()
    bad[20, 0] = np.nan
    good = ids != ids[20]
    got = cm.moments(cm.open_dump(bad, prompt_ids=ids, nonfinite="drop"), prompt_weights=weights)
    want = cm.moments(phi[good], prompt_ids=ids[good], prompt_weights=np.delete(weights, ids[20]))
    np.testing.assert_allclose(got.mean, want.mean, rtol=1e-6)
    np.testing.assert_allclose(got.variances, want.variances, rtol=1e-6)


def test_every_row_dropped_is_an_error() -> None:
    phi, ids, u, _ = data()
    phi[::6, 1] = np.nan
    dump = cm.open_dump(phi, prompt_ids=ids, nonfinite="drop")
    for call in (lambda: cm.moments(dump), lambda: cm.tilt(dump, u, [1.0]), lambda: cm.score(dump, u)):
        with pytest.raises(ValueError, match="no rows"):
            call()


def test_a_dump_kept_with_nan_is_for_reading_only() -> None:
    phi, ids, u, values = data()
    phi[17, 2] = np.nan
    dump = cm.open_dump(phi, prompt_ids=ids, nonfinite="keep")
    assert np.isnan(dump.read(17, 18)).sum() == 1
    with pytest.raises(cm.DumpError, match="17"):
        cm.tilt(dump, u, [1.0], values)


def test_nan_in_scores_is_named() -> None:
    scores = np.zeros((12, 2))
    scores[7, 1] = np.nan
    with pytest.raises(cm.DumpError, match=r"first row 7\b"):
        cm.tilt(cm.Scores(scores, prompt_ids=np.arange(12) // 3), None, [1.0])


@pytest.mark.parametrize("name", CALLS)
def test_inputs_are_never_modified(name: str) -> None:
    phi, ids, u, values = data()
    values[3] = np.nan
    kept = [a.copy() for a in (phi, ids, u, values)]
    for a in (phi, ids, u, values):
        a.flags.writeable = False
    CALLS[name](cm.open_dump(phi, prompt_ids=ids), u, values)
    for a, b in zip((phi, ids, u, values), kept, strict=True):
        np.testing.assert_array_equal(a, b)


def test_no_ids_anywhere_is_one_prompt_and_a_warning() -> None:
    phi, _, u, values = data()
    with pytest.warns(UserWarning, match="no prompt ids"):
        got = cm.tilt(phi, u, [1.0], values)
    assert got.n_prompts == 1 and np.isnan(got.gain_se).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cm.score(phi, u)  # a score needs no prompts


def test_a_caller_whose_numpy_raises_on_everything_gets_the_same_numbers() -> None:
    rng = np.random.default_rng(0)
    x, ids, odd = rng.normal(size=(120, 3)), np.arange(120) // 6, np.geomspace(1e-300, 1e300, 20)
    columns = {"judge/a": x[:, 0], "value_v": x[:, 0] + x[:, 1], "value_w": (x[:, 2] > 0).astype(float)}
    dump = cm.open_dump(x, prompt_ids=ids, columns=columns, policy="on_policy")
    calls: tuple[Callable[[], Any], ...] = (
        lambda: cm.report(dump, constitutions=["judge/a"], values=["v", "w"], kl=[0.1]).to_json(),
        lambda: cm.tilt(dump, ["judge/a"], [5e-324, 1e-8, 1.0, 1e300], ["v"]).gain.tolist(),
        lambda: cm.tilt(dump, ["judge/a"], [1.0], ["v"], prompt_weights=odd).gain.tolist(),
        lambda: cm.theory.cumulants(dump, ["judge/a"], ["v"]).exact_radius.tolist(),
    )
    for call in calls:
        want = call()
        before = np.geterr()
        with np.errstate(all="raise"):
            assert call() == want
        assert np.geterr() == before
