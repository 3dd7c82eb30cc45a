"""Reports on a small world where the right answer is known."""

from __future__ import annotations

import html.parser
import json
import re
import sys
import unicodedata
from typing import Any

import numpy as np
import pytest

from clinometer.dump import open_dump
from clinometer.errors import CheckFailed
from clinometer.passes import tilt
from clinometer.population import population
from clinometer.reporting import Report, report
from clinometer.reporting.check import parse
from clinometer.reporting.export import records
from clinometer.reporting.safe import fit, markup, visible, width
from clinometer.reporting.summary import spread_within
from clinometer.reporting.verdict import selection_z

PAYLOADS = (
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\x1b[2J\x1b]0;owned\x07", "a\u202egnirts\u2066",
    "</style><style>*{x:url(//e)}", "java\nscript:\r1", "\u200b\ufeff\x9b31m", "' onload='x", "&lt;b&gt;", "\ud800",
)  # fmt: skip


def world(n_prompts: int = 150, n: int = 12, seed: int = 0, **columns: Any) -> Any:
    """good and calm follow the first two coordinates, length the third; the judges know what they like."""
    rng = np.random.default_rng(seed)
    phi = rng.normal(size=(n_prompts * n, 5)) + np.repeat(rng.normal(size=(n_prompts, 5)), n, axis=0)
    noise = lambda: 0.3 * rng.normal(size=len(phi))  # noqa: E731
    given = {
        "good": phi[:, 0] + noise(), "harm": -phi[:, 1] + noise(), "n_tokens": 20 + 3 * phi[:, 2] + noise(),
        "judge/both": phi[:, 0] + phi[:, 1], "judge/one": phi[:, 0] - phi[:, 1], "judge/long": phi[:, 2],
        "judge/noise": rng.normal(size=len(phi)), **columns,
    }  # fmt: skip
    ids = np.repeat(np.arange(n_prompts), n)
    return open_dump(phi.astype(np.float32), prompt_ids=ids, columns=given, policy="on_policy")


@pytest.fixture(scope="module")
def made() -> Report:
    return report(world(), constitutions=["judge/both", "judge/one"], values=["good", "-harm"], kl=[0.05, 0.2, 0.4])


def test_numbers_are_those_of_tilt(made: Report) -> None:
    plain = tilt(world(), ["judge/both", "judge/one"], values=["good", "-harm", "n_tokens"], kl=[0.05, 0.2, 0.4])
    np.testing.assert_array_equal(made.tilt.gain, plain.gain)
    assert made.values == ("good", "-harm", "n_tokens") and made.n_requested == 2
    assert made.tilt.gain.shape == (2, 3, 3) and made.classes.shape == (2, 3)


def test_classes_leave_length_out(made: Report) -> None:
    assert set(made.classes[0]) == {"pareto_improving"}
    assert set(made.classes[1]) == {"tradeoff"}


def test_within_sd_is_the_spread_inside_prompts(made: Report) -> None:
    good = world().columns["good"].reshape(150, 12)
    assert made.value_sd[0] == pytest.approx(np.sqrt(good.var(axis=1).mean()), rel=1e-12)
    np.testing.assert_allclose(made.gain_sd, made.tilt.gain / made.value_sd)


