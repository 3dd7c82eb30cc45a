"""The command line: exit codes, streams, names that look like options."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clinometer as cm
from clinometer import cli
from clinometer.cli.arguments import expand
from clinometer.dump import write_dump

ROWS, PER = 600, 10


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> str:
    rng = np.random.default_rng(0)
    phi = rng.normal(size=(ROWS, 4)).astype(np.float32)
    partial = np.where(np.arange(ROWS) < 9, np.nan, phi[:, 0])
    path = tmp_path_factory.mktemp("dump") / "d"
    write_dump(
        path, phi, prompt_ids=np.repeat(np.arange(ROWS // PER), PER), policy="on_policy",
        columns={
            "good": phi[:, 0] + 0.2 * rng.normal(size=ROWS), "harm": -phi[:, 1], "n_tokens": rng.integers(5, 30, ROWS),
            "judge/both": phi[:, 0] + phi[:, 1], "judge/part": partial, "evil\x1b[31m": phi[:, 2],
        },
    )  # fmt: skip
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = cli.main(list(argv))
    out = capsys.readouterr()
    return code, out.out, out.err


def test_report_prints_writes_and_checks(dump: str, capsys: Any, tmp_path: Path) -> None:
    page, data = tmp_path / "r.html", tmp_path / "r.json"
    code, out, err = run(
        capsys, "report", dump, "--constitutions", "judge/both", "--value", "good", "-harm", "--kl", "0.1", "0.3",
        "--check", "-harm >= 0 at kl=0.3",
        "-o", str(page), "--json-file", str(data),
    )  # fmt: skip
    assert code == 0 and err == ""
    assert "judge/both" in out and "judge/part" not in out and "check holds: -harm >= 0" in out and "wrote " in out
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    payload = json.loads(data.read_text())
    assert payload["values"] == ["good", "-harm", "n_tokens"] and payload["checks"][0]["holds"]


def test_the_defaults_are_those_of_the_package(dump: str, capsys: Any, tmp_path: Path) -> None:
    """A report of the same file says the same from a command line and from Python."""
    values = ["good", "-harm"]
    code, out, _ = run(capsys, "report", dump, "--value", *values, "--json")
    made = cm.report(cm.open_dump(dump), values=values)
    said = json.loads(out)
    assert code == 0 and said["verdict"] == made.verdict() and said["constitutions"] == list(made.constitutions)
    assert "--constitutions judge/both" in run(capsys, "report", dump, "--value", *values)[1]


@pytest.mark.parametrize("command", ["report", "score", "verify", "fit", "demo"])
def test_a_name_that_says_another_format_is_refused(
    dump: str, capsys: Any, tmp_path: Path, monkeypatch: Any, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"verify": [], "demo": [], "score": [dump]}.get(command, [dump, "--value", "good"])
    for suffix in (".parquet", ".csv", ".npy", ".html"):
        if suffix in {"score": (".npy",), "report": (".csv", ".html"), "demo": (".csv", ".html")}.get(command, ()):
            continue
        code, out, err = run(capsys, command, *given, "-o", f"x{suffix}")
        assert code == 2 and out == "" and f"'x{suffix}'" in err and not list(tmp_path.iterdir())


def test_a_report_is_written_as_its_name_says(dump: str, capsys: Any, tmp_path: Path) -> None:
    begins = {
        "json": "{",
        "csv": "constitution,",
        "txt": "verdict: ",
        "html": "<!doctype html>",
        "HTM": "<!doc",
    }
    for suffix, begin in begins.items():
        file = tmp_path / f"r.{suffix}"
        assert run(capsys, "report", dump, "--value", "good", "--kl", "0.1", "-o", str(file))[0] == 0
        assert file.read_text(encoding="utf-8").lstrip().startswith(begin)


def test_a_failed_check_is_one_and_still_reports(dump: str, capsys: Any) -> None:
    code, out, err = run(
        capsys, "report", dump, "--value=good", "--kl", "0.1", "--check", "good >= 99 at kl=0.1 for good"
    )
    assert code == 1 and out.startswith("verdict, at 0.1 nats")
    assert err.startswith("clinometer: check failed") and err.count("\n") == 1
    code, out, err = run(
        capsys, "report", dump, "--value=good", "--kl", "0.1", "--check", "good >= 99 at kl=0.1 for good", "--json"
    )
    assert code == 1 and not json.loads(out)["checks"][0]["holds"] and "check failed" in err


@pytest.mark.parametrize(
    "argv",
    [[], ["nonsense"], ["report"], ["report", "DUMP"], ["report", "/no/such", "--value", "good"],
     ["report", "DUMP", "--value", "nothing"], ["report", "DUMP", "--value"],
     ["report", "DUMP", "--value", "good", "--kl", "x"],
     ["report", "DUMP", "--value", "good", "--kl", "-1"], ["report", "DUMP", "--value", "good", "--layer", "99"],
     ["report", "DUMP", "--value", "good", "--check", "good > 0"],
     ["report", "DUMP", "--value", "good", "--check", "good > 0 at kl=77"],
     ["report", "DUMP", "--value", "good", "--kl", "0.1", "--check", "good > -9 at kl=0.1"],  # it judges itself
     ["report", "DUMP", "--value", "good", "-o", "/no/such/folder/x.html"],
     ["report", "DUMP", "--value", "good", "--constitutions", "judge/part"],
     ["tilt", "DUMP", "--betas=-1"], ["tilt", "DUMP", "--betas", "1", "--kl", "1"], ["inspect", "DUMP", "--bogus"],
     ["inspect", "DUMP\x1b[31m"], ["score", "DUMP", "--constitutions", "absent"]],
)  # fmt: skip
def test_bad_input_is_two_and_one_line(dump: str, capsys: Any, argv: list[str]) -> None:
    code, out, err = run(capsys, *[dump if a == "DUMP" else a for a in argv])
    assert code == 2 and out == ""
    assert err.startswith("clinometer: ") and err.count("\n") == 1 and "\x1b" not in err and "Traceback" not in err


def test_inspect(dump: str, capsys: Any) -> None:
    code, out, err = run(capsys, "inspect", dump)
    assert code == 0 and err == ""
    assert "600 rows x 4 float32" in out and "60 prompts" in out and "policy on_policy" in out
    assert "evil\\x1b[31m" in out and "\x1b" not in out
    code, out, _ = run(capsys, "inspect", dump, "--json")
    columns = {c["name"]: c for c in json.loads(out)["columns"]}
    assert columns["judge/part"]["nan"] == 9
    harm = columns["harm"]
    assert columns["n_tokens"]["within_sd"] > 1
    assert 0.8 < harm["within_sd"] < 1.1 and abs(harm["mean"]) < 0.2


def test_inspect_before_the_names_are_known(capsys: Any, tmp_path: Path) -> None:
    phi = np.ones((3, 2), np.float32)
    write_dump(tmp_path / "two", {1: phi, 2: phi}, prompt_ids=[0, 1, 2])
    code, out, _ = run(capsys, "inspect", str(tmp_path / "two"))
    assert code == 0 and "several tensors can be phi" in out and out.count("_L") >= 2
    assert "3 of 3 prompts have a single response" in out and "policy unknown" in out


def test_score_and_tilt(dump: str, capsys: Any, tmp_path: Path) -> None:
    file = tmp_path / "s.npy"
    code, out, _ = run(capsys, "score", dump, "-o", str(file))
    assert code == 0 and "judge/both" in out and np.load(file).shape == (ROWS, 1)
    code, out, _ = run(capsys, "tilt", dump, "--value", "-harm", "--betas", "1", "2")
    assert code == 0 and "judge/both" in out and "-harm" in out
    code, out, _ = run(capsys, "tilt", dump, "--value", "-harm", "--betas", "1", "inf", "--json")
    data = json.loads(out)
    assert code == 0 and data["betas"] == [[1.0, "inf"]] and data["gain"][0][0][0] > 0 == data["gain"][0][1][0]


def test_names_that_look_like_options() -> None:
    assert expand(["tilt", "d", "--value", "-harm", "--kl", "1"]) == ["tilt", "d", "--value=-harm", "--kl", "1"]
    assert expand(["--value", "a", "-b", "-o", "f"]) == ["--value=a", "--value=-b", "-o", "f"]
    assert expand(["--check", "-h2 >= 0 at kl=1", "x"]) == ["--check=-h2 >= 0 at kl=1", "x"]
    assert expand(["--value", "--", "-x"]) == ["--value", "--", "-x"]
    assert expand(["--value=-h"]) == ["--value=-h"]


def test_warnings_are_lines_on_stderr(dump: str, capsys: Any) -> None:
    code, _, err = run(capsys, "tilt", dump, "--value", "good", "--kl", "50")
    assert code == 0 and err.startswith("clinometer: warning: kl: beyond") and err.count("\n") == 1


def test_help_version_and_interrupt(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(capsys, "--help")[0] == 0
    code, out, _ = run(capsys, "--version")
    assert code == 0 and out.startswith("clinometer ")

    def stop(argv: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_guarded", stop)
    assert cli.main(["inspect", "x"]) == 130


DEMO = Path(cli.__file__).resolve().parent.parent / "data" / "demo"


@pytest.mark.skipif(not DEMO.exists(), reason="the packaged dump is not in this tree")
def test_demo_writes_its_page_here(capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "demo")
    assert code == 0 and "judge/kind" in out and "-harm" in out and "clinometer-demo.html" in out
    assert (tmp_path / "clinometer-demo.html").stat().st_size > 5000


def test_bench_gets_its_own_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = pytest.importorskip("clinometer.bench")
    seen: list[Any] = []
    monkeypatch.setattr(bench, "main", lambda argv: seen.append(argv))
    assert cli.main(["bench", "tilt", "--rows", "3"]) == 0
    assert seen == [["tilt", "--rows", "3"]]


@pytest.mark.slow
def test_module_and_closed_pipe(dump: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "clinometer", "inspect", dump], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and "600 rows" in done.stdout and done.stderr == ""
    with subprocess.Popen(
        [sys.executable, "-m", "clinometer", "inspect", dump], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == b""


def test_what_cannot_be_reached_is_named(capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ring of links, a file where a folder is wanted, a folder that may not be listed: a line each, no numbers."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert cli.main(["inspect", str(tmp_path / "a")]) == 2
    assert "a' is a link that leads nowhere: to 'b'" in capsys.readouterr().err

    np.save(tmp_path / "phi.npy", np.eye(3, dtype=np.float32))
    assert cli.main(["convert", str(tmp_path / "phi.npy"), str(tmp_path / "phi.npy" / "dump")]) == 2
    said = capsys.readouterr().err
    assert "Errno" not in said and "None" not in said and str(tmp_path / "phi.npy") in said

    (tmp_path / "shut").mkdir()

    def refuse(path: str) -> list[str]:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("os.listdir", refuse)
    assert cli.main(["inspect", str(tmp_path / "shut")]) == 2
    assert "shut': is a folder that cannot be opened (Permission denied)" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["tilt", "report", "score", "pareto"])
@pytest.mark.parametrize("kind", ["directions", "fit"])
def test_features_of_directions_and_fits_in_files_meet_those_of_a_dump(
    command: str, kind: str, dump: str, capsys: Any, tmp_path: Path
) -> None:
    """A dump whose columns stand in another order gives the same numbers; one with other columns is refused."""
    held = cm.open_dump(dump)
    names, phi = ["a", "b", "c", "e"], np.asarray(held.read(0, ROWS))
    kept = {n: held.columns[n] for n in ("good", "harm")}
    for folder, order in (("one", [0, 1, 2, 3]), ("two", [2, 0, 3, 1])):
        source = {"features": [names[k] for k in order]}
        write_dump(
            tmp_path / folder,
            np.ascontiguousarray(phi[:, order]),
            prompt_ids=held.prompt_ids,
            columns=kept,
            source=source,
        )
    write_dump(tmp_path / "other", phi, prompt_ids=held.prompt_ids, columns=kept, source={"features": list("abcd")})
    file = tmp_path / "x.safetensors"
    if kind == "fit":
        cm.fit_value_direction(tmp_path / "one", ["good"], folds=2, alpha=1.0).save(file)
    else:
        cm.Directions(["x"], [[1.0, -2.0, 0.5, 0.0]], source={"features": names}).save(file)
    more = {"tilt": ["--value", "good", "--kl", "0.1"], "report": ["--value", "good", "--kl", "0.1"], "score": [],
            "pareto": ["--value", "good", "-harm"]}[command]  # fmt: skip

    def outcome(folder: str) -> Any:
        to = ["-o", str(tmp_path / f"{folder}.npy")] if command == "score" else ["--json"]
        code, out, err = run(capsys, command, str(tmp_path / folder), "--constitutions", str(file), *more, *to)
        if code:
            return code, err
        return code, np.load(to[1]) if command == "score" else json.loads(out)

    (one, first), (two, second) = outcome("one"), outcome("two")
    assert one == two == 0
    if command == "score":
        np.testing.assert_allclose(first, second, atol=1e-4)
    else:
        name = "gains" if command == "pareto" else "gain"
        a, b = (np.array((x["policy"] if command == "report" else x)[name], float) for x in (first, second))
        np.testing.assert_allclose(a, b, rtol=1e-4)
    code, err = outcome("other")
    assert code == 2 and "no entry for 'd'" in err
