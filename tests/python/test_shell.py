"""The command line as people meet it: help that runs, mistakes that are understood, terminals and pipes."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clinometer as cm
from clinometer import cli
from clinometer.cli.arguments import _parser
from clinometer.cli.sources import DEMO
from clinometer.common import progress
from clinometer.common.command_lines import EXAMPLES
from clinometer.dump import write_dump

ALL = {line: command for command, lines in EXAMPLES.items() for line in lines}  # those at the top are of commands too
COMMANDS = [*_parser()[1]]

pytestmark = pytest.mark.skipif(not DEMO.exists(), reason="the packaged dump is not in this tree")


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = cli.main(list(argv))
    out = capsys.readouterr()
    return code, out.out, out.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the examples run: one leaves what a later one reads."""
    return tmp_path_factory.mktemp("examples")


def tiny_model(folder: Path) -> None:
    """What the examples of capture and judge name."""
    import tiny_models

    tiny_models.model().save_pretrained(folder / "tiny")
    tiny_models.tokenizer().save_pretrained(folder / "tiny")
    (folder / "prompts.txt").write_text("why?\nname a colour\n")
    (folder / "kind.json").write_text('{"kind": ["Be kind.", "Be rude."]}')


@pytest.mark.parametrize("line", ALL, ids=[f"{command}{i}" for i, command in enumerate(ALL.values())])
def test_every_example_of_the_help_runs(line: str, folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert line.startswith(f"clinometer {ALL[line]}")
    if ALL[line] in ("capture", "judge"):
        pytest.importorskip("transformers")
        tiny_model(folder)
    code, out, err = run(capsys, *shlex.split(line)[1:])
    assert code == 0, err
    assert out.strip() and "Traceback" not in err
    if "--json" in line.split():
        json.loads(out)  # and nothing beside it
    for name in re.findall(r"(?:-o|--state) (\S+)", line):
        assert (folder / name).stat().st_size > 0


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_shows_its_examples(command: str, capsys: Any) -> None:
    code, out, err = run(capsys, *([command] if command else []), "--help")
    assert (code, err) == (0, "")
    assert "examples:" in out and EXAMPLES[command]
    assert all(line in out for line in EXAMPLES[command])
    assert max(map(len, out.splitlines())) <= 125


@pytest.mark.parametrize(
    "argv, says",
    [
        ("reprt demo", "did you mean 'report'?"), ("--hlep", "did you mean '--help'?"),
        ("report demo --layer 24 --vlaue helpful", "did you mean '--value'?"),
        ("report demo --layer 24 --value helpfol", "--value: no column 'helpfol'"),
        ("report demo --layer 24 --value helpfol", "did you mean 'helpful'?"),
        ("report demo --layer 24 --value -hram", "did you mean 'harm'?"),
        ("tilt demo --layer 24 --constitutions judge/kid --kl 0.1", "did you mean 'judge/kind'?"),
        ("report demo --tensor phi_mean_L42 --value helpful", "did you mean 'phi_mean_L24'?"),
        ("report demo --value helpful", "choose with --tensor 'phi_mean_L16' or --layer 16"),
        ("report demo --layer 24", "--value NAME (-NAME if smaller is better); demo has 'harm', 'positive', 'helpful'"),
        ("report demo --layer 24 --value helpful --kl 0.1 --check 'helpfol > 0 at kl=0.1'", "did you mean 'helpful'?"),
        ("fit demo --layer 24 -o x", "--pairs A,B,PROB, or --generation; demo has"),
        ("fit demo --layer 24 --value harm --generation -o x", "--value and --generation fit different things"),
        ("fit demo --layer 24 --value harm --logprobs logprob -o x", "--logprobs goes with --generation"),
        ("fit demo --layer 24 --value harm --alpha big -o x", "--alpha is 'big', wanted cv or a number"),
        ("fit demo --layer 24 --value harm --folds 1 -o x", "--folds is 1"),
        ("fit demo --layer 24 --value harm", "-o/--output"),
        ("fit demo --layer 24 --pairs a -o x", "wanted A,B,PROB"),
        ("fit demo --layer 24 --pairs a,b -o x", "no tensor 'a' in demo; of pairs there are none"),
        ("verify --only T33", "did you mean 'T3'?"), ("inspect dmeo", "'dmeo' does not exist"),
        ("inspect demo demo", "'demo' is one argument too many"), ("merge nothing.state", "nothing.state"),
        ("bench scores --list", "did you mean 'score'?"), ("demo -o no/such/place.html", "folder does not exist"),
    ],
)  # fmt: skip
def test_mistakes_are_understood(argv: str, says: str, capsys: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *shlex.split(argv))
    assert code == 2 and out == "" and says in err
    assert err.startswith("clinometer") and err.count("\n") == 1 and not list(tmp_path.iterdir())


def test_a_bare_array_is_led_to_a_command_that_works(capsys: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    phi = rng.normal(size=(80, 6)).astype(np.float32)
    np.save("acts.npy", phi)
    code, _, err = run(capsys, "report", "acts.npy")
    assert code == 2 and "np.savez('labels.npz', helpful=..., prompt_id=...)" in err and "80 rows" in err
    code, _, err = run(capsys, "acts.npy")
    assert code == 2 and "clinometer inspect acts.npy" in err
    np.save("cube.npy", phi.reshape(10, 8, 6))
    code, _, err = run(capsys, "inspect", "cube.npy")
    assert code == 2 and "reshape(80, 6) with prompt ids numpy.repeat(range(10), 8)" in err
    code, out, _ = run(capsys, "inspect", "acts.npy")
    assert code == 0 and "no columns: labels and judges" in out and "--prompt-ids NAME|FILE.npy" in out
    code, _, err = run(capsys, "inspect", "act.npy")
    assert code == 2 and "did you mean 'acts.npy'?" in err
    code, _, err = run(capsys, "report", "acts.npy", "--value", "helpful")
    assert code == 2 and "--columns FILE.npz adds some" in err
    np.savez("labels.npz", helpful=phi[:, 0], prompt_id=np.repeat(np.arange(10), 8))
    code, out, err = run(capsys, "report", "acts.npy", "--columns", "labels.npz", "--value", "helpful")
    assert (code, err) == (0, "") and "10 prompts" in out
    np.savez("labels.npz", helpful=phi[:, 0])
    code, _, err = run(capsys, "tilt", "acts.npy", "--columns", "labels.npz", "--value", "helpful", "--betas", "1")
    assert code == 0 and "--prompt-ids" in err  # one prompt for all rows, with a warning that says what to do


def test_a_name_wins_over_the_packaged_dump(capsys: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    write_dump("demo", np.ones((4, 3), np.float32), prompt_ids=[0, 0, 1, 1])
    code, out, _ = run(capsys, "inspect", "demo")
    assert code == 0 and "4 rows x 3" in out


@pytest.fixture(scope="module")
def prefs(tmp_path_factory: pytest.TempPathFactory) -> str:
    rng = np.random.default_rng(3)
    phi = rng.normal(size=(400, 5)).astype(np.float32)
    pairs = np.arange(400).reshape(-1, 2)
    margin = (phi[pairs[:, 0]] - phi[pairs[:, 1]]) @ np.array([1.0, -1.0, 0, 0, 0])
    path = str(tmp_path_factory.mktemp("prefs") / "d")
    write_dump(
        path, phi, prompt_ids=np.repeat(np.arange(100), 4), policy="on_policy",
        columns={"good": phi[:, 0] + rng.normal(size=400), "logprob": phi[:, 2], "n_tokens": rng.integers(1, 9, 400)},
        pairs={"chosen": pairs[:, 0], "rejected": pairs[:, 1], "prob": 1 / (1 + np.exp(-margin)),
               "other": rng.uniform(0.2, 0.8, 200)},
    )  # fmt: skip
    return path


def test_fit_of_values_is_the_function(prefs: str, capsys: Any, tmp_path: Path) -> None:
    file = str(tmp_path / "v.fit")
    code, out, err = run(capsys, "fit", prefs, "--value", "good", "--alpha", "0.1", "--folds", "4", "-o", file)
    assert (code, err) == (0, "") and f"--constitutions {file}" in out
    want = cm.fit_value_direction(prefs, "good", alpha=0.1, folds=4)
    held = cm.fit.DirectionFit.load(file)
    assert np.array_equal(held.vectors, want.vectors) and np.array_equal(held.fold_vectors, want.fold_vectors)
    (line,) = (x for x in out.splitlines() if x.startswith("good"))
    q = want.encoding_quality
    assert [float(x) for x in line.split()[1:5]] == pytest.approx([0.1, q.value[0], *q.ci[0]], abs=6e-4)
    code, out, err = run(capsys, "tilt", prefs, "--constitutions", file, "--value", "good", "--kl", "0.2", "--json")
    data = json.loads(out)
    assert data["fit_status"] == ["cross-fitted"] and err == ""
    assert data["gain"][0][0][0] == cm.tilt(prefs, want, values="good", kl=[0.2]).gain[0, 0, 0]


def test_fit_of_pairs_and_log_probabilities(prefs: str, capsys: Any, tmp_path: Path) -> None:
    file = str(tmp_path / "f")
    code, out, _ = run(capsys, "fit", prefs, "--pairs", "chosen,rejected,prob,other", "--alpha", "0", "-o", file)
    assert code == 0 and "200 pairs" in out
    made = cm.fit.DirectionFit.load(file)
    assert made.names == ("prob", "other")
    assert made.vectors[0] == pytest.approx([1.0, -1.0, 0, 0, 0], abs=1e-3)
    code, out, _ = run(
        capsys,
        "fit",
        prefs,
        "--generation",
        "--covariates",
        "n_tokens",
        "-o",
        file,
        "--json",
        "--json-file",
        file + "j",
    )
    said = json.loads(out)
    assert code == 0 and said == json.loads(Path(file + "j").read_text())
    assert said["file"] == file and said["directions"][0]["r2"] == pytest.approx(1.0, abs=1e-6)
    assert cm.fit.DirectionFit.load(file).vector == pytest.approx([0, 0, 1.0, 0, 0], abs=1e-5)
    code, out, _ = run(capsys, "fit", prefs, "--pairs", "chosen,rejected", "-o", file)
    assert code == 0 and "chosen>rejected" in out and "matched KL" in out
    assert run(capsys, "fit", prefs, "--pairs", "chosen,rejectd", "-o", file)[2].count("did you mean 'rejected'?") == 1
    code, _, err = run(capsys, "fit", prefs, "--pairs", "chosen,good", "-o", file)
    assert code == 2 and "one entry for each of the 200 pairs" in err


def _on_terminal(argv: list[str], environment: dict[str, str]) -> tuple[int, str, str]:
    """Exit code, standard output (a pipe) and standard error (a terminal)."""
    master, slave = pty.openpty()
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=slave, env=environment) as child:
        os.close(slave)
        seen, end = b"", time.monotonic() + 120
        while time.monotonic() < end:
            ready, _, _ = select.select([master], [], [], 0.1)
            try:
                part = os.read(master, 4096) if ready else b""
            except OSError:  # the last one who had the terminal open is gone
                break
            seen += part
            if not part and child.poll() is not None:
                break
        assert child.stdout is not None
        out = child.stdout.read().decode()
        code = child.wait(10)
    os.close(master)
    return code, out, seen.decode()


EAGER = (
    "import sys; from clinometer import cli; from clinometer.common import progress; "
    "progress.PATIENCE = progress.EVERY = -1; sys.exit(cli.main())"
)


def test_progress_on_a_terminal_and_silence_in_a_pipe(tmp_path: Path) -> None:
    command = [sys.executable, "-c", EAGER, "fit", "demo", "--layer", "24", "--generation", "--alpha", "1"]
    command += ["-o", str(tmp_path / "f"), "--json"]
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "xterm"}
    code, out, seen = _on_terminal(command, environment)
    assert code == 0 and json.loads(out)["n_rows"] == 1152
    assert re.search(r"\r1,152 of 1,152 rows, [\d,.e+]+ rows/s, [\d.]+ GB/s, \d+ s left\x1b\[K\r\n", seen), seen
    assert not re.search(r"\x1b\[[0-9;]*m", seen)  # no colour, here or anywhere
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0 and "rows/s" not in done.stderr and "\r" not in done.stderr
    assert json.loads(done.stdout) == json.loads(out)


def test_a_progress_line(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    show = progress.bar(row_bytes=1000)
    show(10, 100)
    assert capsys.readouterr().err == ""  # quick passes say nothing
    now[0] = 2.0
    show(2_000_000, 100_000_000)
    line = capsys.readouterr().err
    assert line == "\r2,000,000 of 100,000,000 rows, 1,000,000 rows/s, 1.00 GB/s, 1 min 38 s left\x1b[K"
    show(2_000_001, 100_000_000)
    assert capsys.readouterr().err == ""  # at most five a second
    progress.clear()
    assert capsys.readouterr().err == "\n"
    progress.clear()
    assert capsys.readouterr().err == ""
    now[0] = 4.0
    show(100_000_000, 100_000_000)
    assert capsys.readouterr().err.endswith("0 s left\x1b[K\n")
    claims = progress.bar(unit="claims")
    now[0] = 8.0
    claims(2, 4)
    assert "2 of 4 claims, 0.5 claims/s, 4 s left" in capsys.readouterr().err
    progress.clear()


IMPATIENT = """
import os, signal, sys, threading, time
from clinometer.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs are born with it ignored
def press():
    while True:  # Python itself loses one that comes inside a callback of its import system
        time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=press, daemon=True).start()
sys.exit(main(["verify"]))
"""


def test_interrupted_is_130_without_a_traceback() -> None:
    done = subprocess.run([sys.executable, "-c", IMPATIENT], capture_output=True, text=True, timeout=60)
    assert done.returncode == 128 + signal.SIGINT
    assert done.stderr == "clinometer: interrupted\n"


@pytest.mark.parametrize("argv", ["tilt demo --layer 24 --value helpful", "bench --list", "verify --only L3 --json"])
def test_head_closes_the_pipe_in_silence(argv: str) -> None:
    program = f"{shlex.quote(sys.executable)} -m clinometer {argv} | head -n 1"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stderr == "" and done.stdout.count("\n") == 1


def test_the_installed_command() -> None:
    command = Path(sys.executable).parent / "clinometer"
    if not command.exists():
        pytest.skip("the command is not installed beside this interpreter")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=60)
    again = subprocess.run(
        [sys.executable, "-m", "clinometer", "--version"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and done.stdout == again.stdout == f"clinometer {cm.__version__}\n"
