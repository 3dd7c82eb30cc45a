"""Shards on the grid of leaves merge to the bits of one machine's pass; every other cut is refused."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import clinometer as cm
from clinometer import _core, cli
from clinometer.stream.shards import shard

RNG = np.random.default_rng(8)
LEAF = _core.LEAF_ROWS
# one prompt longer than a leaf at the start, one that covers two leaves and more in the middle
SIZES = np.concatenate([[3, 9500], RNG.integers(1, 40, 400), [20000, 5], RNG.integers(1, 30, 300)])
IDS = np.array([f"é{i}" for i in range(len(SIZES))])[np.repeat(np.arange(len(SIZES)), SIZES)]
N = len(IDS)
LEAVES = -(-N // LEAF)
PHI = (RNG.normal(size=(N, 5)) * 3 + 40).astype(np.float32)
U = RNG.normal(size=(2, 5))
COLUMNS = {
    "v": np.where(RNG.random(N) < 0.05, np.nan, RNG.normal(size=N)),
    "w": (RNG.random(N) < 0.3) * 1.0,
    "judge": RNG.normal(size=N),
    "logprob": RNG.normal(size=N),
    "count": RNG.integers(1, 4, N).astype(float),
}
SETS: dict[str, Callable[[], list[Any]]] = {
    "moments": lambda: [cm.stat.Moments()],
    "moments ddof 1": lambda: [cm.stat.Moments(ddof=1)],
    "variances": lambda: [cm.stat.Moments(covariance=False)],
    "projection": lambda: [cm.stat.CovarianceProjection(U)],
    "cross": lambda: [cm.stat.CrossCovariance(U, ["v", "-w"])],
    "tilt": lambda: [cm.stat.Tilt(U, ["v", "w"], betas=[0.3, 2.0, np.inf])],
    "judge": lambda: [cm.stat.Tilt(["judge", "-w"], "v", betas=[1.0])],
    "all": lambda: [cm.stat.Moments(), cm.stat.CovarianceProjection(U), cm.stat.CrossCovariance(U, "v"),
                    cm.stat.Tilt(cm.Directions(["a", "b"], U), "w", betas=[0.5])],
}  # fmt: skip


def arrays(results: Any) -> dict[str, np.ndarray]:
    """Every array of one or several results, by place and name."""
    out: dict[str, np.ndarray] = {}
    for i, r in enumerate(results if isinstance(results, list) else [results]):
        held = {"projection": r} if isinstance(r, np.ndarray) else {**vars(r), **getattr(r, "arrays", {})}
        out |= {f"{i} {n}": a for n, a in held.items() if isinstance(a, np.ndarray)}
    return out


def same_bits(got: Any, want: Any) -> None:
    a, b = arrays(got), arrays(want)
    assert a.keys() == b.keys() and a
    for name, array in b.items():
        np.testing.assert_array_equal(a[name], array, err_msg=name)


def part(make: Callable[[], list[Any]], begin: int, end: int, step: int = 3000, **options: Any) -> cm.Fold:
    """Rows [begin, end) fed in uneven blocks."""
    fold = cm.Fold(*make(), dim=5, start_row=begin, **options)
    for a in range(begin, end, step):
        b = min(a + step, end)
        fold.absorb(PHI[a:b], IDS[a:b], **{n: c[a:b] for n, c in COLUMNS.items()})
    return fold


def borders(count: int) -> list[int]:
    return [min(LEAVES * i // count * LEAF, N) for i in range(count + 1)]


def dump() -> cm.Dump:
    return cm.open_dump(PHI, prompt_ids=IDS, columns=COLUMNS)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_shards_of_fed_rows_give_one_machines_bits(name: str, count: int) -> None:
    assert LEAVES > 5
    want = cm.scan(dump(), *SETS[name]())
    ends = borders(count)
    parts = [part(SETS[name], a, b) for a, b in itertools.pairwise(ends)]
    got = cm.merge(*parts)
    same_bits(got, want if len(want) > 1 else want[0])
    for a, b in zip(got if isinstance(got, list) else [got], want, strict=True):
        if not isinstance(b, np.ndarray):
            assert (a.n_rows, a.n_prompts) == (b.n_rows, b.n_prompts) == (N, len(SIZES))


@pytest.mark.parametrize("base", ["counts", "logprob", "reweight"])
def test_base_weights_of_a_prompt_on_a_border(base: str) -> None:
    options: dict[str, Any] = {"base": base}
    columns = COLUMNS | {"proposal_logprob": COLUMNS["logprob"] * 0.5}
    source = cm.open_dump(PHI, prompt_ids=IDS, columns=columns)
    statistics = cm.stat.Tilt(U, "v", betas=[0.7])
    folds = []
    for a, b in itertools.pairwise(borders(3)):
        folds.append(cm.Fold(statistics, dim=5, start_row=a, **options))
        folds[-1].absorb(PHI[a:b], IDS[a:b], **{n: c[a:b] for n, c in columns.items()})
    same_bits(cm.merge(*folds), cm.scan(source, statistics, **options)[0])


def every_order(parts: list[Any], merge: Callable[[Any, Any], Any]) -> list[Any]:
    """Results of all ways to bracket an ordered product; `parts` makes a fresh fold at each call."""
    if len(parts) == 1:
        return [parts[0]]
    out = []
    for at in range(1, len(parts)):
        for left in every_order(parts[:at], merge):
            for right in every_order(parts[at:], merge):
                out.append(lambda left=left, right=right: merge(left(), right()))
    return out


@pytest.mark.parametrize("source", ["rows", "dump"])
def test_any_association_gives_the_same_bits(source: str, tmp_path: Path) -> None:
    make = SETS["all"]
    want = cm.scan(dump(), *make())
    ends = borders(5) if source == "dump" else [0, LEAF, 2 * LEAF, 3 * LEAF, 5 * LEAF, N]
    files = []
    for i, (a, b) in enumerate(itertools.pairwise(ends)):
        one = part(make, a, b) if source == "rows" else shard(dump(), i + 1, 5, *make())
        files.append(tmp_path / f"{i}.state")
        one.save(files[-1])
    parts = [lambda f=f: cm.Fold(*make(), dim=5).load(f) for f in files]
    ways = every_order(parts, lambda a, b: a.merge(b))
    assert len(ways) == 14  # Catalan
    for way in ways[:: 1 if source == "dump" else 2]:
        same_bits(way().finish(), want)


def test_a_border_inside_prompts_longer_than_shards() -> None:
    """Every shard is one leaf: several lie wholly inside one prompt and can fold nothing alone."""
    ends = [*range(0, N, LEAF), N]
    folds = [part(SETS["tilt"], a, b) for a, b in itertools.pairwise(ends)]
    assert sum(f.open_left for f in folds) > 2
    same_bits(cm.merge(*folds), cm.scan(dump(), *SETS["tilt"]())[0])


def test_a_fold_goes_on_after_finish_save_and_merge(tmp_path: Path) -> None:
    make, ends = SETS["all"], borders(3)
    first, second, third = (part(make, a, b) for a, b in itertools.pairwise(ends))
    first.finish()
    first.save(tmp_path / "first")
    second.finish()
    first.merge(second)
    first.finish()
    a, b = ends[2], ends[3]
    again = part(make, a, a + 100)
    again.save(tmp_path / "again")
    again.absorb(PHI[a + 100 : b], IDS[a + 100 : b], **{n: c[a + 100 : b] for n, c in COLUMNS.items()})
    want = cm.scan(dump(), *make())
    same_bits(first.merge(again).finish(), want)
    assert third.n_rows == ends[3] - ends[2]
    loaded = cm.Fold(*make(), dim=5).load(tmp_path / "first")
    loaded.absorb(PHI[ends[1] :], IDS[ends[1] :], **{n: c[ends[1] :] for n, c in COLUMNS.items()})
    same_bits(loaded.finish(), want)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_rows_that_wait_keep_their_dtype(dtype: Any, tmp_path: Path) -> None:
    phi = PHI.astype(dtype)
    want = cm.scan(cm.open_dump(phi, prompt_ids=IDS), cm.stat.Moments(), precision="double")[0]
    files = []
    for a, b in itertools.pairwise(borders(2)):
        fold = cm.Fold(cm.stat.Moments(), dim=5, start_row=a, precision="double")
        fold.absorb(phi[a:b], IDS[a:b])
        fold.save(tmp_path / str(a))
        files.append(tmp_path / str(a))
    same_bits(cm.merge(*files), want)


def test_results_carry_their_state() -> None:
    a, b = (part(SETS["tilt"], *e).finish()[0] for e in itertools.pairwise(borders(2)))
    assert isinstance(a.state, bytes)
    same_bits(cm.merge(a, b), cm.scan(dump(), *SETS["tilt"]())[0])
    with pytest.raises(ValueError, match="no state"):
        cm.merge(cm.moments(PHI[:9], prompt_ids=IDS[:9]))


@pytest.mark.parametrize("name", ["all", "judge"])
@pytest.mark.parametrize("count", [2, 3, 5, 40])
def test_shards_of_a_dump_give_one_machines_bits(name: str, count: int, tmp_path: Path) -> None:
    order = np.random.default_rng(2).permutation(N)  # prompts scattered over the dump
    source = cm.open_dump(PHI[order], prompt_ids=IDS[order], columns={n: c[order] for n, c in COLUMNS.items()})
    clusters = np.random.default_rng(1).integers(0, 60, len(SIZES))
    files = []
    for i in range(1, count + 1):
        one = shard(source, i, count, *SETS[name](), clusters=clusters, n_threads=1 + i % 2)
        files.append(tmp_path / f"{i}")
        one.save(files[-1])
    got = cm.merge(*files)
    want = cm.scan(source, *SETS[name](), clusters=clusters)
    same_bits(got, want if len(want) > 1 else want[0])


def test_a_shards_tilt_is_the_tilt() -> None:
    got = cm.merge(*(shard(dump(), i, 3, *SETS["tilt"]()) for i in (1, 2, 3)))
    want = cm.tilt(dump(), U, [0.3, 2.0, np.inf], ["v", "w"])
    for name in ("gain", "gain_se", "kl", "ess", "win_rate", "first_order_unbiased", "baseline"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name), err_msg=name)
    assert got.n_unlabelled.tolist() == want.n_unlabelled.tolist()


@pytest.mark.parametrize("start", [1, 8191, 8193, -8192])
def test_a_start_off_the_grid_is_refused(start: int) -> None:
    with pytest.raises(ValueError, match=rf"start_row is {start}, wanted a multiple of 8192; the nearest are"):
        cm.Fold(cm.stat.Moments(), dim=5, start_row=start)
    with pytest.raises(TypeError, match="start_row"):
        cm.Fold(cm.stat.Moments(), dim=5, start_row="0")  # type: ignore[arg-type]


def test_wrong_neighbours_are_refused() -> None:
    a, b, c = (lambda e=e: part(SETS["moments"], *e) for e in itertools.pairwise(borders(3)))
    for first, second, match in [
        (b, a, "out of order"), (a, c, "gap"), (a, a, "overlap"),
        (lambda: part(SETS["moments"], 0, borders(3)[1] - 5), b, "gap"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=match):
            first().merge(second())
    with pytest.raises(ValueError, match="the first begins at row"):
        cm.merge(b(), c())
    unplaced = cm.Fold(cm.stat.Moments(), dim=5)
    for first, second in [(unplaced, b()), (a(), unplaced)]:
        with pytest.raises(ValueError, match="start_row"):
            first.merge(second)
    with pytest.raises(ValueError, match="at least one"):
        cm.merge()
    with pytest.raises(TypeError, match="states holds int"):
        cm.merge(3)


def test_different_work_is_refused() -> None:
    a = part(SETS["tilt"], *borders(2)[:2])
    other = part(lambda: [cm.stat.Tilt(U, ["v", "w"], betas=[0.3, 2.5, np.inf])], *borders(2)[1:])
    with pytest.raises(ValueError, match="differ in statistics"):
        a.merge(other)
    other = part(lambda: [cm.stat.Tilt(U + 1, ["v", "w"], betas=[0.3, 2.0, np.inf])], *borders(2)[1:])
    with pytest.raises(ValueError, match="differ in vectors"):
        a.merge(other)
    sharded = shard(dump(), 2, 2, *SETS["tilt"]())
    with pytest.raises(ValueError, match="differ in rows of the dump"):
        a.merge(sharded)


def test_shards_of_another_dump_or_call_are_refused_by_name(tmp_path: Path) -> None:
    """Same prompts and sizes throughout: what differs is rows, a value, or the judge."""
    other = dict(COLUMNS, v=np.nan_to_num(COLUMNS["v"]), judge=-COLUMNS["judge"])
    sources = {
        "rows": (cm.open_dump(PHI + 1, prompt_ids=IDS, columns=COLUMNS), "tilt"),
        "prompts, weights, scores or values": (cm.open_dump(PHI, prompt_ids=IDS, columns=other), "tilt"),
    }
    files = [tmp_path / f"{i}.state" for i in range(4)]
    for i in (1, 2):
        shard(dump(), i, 2, *SETS["tilt"]()).save(files[i])
    for what, (source, name) in sources.items():
        shard(source, 2, 2, *SETS[name]()).save(files[3])
        with pytest.raises(ValueError, match=rf"3\.state: merge: the two folds differ in {what}"):
            cm.merge(files[1], files[3])
    with pytest.raises(ValueError, match=r"1\.state: merge: .* overlap"):
        cm.merge(files[1], files[1])
    with pytest.raises(ValueError, match=r"2\.state: the first begins at row"):
        cm.merge(files[2], files[1])
    shard(dump(), 2, 2, *SETS["judge"]()).save(files[3])
    with pytest.raises(ValueError, match=r"3\.state: merge: the two folds differ in statistics"):
        cm.merge(files[1], files[3])


def test_a_missing_last_shard_is_named() -> None:
    parts = [shard(dump(), i, 3, *SETS["moments"]()) for i in (1, 2)]
    with pytest.raises(ValueError, match=f"end at row {borders(3)[2]} of {N}"):
        cm.merge(*parts)


def test_a_prompt_that_returns_in_another_shard_is_refused() -> None:
    a, b = part(SETS["moments"], 0, LEAF), cm.Fold(cm.stat.Moments(), dim=5, start_row=LEAF)
    b.absorb(PHI[:3], ["x", "y", IDS[0]], **{n: c[:3] for n, c in COLUMNS.items()})
    with pytest.raises(ValueError, match="in both folds"):
        a.merge(b)


def test_every_damage_to_a_state_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    part(SETS["all"], LEAF, 3 * LEAF).save(path)
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in [*range(12), *rng.integers(12, len(good), 60).tolist()]:
        bad = bytearray(good)
        bad[at] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(bad)
        with pytest.raises(cm.DumpError, match="damaged"):
            cm.Fold(*SETS["all"](), dim=5).load(path)
    for size in (0, 7, 8, 100, len(good) - 1):
        path.write_bytes(good[:size])
        with pytest.raises(cm.DumpError, match="damaged"):
            cm.merge(path)


@pytest.mark.parametrize("index, count", [(0, 3), (4, 3), (1, 0), (1.5, 2)])
def test_a_share_that_is_none(index: Any, count: Any) -> None:
    with pytest.raises(ValueError, match="shards"):
        shard(dump(), index, count, cm.stat.Moments())


def test_what_cannot_be_sharded_says_so() -> None:
    scan = _core.Scan([_core.Moments(5, 0, 2, 0, True)], 1)  # folds run over eight leaves, and this part begins inside
    scan.absorb(segments=[(PHI[:9], 0)], dtype=0, n_dump=9, d=5, n_rows=9, offsets=np.array([0, 4, 9]),
                fold=np.array([0, 1]))  # fmt: skip
    with pytest.raises(ValueError, match="running state"):
        scan.nodes()
    with pytest.raises(ValueError, match="within=False"):
        shard(dump(), 1, 2, cm.stat.Moments(), within=False)
    with pytest.raises(ValueError, match="betas"):
        shard(dump(), 1, 2, cm.stat.Tilt(U, "v"))


def run(capsys: Any, *argv: Any) -> tuple[int, str, str]:
    code = cli.main([str(a) for a in argv])
    out = capsys.readouterr()
    return code, out.out, out.err


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("shards") / "d"
    cm.write_dump(path, PHI, prompt_ids=IDS, columns=COLUMNS, shard_rows=9999, policy="on_policy")
    return path


def test_the_command_line_merges_shards(on_disk: Path, tmp_path: Path, capsys: Any) -> None:
    common = ["--constitutions", "judge", "-w", "--value", "v", "-w", "--betas", "0.5", "inf"]
    files = []
    for i in (1, 2, 3):
        files.append(tmp_path / f"{i}.state")
        code, out, err = run(capsys, "tilt", on_disk, *common, "--shards", f"{i}/3", "--state", files[-1])
        assert (code, err) == (0, "") and "rows" in out
    code, out, err = run(capsys, "merge", *files, "--json")
    merged = json.loads(out)
    assert (code, err) == (0, "")
    code, out, _ = run(capsys, "tilt", on_disk, *common, "--json")
    whole = json.loads(out)
    assert merged["n_rows"] == whole["n_rows"] == N and merged["directions"] == ["judge", "-w"]
    for name in ("gain", "gain_se", "kl", "chi2", "ess", "win_rate", "first_order"):
        assert merged[name] == whole[name], name
    code, out, err = run(capsys, "merge", *files)
    assert code == 0 and "on_policy" in out and "judge" in out and "Pareto" not in out and "horizon" not in out
    code, out, err = run(capsys, "merge", *files[:2])
    assert code == 2 and "is missing" in err
    code, out, err = run(capsys, "merge", files[0], files[2], files[1])
    assert code == 2 and "gap" in err


def test_states_of_values_whose_short_names_have_a_minus_are_merged(tmp_path: Path, capsys: Any) -> None:
    columns = {"value_harm": PHI[:400, 1].astype(np.float64), "judge/kind": PHI[:400, 0].astype(np.float64)}
    cm.write_dump(tmp_path / "d", PHI[:400], prompt_ids=np.arange(400) // 8, columns=columns)
    common = ["--constitutions", "-judge/kind", "judge/kind", "--value", "-harm", "--betas", "0.5"]
    for i in (1, 2):
        assert run(capsys, "tilt", tmp_path / "d", *common, "--shards", f"{i}/2", "--state", tmp_path / str(i))[0] == 0
    code, out, err = run(capsys, "merge", tmp_path / "1", tmp_path / "2", "--json")
    assert (code, err) == (0, "")
    whole = cm.tilt(tmp_path / "d", ["-judge/kind", "judge/kind"], [0.5], "-harm", pareto_k=False)
    assert json.loads(out)["values"] == ["-harm"] and json.loads(out)["gain"] == whole.gain.tolist()


def test_a_share_of_fewer_rows_than_a_leaf_is_said_to_be_empty(tmp_path: Path, capsys: Any) -> None:
    small = tmp_path / "d"
    cm.write_dump(small, PHI[:400], prompt_ids=np.arange(400) // 8, columns={"j": PHI[:400, 0], "v": PHI[:400, 1]})
    common = ["--constitutions", "j", "--value", "v", "--betas", "0.5"]
    said = []
    for i in (1, 2, 3):
        code, out, err = run(capsys, "tilt", small, *common, "--shards", f"{i}/3", "--state", tmp_path / f"{i}.state")
        assert (code, err) == (0, "")
        said.append(out)
    assert all(f"share {i} of 3 is empty" in said[i - 1] and "leaves of 8192" in said[i - 1] for i in (1, 2))
    assert "rows 0 to 0" not in "".join(said) and "rows 0 to 400" in said[2]
    code, out, err = run(capsys, "merge", *(tmp_path / f"{i}.state" for i in (1, 2, 3)), "--json")
    assert (code, err) == (0, "") and json.loads(out)["n_rows"] == 400


@pytest.mark.parametrize(
    "argv, says",
    [
        (["--kl", "0.5", "--shards", "1/2", "--state", "s"], "--shards needs --betas"),
        (["--shards", "1/2", "--state", "s"], "--shards needs --betas"),
        (["--betas", "1", "--shards", "3/2", "--state", "s"], "1 <= I <= N"),
        (["--betas", "1", "--shards", "x", "--state", "s"], "1 <= I <= N"),
        (["--betas", "1", "--shards", "1/2"], "--state FILE"),
        (["--betas", "1", "--state", "s"], "--shards I/N"),
        (["--betas", "1", "--shards", "1/2", "--state", "s", "--adjust", "w"], "--adjust"),
        (["--betas", "1", "--shards", "1/2", "--state", "/no/such/folder/s"], "--state is"),
    ],
)
def test_shard_options_that_do_not_go_together(on_disk: Path, capsys: Any, argv: list[str], says: str) -> None:
    code, out, err = run(capsys, "tilt", on_disk, "--constitutions", "judge", *argv)
    assert code == 2 and out == "" and says in err and err.count("\n") == 1


def test_eight_shards_in_any_order_by_processes_of_two_machines(on_disk: Path, tmp_path: Path) -> None:
    """A machine here is a process with its own copy of the dump, working folder and number of threads."""
    command = ["--constitutions", "judge", "-w", "--value", "v", "w", "--betas", "0.5", "inf", "--shards"]
    order, running = np.random.default_rng(3).permutation(8), []
    for machine in (0, 1):
        copy = tmp_path / str(machine)
        shutil.copytree(on_disk, copy / f"dump-{machine}")
        code = "import sys; from clinometer import cli\nfor i in sys.argv[1].split(): assert cli.main("
        code += "['tilt', sys.argv[2], *sys.argv[3:], f'{i}/8', '--state', f'../{i}.state']) == 0"
        shares = " ".join(str(i + 1) for i in order[machine::2])
        env = {**os.environ, "CLINOMETER_NUM_THREADS": str(machine + 1)}
        argv = [sys.executable, "-c", code, shares, f"dump-{machine}", *command]
        running.append(subprocess.Popen(argv, cwd=copy, env=env, stdout=subprocess.DEVNULL))
    assert [one.wait() for one in running] == [0, 0]
    states = [tmp_path / f"{i}.state" for i in range(1, 9)]
    same_bits(cm.merge(*states), cm.scan(on_disk, cm.stat.Tilt(["judge", "-w"], ["v", "w"], betas=[0.5, np.inf]))[0])
    for given, says in [
        (states[:3] + states[2:], r"3\.state.*overlap"), (states[:3] + states[4:], r"5\.state.*gap"),
        (states[:7], "is missing|end at row"), ([*states[:7], tmp_path / "9.state"], r"9\.state"),
    ]:  # fmt: skip
        with pytest.raises((ValueError, OSError), match=says):
            cm.merge(*given)


def test_the_job_array_of_the_page_gives_one_machines_numbers(on_disk: Path, tmp_path: Path) -> None:
    """The scripts as they stand; `srun` and the number of a task are what Slurm would give."""
    page = (Path(__file__).resolve().parents[2] / "docs/scale.md").read_text(encoding="utf-8")
    task, rest = page.split("```sh\n#!/bin/bash\n")[1].split("```", 1)
    merge = rest.split("```sh\n")[1].split("```")[0].replace("64", "4")
    here = f'set -e\nsrun() {{ "$@"; }}\nclinometer() {{ "{sys.executable}" -m clinometer "$@"; }}\n'
    env = {**os.environ, "DUMP": str(on_disk), "OUT": str(tmp_path)}
    (first, last), jobs = re.findall(r"--array=(\d+)-(\d+)", task)[0], []
    assert (first, last) == ("1", "64") and task.count("64") == 2
    for i in (3, 1, 4, 2):
        script = here + task.replace("helpful", "v").replace("64", "4")
        own = {**env, "SLURM_ARRAY_TASK_ID": str(i)}
        jobs.append(subprocess.run(["bash", "-c", script], env=own, capture_output=True, text=True))
    jobs.append(subprocess.run(["bash", "-c", here + merge], env=env, capture_output=True, text=True))
    assert [job.returncode for job in jobs] == [0] * 5, [job.stderr for job in jobs]
    files = [tmp_path / f"{i}.state" for i in (1, 2, 3, 4)]
    same_bits(cm.merge(*files), cm.scan(on_disk, cm.stat.Tilt("judge", "v", betas=[0.5, 2.0]))[0])


def test_the_shell_recipe_of_the_page_gives_one_machines_numbers(on_disk: Path, tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/scale.md").read_text(encoding="utf-8")
    recipe = page.split("A plain shell:\n\n```sh\n")[1].split("```")[0]
    assert recipe.count("judge") == 1 and recipe.count("helpful") == 1
    here = f'clinometer() {{ "{sys.executable}" -m clinometer "$@"; }}\n'
    script = here + recipe.replace("helpful", "v")
    env = {**os.environ, "DUMP": str(on_disk), "OUT": str(tmp_path)}
    ran = subprocess.run(["sh", "-ec", script], env=env, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    files = [tmp_path / f"{i}.state" for i in (1, 2, 3, 4)]
    same_bits(cm.merge(*files), cm.scan(on_disk, cm.stat.Tilt("judge", "v", betas=[0.5, 2.0]))[0])
