"""The script a newcomer copies runs as it stands, with only the path changed."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clinometer as cm

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "first_report.py"
DEMO = Path(cm.__file__).parent / "data" / "demo"
SCRIPT = """
import clinometer as cm
dump = cm.open_dump("runs/hh-32/", layer=24)
r = cm.report(dump, constitutions=["judge/kind", "judge/honest"],
              values=["helpful", "-harm"], kl=[0.25, 0.5, 1.0])
print(r)
print(r.verdict())
cm.examples(dump, "judge/kind", kl=0.5, n=5)
r.to_html("report.html"); r.check("-harm >= 0 at kl=0.5 for recommended")
"""

pytestmark = pytest.mark.skipif(not DEMO.exists(), reason="the packaged dump is not in this tree")


def test_the_script_that_users_start_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    held: dict[str, Any] = {}
    with pytest.raises(cm.CheckFailed, match=r"-harm >= 0 at kl=0\.5") as stopped:  # this model's judges cannot tell
        exec(SCRIPT.replace("runs/hh-32/", str(DEMO)), held)
    out = capsys.readouterr().out
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    r = held["r"]
    assert "judge/kind" in out and "n_tokens" in out and out.rstrip().endswith(r.verdict().rstrip())
    assert r.values == ("helpful", "-harm", "n_tokens")
    row = stopped.value.row
    assert row["value"] == "-harm" and row["kl"] == 0.5 and row["lower"] < 0


@pytest.mark.skipif(not EXAMPLE.exists(), reason="needs a source tree")
def test_the_readme_shows_what_the_demo_prints(tmp_path: Path, capsys: Any) -> None:
    from clinometer.cli import main

    assert main(["demo", "-o", str(tmp_path / "page.html")]) == 0
    printed = capsys.readouterr().out.splitlines()
    shown = (ROOT / "README.md").read_text(encoding="utf-8").split("```text\n", 1)[1].split("\n```", 1)[0].splitlines()
    number = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]\d+)?")  # kernels of other machines may differ in the last digit
    begin = printed.index(shown[0])
    printed_, shown_ = ("\n".join(text) for text in (printed[begin : begin + len(shown)], shown))
    assert len(shown) > 9 and number.sub("#", printed_) == number.sub("#", shown_)
    numbers = [[float(x) for x in number.findall(text)] for text in (printed_, shown_)]
    np.testing.assert_allclose(*numbers, rtol=0.01, atol=1e-4)


@pytest.mark.skipif(not EXAMPLE.exists(), reason="needs a source tree")
def test_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(EXAMPLE)])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    out = capsys.readouterr().out
    assert "check failed: -harm >= 0" in out and (tmp_path / "report.html").stat().st_size > 5000
    # the same calls as that script, whatever else stands in the table
    for call in ("open_dump(", "report(", "verdict()", "examples(dump, ", 'to_html("report.html")', "check("):
        assert call in EXAMPLE.read_text(encoding="utf-8") and call in SCRIPT