@pytest.mark.parametrize("size", [1e-300, 1e-12, 1.0, 1e300])
def test_within_sd_at_any_scale(size: float) -> None:
    rng = np.random.default_rng(0)
    column = rng.normal(size=35)
    column[3] = np.nan
    p = population(35, np.arange(35) // 5)
    groups = [column[i : i + 5][~np.isnan(column[i : i + 5])] for i in range(0, 35, 5)]
    expected = np.sqrt(np.mean([g.var() for g in groups]))
    assert spread_within(column * size, p) == pytest.approx(expected * size, rel=1e-12)
    assert np.isnan(spread_within(np.full(35, np.nan), p))


def test_length_is_added_and_partialled_out() -> None:
    r = report(world(), constitutions=["judge/long"], values=["good"], kl=[0.2])
    assert r.net is not None and r.length == "n_tokens"
    assert r.tilt.gain[0, 0, 1] > 1.0 > 0.5 > abs(r.net.gain[0, 0, 1])
    listed = report(world(), constitutions=["judge/long"], values=["good", "-n_tokens"], kl=[0.2])
    assert listed.values == ("good", "-n_tokens") and listed.classes[0, 0] != "pareto_improving"


def test_without_length_the_report_says_so() -> None:
    rng = np.random.default_rng(1)
    dump = open_dump(
        rng.normal(size=(60, 3)), prompt_ids=np.repeat(np.arange(10), 6), columns={"v": rng.normal(size=60)}
    )
    r = report(dump, values="v", kl=[0.1])
    assert r.length is None and r.net is None and r.values == ("v",)
    assert "no column n_tokens" in r.length_note and "no column n_tokens" in str(r)


def test_values_act_as_judges_when_none_are_given() -> None:
    r = report(world(), values=["good", "-harm"], kl=[0.1])
    assert r.self_judged and r.constitutions == ("good", "-harm")
    assert "values themselves act as judges" in str(r) and "value as judge good" in str(r)
    partly = np.where(np.arange(1800) % 7 == 0, np.nan, world().columns["good"])
    r = report(world(part=partly), values=["good", "part"], kl=[0.1])
    assert r.constitutions == ("good",) and any("part has unlabelled rows" in n for n in r.notes)
    with pytest.raises(ValueError, match="constitutions is None"):
        report(world(part=partly), values=["part"])


def test_cone_and_encoding(made: Report) -> None:
    assert made.cone is not None and made.cone.feasible and made.cone.direction is not None
    direction = made.cone.direction / np.linalg.norm(made.cone.direction)
    assert direction[:2].min() > 0.6 and np.abs(direction[2:]).max() < 0.1
    assert made.encoding_quality is not None and (made.encoding_quality.value > 0.8).all()
    less = report(world(), values=["good"], kl=[0.1], sections=())
    assert less.cone is None and less.encoding_quality is None and less.net is None


def test_array_values_and_generation_direction() -> None:
    good = world().columns["good"]
    r = report(world(), constitutions=["judge/both"], values=good, kl=[0.1], u_gen=np.eye(5)[0])
    assert r.values == ("value0", "n_tokens")
    assert r.generation_correlation is not None and r.generation_correlation[0] > 0.9 > abs(r.generation_correlation[1])
    assert "generation (u_gen)" in str(r)


def test_text_is_narrow_and_complete(made: Report) -> None:
    for text in (str(made), made.to_text(every_kl=True)):
        assert max(width(line) for line in text.split("\n")) <= 110
    assert "kl 0.05" not in str(made).split("not shown")[0] and "not shown: kl 0.05" in str(made)
    assert "kl 0.05 " in made.to_text(every_kl=True)
    for word in ("judge/both", "-harm", "n_tokens (length)", "cone of directions", "not covered", "verdict:"):
        assert word in str(made)


def test_verdict_and_best(made: Report) -> None:
    best = made.best()
    assert best is not None and best.constitution == "judge/both" and best.kind == "pareto_improving"
    assert "judge/both" in made.verdict() and "raises every value" in made.verdict()
    assert "forecast" not in made.verdict()
    k, b = best.index
    z = selection_z(2 * best.n_cells)
    np.testing.assert_allclose(best.lower, made.tilt.gain[k, b, :2] - z * made.tilt.gain_se[k, b, :2])
    assert z > 1.96


def test_floor(made: Report) -> None:
    assert made.best(floor=1e9) is None
    held = made.best(floor={"-harm": 0.0})
    assert held is not None and held.constitution == "judge/both"
    with pytest.raises(ValueError, match="floor names"):
        made.best(floor={"nothing": 0.0})
    with pytest.raises(TypeError, match="floor"):
        made.best(floor="0")  # type: ignore[arg-type]


def test_a_noise_judge_cannot_be_told() -> None:
    r = report(world(), constitutions=["judge/noise"], values=["good", "-harm"], kl=[0.05])
    assert r.verdict().startswith("Cannot tell")
    with pytest.raises(CheckFailed, match="cannot tell"):
        r.check("good >= 0 at kl=0.05")


def test_picking_the_best_of_many_noise_judges_is_paid_for() -> None:
    claims = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        columns = {f"judge/{i}": rng.normal(size=240) for i in range(10)} | {"v": rng.normal(size=240)}
        rows = rng.normal(size=(240, 1)).astype(np.float32)
        dump = open_dump(rows, prompt_ids=np.arange(240) // 6, columns=columns, policy="on_policy")
        judges = [f"judge/{i}" for i in range(10)]
        made = report(dump, constitutions=judges, values=["v"], kl=[0.05, 0.1], sections=())
        claims += not made.verdict().startswith("Cannot tell")
    # uncorrected, the best of ten would be claimed in about a quarter of the worlds
    assert claims <= 4


def test_a_tradeoff_is_said() -> None:
    r = report(world(), constitutions=["judge/one"], values=["good", "-harm"], kl=[0.05])
    assert "trade-off: it raises good and lowers -harm" in r.verdict()


@pytest.mark.parametrize(("policy", "words"), [(None, "unknown"), ("off_policy", "another policy")])
def test_off_policy_rows_are_no_forecast(policy: str | None, words: str) -> None:
    dump = world().with_options(policy=policy)
    r = report(dump, constitutions=["judge/both"], values=["good"], kl=[0.1])
    assert words in r.verdict() and "not a forecast" in r.verdict() and "not a forecast" in str(r)


def test_check_holds_and_returns_its_row(made: Report) -> None:
    row = made.check("-harm >= 0 at kl=0.2 for judge/both")
    assert row["constitution"] == "judge/both" and row["lower"] > 0 and row["z"] == pytest.approx(1.96, abs=1e-3)
    picked = made.check("good > 0 at kl=0.2")
    assert picked["constitution"] == "judge/both" and picked["z"] > row["z"]
    assert made.check("-harm <= 0 at kl=.2 for judge/one")["upper"] <= 0


def test_check_uses_the_unfavourable_bound(made: Report) -> None:
    row = made.check("good >= 0 at kl=0.2 for judge/both")
    between = (row["lower"] + row["gain"]) / 2
    with pytest.raises(CheckFailed, match="cannot tell") as failed:
        made.check(f"good >= {between} at kl=0.2 for judge/both")
    assert failed.value.row is not None and failed.value.row["gain"] == row["gain"]
    assert made.check(f"good >= {row['lower'] - 1e-9} at kl=0.2 for judge/both")
    with pytest.raises(CheckFailed) as broken:
        made.check(f"good >= {row['upper'] + 1} at kl=0.2 for judge/both")
    assert "cannot tell" not in str(broken.value)


@pytest.mark.parametrize(
    "text",
    ["", "good", "good >= at kl=0.2", "good == 0 at kl=0.2", "good >= 0", "good >= 0 at kl=0.3", "x >= 0 at kl=0.2",
     "good >= 0 at kl=0.2 for nobody", "good >= nan at kl=0.2", "good >= 0 at kl=0.2 extra", "\x1b >= 0 at kl=0.2"],
)  # fmt: skip
def test_check_refuses_what_it_cannot_read(made: Report, text: str) -> None:
    with pytest.raises(ValueError, match="check") as error:
        made.check(text)
    assert "\x1b" not in str(error.value)


def test_check_grammar() -> None:
    odd = parse("  a >= b>=-1.5e-2   at kl = 2  for  some judge ")
    assert (odd.value, odd.op, odd.number, odd.kl, odd.name) == ("a >= b", ">=", -0.015, 2.0, "some judge")
    assert parse("v<0 at kl=1").name is None
    with pytest.raises(TypeError, match="check"):
        parse(3)  # type: ignore[arg-type]


def test_a_kl_out_of_reach_is_noted_and_never_passes() -> None:
    r = report(world(n=3), constitutions=["judge/both"], values=["good"], kl=[0.1, 5.0])
    assert not r.reached[0, 1] and any("beyond what the rows can reach" in n for n in r.notes)
    assert "rows reach" in str(r)
    with pytest.raises(CheckFailed, match="rows reach only"):
        r.check("good >= 0 at kl=5")


def test_one_prompt_has_no_errors_and_no_answer() -> None:
    r = report(world(n_prompts=1, n=20), constitutions=["judge/both"], values=["good"], kl=[0.1])
    assert r.verdict().startswith("Cannot tell") and r.cone is None
    with pytest.raises(CheckFailed, match="without a standard error"):
        r.check("good >= 0 at kl=0.1")
    assert "<svg" in r.to_html()


@pytest.mark.parametrize("flat", [np.zeros(1800), np.full(1800, 0.1), np.repeat(np.arange(150) / 7, 12)])
def test_value_without_spread(flat: Any) -> None:
    r = report(world(flat=flat), constitutions=["judge/both"], values=["good", "flat"], kl=[0.1])
    assert r.value_sd[1] == 0
    assert r.cone is None and r.classes[0, 0] == "weakly_improving" and np.isnan(r.gain_sd[0, 0, 1])
    assert any("flat does not vary" in n for n in r.notes) and "moves no other" in r.verdict()


def test_json_is_strict_and_round_trips(made: Report, tmp_path: Any) -> None:
    path = tmp_path / "r.json"
    text = made.to_json(path)
    again = json.loads(path.read_text(), parse_constant=lambda c: pytest.fail(c))
    assert again == json.loads(text) and text.isascii()
    np.testing.assert_array_equal(again["tilt"]["gain"], made.tilt.gain)
    assert again["best"]["constitution"] == "judge/both" and again["verdict"] == made.verdict()


def test_records(made: Report) -> None:
    rows = records(made)
    assert len(rows) == 2 * 3 * 3
    last = rows[-1]
    assert (last["constitution"], last["kl"], last["value"]) == ("judge/one", 0.4, "n_tokens")
    assert last["gain"] == made.tilt.gain[1, 2, 2] and last["net_of_length"] == made.net.gain[1, 2, 2]  # type: ignore[union-attr]


def test_frame_needs_pandas_and_says_so(made: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"clinometer\[frame\]"):
        made.to_frame()


def test_texts_show_what_moves() -> None:
    dump = world(n_prompts=40)
    r = report(dump, constitutions=["judge/both"], values=["good"], kl=[0.2], texts=[f"text {i}" for i in range(480)])
    ratios = [e["ratio"] for e in r.examples]
    assert max(ratios) > 1 > min(ratios) and f"text {r.examples[0]['row']}" in str(r)
    with pytest.raises(ValueError, match="texts has 2 entries"):
        report(dump, constitutions=["judge/both"], values=["good"], kl=[0.2], texts=["a", "b"])


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="sections holds 'x'"):
        report(world(), values=["good"], sections=["x"])
    with pytest.raises(TypeError, match="no option 'bogus'"):
        report(world(), values=["good"], bogus=1)
    with pytest.raises(ValueError, match="no column"):
        report(world(), values=["nothing"])
    with pytest.raises(ValueError, match="twice"):
        report(world(), values=["good", "good"])
    with pytest.raises(ValueError, match="u_gen"):
        report(world(), values=["good"], u_gen=np.eye(5))


class Page(html.parser.HTMLParser):
    """Every tag and attribute that a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_hostile_names_do_nothing() -> None:
    rng = np.random.default_rng(3)
    columns = {name: rng.normal(size=1800) for name in PAYLOADS}
    dump = world(**columns).with_options(name=PAYLOADS[0], tensor=PAYLOADS[1])
    r = report(
        dump,
        constitutions=list(PAYLOADS),
        values=list(PAYLOADS),
        kl=[0.1],
        texts=[PAYLOADS[i % 10] for i in range(1800)],
    )
    page = r.to_html()
    seen = Page()
    seen.feed(page)
    assert not seen.tags & {"script", "img", "iframe", "link", "a", "object", "form", "base"}
    assert not {a for a in seen.attributes if a.startswith("on") or a in ("src", "href", "style", "srcset")}
    assert page.count("<style") == 1
    assert "http:" not in page and "https:" not in page and "url(" not in page.split("</style>")[0]
    for raw in PAYLOADS[:5]:
        assert raw not in page
    for output in (page, str(r), r.verdict(), r._repr_html_(), repr(r)):
        assert not {c for c in output if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - {"\n"}
    page.encode("utf-8")
    for failing in (lambda: r.check("\x1b[2J >= 0 at kl=0.1"), lambda: r.check(f"{PAYLOADS[0]} >= 9 at kl=0.1")):
        with pytest.raises((ValueError, CheckFailed)) as error:
            failing()
        assert "\x1b" not in str(error.value)


def test_page_names_its_style_and_nothing_else(made: Report, tmp_path: Any) -> None:
    import base64
    import hashlib

    page = made.to_html(tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text(encoding="utf-8") == page
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in page
    assert "prefers-color-scheme: dark" in page and page.count("<svg") == 3


def test_the_module_is_the_function_too() -> None:
    import clinometer as cm

    assert cm.report(world(n_prompts=20), values=["good"], kl=[0.1]).values == ("good", "n_tokens")


def test_safe_text() -> None:
    assert visible("a\x1b\u202e\n\ud800\U000e0041") == "a\\x1b\\u202e\\x0a\\ud800\\U000e0041"
    assert visible("é漢") == "é漢" and width("é漢e\u0301") == 4
    assert fit("漢漢漢", 5) == "漢.. " and fit("ab", 4) == "ab  " and width(fit("x" * 50, 9)) == 9
    assert markup("<'\"&\x00>") == "&lt;&#x27;&quot;&amp;\\x00&gt;"
