"""Reports on a small world where the right answer is known."""

from __future__ import annotations

import html.parser
import json
import re
import sys
import unicodedata
import warnings
from typing import Any

import numpy as np
import pytest

import clinometer as cm
from clinometer.common.visible import fit, markup, visible, width
from clinometer.dump import open_dump
from clinometer.engine.inputs import prepare
from clinometer.engine.passes import tilt
from clinometer.engine.population import population
from clinometer.engine.weights import spread_within
from clinometer.errors import CheckFailed
from clinometer.reporting import Report, report
from clinometer.reporting.check import parse
from clinometer.reporting.export import records
from clinometer.reporting.text import number

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
    assert made.value_sd[0] == pytest.approx(np.sqrt(good.var(axis=1, ddof=1).mean()), rel=1e-12)
    np.testing.assert_allclose(made.gain_sd, made.gain / made.value_sd)


@pytest.mark.parametrize("size", [1e-300, 1e-12, 1.0, 1e300])
def test_within_sd_at_any_scale(size: float) -> None:
    rng = np.random.default_rng(0)
    column = rng.normal(size=35)
    column[3] = np.nan
    p = population(35, np.arange(35) // 5)
    groups = [column[i : i + 5][~np.isnan(column[i : i + 5])] for i in range(0, 35, 5)]
    expected = np.sqrt(np.mean([g.var(ddof=1) for g in groups]))
    assert spread_within(column * size, p) == pytest.approx(expected * size, rel=1e-12)
    assert np.isnan(spread_within(np.full(35, np.nan), p))


def test_length_is_added_and_partialled_out() -> None:
    r = report(world(), constitutions=["judge/long"], values=["good"], kl=[0.2])
    assert r.net is not None and r.length == "n_tokens"
    assert r.gain[0, 0, 1] > 1.0 > 0.5 > abs(r.net.gain[0, 0, 1])
    listed = report(world(), constitutions=["judge/long"], values=["good", "-n_tokens"], kl=[0.2])
    assert listed.values == ("good", "-n_tokens") and listed.classes[0, 0] != "pareto_improving"


def test_without_length_the_report_says_so() -> None:
    rng = np.random.default_rng(1)
    dump = open_dump(
        rng.normal(size=(60, 3)), prompt_ids=np.repeat(np.arange(10), 6), columns={"v": rng.normal(size=60)}
    )
    r = report(dump, values="v", kl=[0.1])
    assert r.length is None and r.net is None and r.values == ("v",)
    assert "no column n_tokens" in r.length_note and "no column n_tokens" in r.to_text(full=True)


def test_values_act_as_judges_when_none_are_given() -> None:
    r = report(world(), values=["good", "-harm"], kl=[0.1])
    assert r.self_judged and r.constitutions == ("good", "-harm")
    assert "values themselves act as judges" in r.to_text(full=True) and "value as judge good" in str(r)
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
    assert "generation (u_gen)" in r.to_text(full=True)


def test_text_is_narrow_and_complete(made: Report) -> None:
    full = made.to_text(full=True)
    for text in (str(made), full):
        assert text.startswith("verdict") and max(width(line) for line in text.split("\n")) <= 110
    for word in ("judge/both", "-harm", "n_tokens (length)", "horizon: ", "**", "~ random directions"):
        assert word in " ".join(str(made).split()) and word in " ".join(full.split())
    for word in (
        "kl 0.05 ",
        "kl 0.2 ",
        "kl 0.4 ",
        "cone of directions",
        "cone: all that raise",
        "margin: ",
        "half-angle: ",
    ):
        assert word in " ".join(full.split())
    assert "".join(made.length_note.split()) in "".join(full.split()) and "not covered" in full


@pytest.mark.parametrize(("n_judges", "n_values"), [(1, 40), (30, 2), (1, 1)])
def test_the_short_text_has_thirty_lines_and_the_verdict_with_its_kl_first(n_judges: int, n_values: int) -> None:
    rng = np.random.default_rng(4)
    judges = {f"judge {'long' * i}{i}": rng.normal(size=1800) for i in range(n_judges)}
    values = {f"v{j}{' of some name' * (j % 3)}": rng.normal(size=1800) for j in range(n_values)}
    dump = world(**judges, **values)
    r = report(dump, constitutions=[*judges], values=[*values], kl=[0.3, 0.1], sections=["null"])
    lines, best = str(r).split("\n"), r.best()
    assert len(lines) <= 30 and max(map(width, lines)) <= 110 and best is not None
    assert lines[0].startswith(f"verdict, at {best.kl:g} nats") and best.constitution[:19] in str(r)
    said, whole = ("".join(x.split()) for x in (str(r), r.verdict()))
    assert whole in said or (whole[:600] in said and "(all of it: verdict())" in str(r))
    k, b = best.index
    for j, value in enumerate(r.values[: min(n_values, 3)]):
        line = next(x for x in lines if x.startswith(f"    {value} "[:16]))
        assert number(r.gain[k, b, j]) in line and number(r.policy.win_rate[k, b, j], sign=False, digits=3) in line
    shown = sum(" beta " in x for x in lines), sum(bool(re.match(r"    v\d", x)) for x in lines)
    left = [int(x) for x in re.findall(r"(\d+) more (?:value|constitution)", str(r))]
    assert left == [n + 1 - m for n, m in [(n_values, shown[1])] if n > 2] + [n_judges - shown[0]] * (n_judges > 1)


def test_verdict_and_best(made: Report) -> None:
    best = made.best()
    assert best is not None and best.constitution == "judge/both" and best.kind == "pareto_improving"
    assert "judge/both" in made.verdict() and "raises every value" in made.verdict()
    assert "forecast" not in made.verdict()
    k, b = best.index
    np.testing.assert_array_equal(best.gain, made.gain[k, b, :2])
    np.testing.assert_allclose(best.lower, made.policy.bounds(0.95 ** (1 / made.compared))[k, b, :2, 0], rtol=1e-12)
    # levels and values of a judge move together, and two judges of the same rows are two
    assert 2 < made.compared < 2 * best.n_cells and (best.lower < made.gain_interval[k, b, :2, 0]).all()


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
    assert row["constitution"] == "judge/both" and row["lower"] > 0
    assert (row["lower"], row["upper"]) == tuple(made.gain_interval[0, 1, 1]) and row["level"] == 0.95
    picked = made.check("good > 0 at kl=0.2 for recommended")
    assert picked["constitution"] == "judge/both" and picked["level"] > 0.95 and picked["lower"] < made.gain[0, 1, 0]
    assert made.check("good > 0 at kl=0.2 for all")["constitution"] == "judge/both"
    assert made.check("-harm > 0 at kl=0.2 for any")["level"] == 0.975
    with pytest.raises(CheckFailed, match="judge/one") as failed:
        made.check("-harm > 0 at kl=0.2 for all")
    assert failed.value.row is not None and failed.value.row["upper"] < 0
    with pytest.raises(CheckFailed):
        made.check("good <= 0 at kl=0.2 for any")
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


def test_a_check_of_several_constitutions_says_for_which(made: Report) -> None:
    with pytest.raises(ValueError, match=r"for which constitution.*judge/both, judge/one"):
        made.check("good >= 0 at kl=0.2")


def test_a_check_whose_name_says_two_things_is_refused() -> None:
    """A judge named "all" would stand for all, and the first of two of one name for the other."""
    scores = {name: world().column("judge/both") for name in ("all", "any", "recommended", "x")}
    for judges, words in (([cm.Scores(scores)], ("all", "any", "recommended")),
                          ([cm.Scores({"x": scores["x"]}), cm.Scores({"x": -scores["x"]})], ("x",))):  # fmt: skip
        made = report(world(), constitutions=judges, values=["good"], kl=[0.05], sections=())
        for word in words:
            with pytest.raises(ValueError, match=f"'{word}' is the name of a constitution and also"):
                made.check(f"good >= -9 at kl=0.05 for {word}")


def test_a_check_of_values_that_judge_themselves_names_the_judge() -> None:
    """Without constitutions a value raises itself, so a gate that forgot to name them would hold for ever."""
    alone = report(world(), values=["good"], kl=[0.05], sections=())
    for words in ("", " for all", " for any", " for recommended"):
        with pytest.raises(ValueError, match="none was given, so that the values judge themselves"):
            alone.check(f"good >= 0 at kl=0.05{words}")
    assert alone.check("good >= 0 at kl=0.05 for good")["lower"] > 0


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
    assert "rows reach" in r.to_text(full=True) and np.isnan(r.gain[0, 1]).all()
    with pytest.raises(CheckFailed, match="rows reach only"):
        r.check("good >= 0 at kl=5")


def test_one_prompt_has_no_errors_and_no_answer() -> None:
    r = report(world(n_prompts=1, n=20), constitutions=["judge/both"], values=["good"], kl=[0.1])
    assert r.verdict().startswith("Cannot tell") and r.cone is None
    with pytest.raises(CheckFailed, match="has no standard error"):
        r.check("good >= 0 at kl=0.1")
    assert "Cannot tell" in r.to_html()


@pytest.mark.parametrize("flat", [np.zeros(1800), np.full(1800, 0.1), np.repeat(np.arange(150) / 7, 12)])
def test_value_without_spread(flat: Any) -> None:
    r = report(world(flat=flat), constitutions=["judge/both"], values=["good", "flat"], kl=[0.1])
    assert r.value_sd[1] == 0
    assert r.cone is None and r.classes[0, 0] == "weakly_improving" and np.isnan(r.gain_sd[0, 0, 1])
    assert any("flat does not vary" in n for n in r.notes) and "changes no other" in r.verdict()


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
    assert last["gain"] == made.gain[1, 2, 2] and last["gain_rows"] == made.tilt.gain[1, 2, 2]
    assert last["beta"] == made.policy.betas[1, 2] and last["upper"] == made.gain_interval[1, 2, 2, 1]
    assert last["net_of_length"] == made.net.gain[1, 2, 2]  # type: ignore[union-attr]


def test_frame_needs_pandas_and_says_so(made: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"clinometer\[frame\]"):
        made.to_frame()


def test_texts_show_what_moves() -> None:
    dump = world(n_prompts=40)
    r = report(dump, constitutions=["judge/both"], values=["good"], kl=[0.2], texts=[f"text {i}" for i in range(480)])
    ratios = [e["ratio"] for e in r.examples]
    assert max(ratios) > 1 > min(ratios) and f"text {r.examples[0]['row']}" in r.to_text(full=True)
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
    assert not seen.tags & {"img", "iframe", "link", "object", "form", "base"}
    assert not {a for a in seen.attributes if a.startswith("on") or a in ("src", "style", "srcset")}
    assert all(link.startswith("#") for link in re.findall(r'href="([^"]*)', page))
    assert page.count("<style") == 1 and page.count("<script") == 3 == page.count("</script>")
    assert "url(" not in page.split("</style>")[0]
    for raw in PAYLOADS[:5]:
        assert raw not in page
    for output in (page, str(r), r.to_text(full=True), r.verdict(), r._repr_html_(), repr(r)):
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
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    assert script is not None

    def digest(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    assert f"default-src 'none'; style-src 'sha256-{digest(style[1])}'; script-src 'sha256-{digest(script[1])}'" in page
    assert "prefers-color-scheme: dark" in page and "unsafe" not in page.split("</head>")[0]
    addresses = set(re.findall(r"https?://[^\s\"']*", style[1] + script[1]))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, not a place


def test_page_holds_the_data_of_to_json(made: Report) -> None:
    page = made.to_html()
    held = re.search(r'<script type="application/json" id="report-data">(.*?)</script>', page, re.DOTALL)
    assert held is not None and held[1].isascii() and not set("<>&\x7f") & set(held[1])
    assert json.loads(held[1]) == json.loads(made.to_json())


def test_page_without_javascript_has_the_numbers(made: Report) -> None:
    best = made.best()
    assert best is not None
    plain = "".join(re.findall(r"<noscript>(.*?)</noscript>", made.to_html(), re.DOTALL))
    k, b = best.index
    for j in range(len(made.values)):
        assert f"<td>{made.gain[k, b, j]:+.4f}</td>" in plain
        for level in range(len(made.kl)):
            assert f"<td>{made.gain_sd[k, level, j]:+.2f} +- " in plain


def test_json_in_a_page_is_never_markup() -> None:
    from clinometer.reporting.page.payload import embedded

    for text in (*PAYLOADS, "</script>", "<!--", "]]>", "\u2028\u2029", "\x7f\x00", "&amp;"):
        made = embedded({text: [text]})
        assert json.loads(made) == {text: [text]} and made.isascii() and not set("<>&\x7f\x00") & set(made)


def test_the_module_is_the_function_too() -> None:
    import clinometer as cm

    assert cm.report(world(n_prompts=20), values=["good"], kl=[0.1]).values == ("good", "n_tokens")


def test_safe_text() -> None:
    assert visible("a\x1b\u202e\n\ud800\U000e0041") == "a\\x1b\\u202e\\x0a\\ud800\\U000e0041"
    assert visible("é漢") == "é漢" and width("é漢e\u0301") == 4
    assert fit("漢漢漢", 5) == "漢.. " and fit("ab", 4) == "ab  " and width(fit("x" * 50, 9)) == 9
    assert markup("<'\"&\x00>") == "&lt;&#x27;&quot;&amp;\\x00&gt;"


def test_every_section_is_there(made: Report) -> None:
    K, B, J = made.tilt.gain.shape
    shapes: dict[str, tuple[int, ...]] = {
        "gain_interval": (K, B, J, 2), "gain_interval_labels": (K, B, J, 2), "labels_known": (K,),
        "null_band": (B, J, 2), "linear_share": (K,), "gain": (K, B, J), "value_correlation": (J, J), "horizon": (K,),
    }  # fmt: skip
    for name, shape in shapes.items():
        assert np.shape(getattr(made, name)) == shape, name
    assert made.baselines is not None and made.baselines.cosine.shape == (K, J)
    assert made.selection is not None and made.selection.share.shape == (K, B)
    assert made.pareto is not None and made.pareto.constitutions == made.constitutions
    assert made.spectrum is not None and len(made.spectrum["eigenvalues"]) == 5
    assert made.iterated is not None and made.iterated["gain"].shape == (4, J)
    assert made.layers is None and made.label_status is not None and 0 <= float(made.chance or -1) <= 1
    less = report(world(), constitutions=["judge/both"], values=["good"], kl=[0.1], sections=())
    given = {f for f in shapes if getattr(less, f, None) is not None}
    assert given == {"gain_interval", "gain", "value_correlation", "horizon"}


def test_intervals_bands_and_correlations_are_right(made: Report) -> None:
    assert made.gain_interval is not None and made.null_band is not None and made.value_correlation is not None
    assert (made.gain_interval[..., 0] < made.gain).all() and (made.gain < made.gain_interval[..., 1]).all()
    found = cm.inference.gain_intervals(world(), ["judge/both", "judge/one"], values=list(made.values), kl=made.kl)
    np.testing.assert_allclose(made.gain_interval, found.estimate_interval, rtol=1e-5)
    np.testing.assert_allclose(made.policy.win_rate_se, found.win_rate_se, rtol=1e-5)
    band = cm.inference.null_band(world(), list(made.values), kl=made.kl, draws=400)
    np.testing.assert_allclose(np.ptp(made.null_band, axis=-1), np.ptp(band.interval[0], axis=-1), rtol=0.35)
    assert np.allclose(np.diag(made.value_correlation), 1) and (np.abs(made.value_correlation) <= 1 + 1e-12).all()
    z = [np.asarray(world().columns[n]).reshape(150, 12) for n in ("good", "harm")]
    x, y = ((c - c.mean(axis=1, keepdims=True)).ravel() for c in z)
    assert made.value_correlation[0, 1] == pytest.approx(-(x @ y) / np.sqrt((x @ x) * (y @ y)), rel=1e-9)


def test_the_null_band_covers_as_many_random_directions_as_it_says() -> None:
    dump, inside = world(n_prompts=400), []
    made = report(dump, constitutions=["judge/both"], values=["good"], kl=np.geomspace(0.02, 0.4, 7), sections=["null"])
    rng = np.random.default_rng(99)
    gain = cm.tilt(dump, rng.standard_normal((200, 5)), values=["good"], kl=made.kl, pareto_k=False).gain[..., 0]
    assert made.null_band is not None
    for b in range(7):
        low, high = made.null_band[b, 0]
        inside.append(np.mean((low < gain[:, b]) & (gain[:, b] < high)))
    assert 0.9 < np.mean(inside) <= 1.0


def test_the_gain_is_that_of_the_policy_in_a_gaussian_world() -> None:
    """There it is corr sd sqrt(2 KL), exactly; the tilt of the rows is far below it, and so is its beta."""
    dump = cm.simulate(n_prompts=4000, n_responses=8, dim=4, alignment=[0.8], n_constitutions=1, random_state=4)
    made = report(dump, constitutions=["judge/c0"], values=["s"], kl=[0.05, 0.5, 1.9], sections=())
    assert made.past_horizon.tolist() == [[False, False, True]] and np.isnan(made.gain[0, 2]).all()
    assert 0.5 < made.horizon[0] < 1.9
    sd = np.sqrt(dump.truth.sigma @ dump.truth.u_star @ dump.truth.u_star)
    truth = 0.8 * sd * np.sqrt(2 * made.kl[:2])
    np.testing.assert_allclose(made.gain[0, :2, 0], truth, rtol=0.02)
    assert (made.gain_interval[0, :2, 0, 0] < truth).all() and (truth < made.gain_interval[0, :2, 0, 1]).all()
    assert made.tilt.gain[0, 1, 0] < 0.93 * truth[1]
    np.testing.assert_allclose(dump.truth.kl(made.policy.betas[0, :2])[0], made.kl[:2], rtol=0.09)
    assert dump.truth.kl(made.tilt.betas[0, 1:2])[0, 0] > 0.7  # who trains at the beta of the rows goes too far


def test_layers_and_pairs() -> None:
    rng = np.random.default_rng(8)
    ids = np.repeat(np.arange(60), 8)
    good = rng.standard_normal(480)
    a = np.column_stack([good + 0.3 * rng.standard_normal(480), rng.standard_normal((480, 3))]).astype(np.float32)
    b = np.column_stack([good + 3 * rng.standard_normal(480), rng.standard_normal((480, 3))]).astype(np.float32)
    path = _written({5: a, 9: b}, ids, {"good": good})
    rows = np.stack([np.arange(0, 480, 2), np.arange(1, 480, 2)], axis=1)
    prob = 1 / (1 + np.exp(-2 * (good[rows[:, 0]] - good[rows[:, 1]])))
    dump = open_dump(path, layer=5)
    made = report(dump, values=["good"], pairs=(rows, prob), kl=[0.2], sections=["layers", "intervals"])
    assert made.layers is not None and [site["layer"] for site in made.layers] == [5, 9]
    near, far = made.layers
    assert near["quality"][0] > 0.8 > 0.3 > far["quality"][0] and near["gain"][0, 0, 0] > far["gain"][0, 0, 0] > 0
    np.testing.assert_allclose(near["gain"][0, 0], made.tilt.gain[0, 0], rtol=1e-9)
    assert made.labels_known is not None and made.labels_known.all() and "with labels" in str(made)
    assert max(width(line) for line in str(made).split("\n")) <= 110


def _written(layers: Any, ids: Any, columns: Any) -> str:
    import tempfile

    path = tempfile.mkdtemp() + "/d"
    cm.write_dump(path, layers, prompt_ids=ids, columns=columns)
    return path


def test_csv_opens_as_numbers_and_text(made: Report, tmp_path: Any) -> None:
    import csv
    import io

    text = made.to_csv(tmp_path / "r.csv")
    assert (tmp_path / "r.csv").read_bytes().decode() == text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 18 and float(rows[0]["gain"]) == made.gain[0, 0, 0]
    assert rows[1]["value"] == "'-harm" and rows[0]["lower_labels"] == ""
    assert [r["recommended"] for r in rows].count("True") == 3
    names = ["=1+1", "@x", "+cmd|' /C calc'!A0", "\t=2", 'a"b,c\nd', "  =3"]
    rng = np.random.default_rng(0)
    dump = world(n_prompts=10, **{n: rng.normal(size=120) for n in names})
    dump = report(dump, constitutions=names, values=["good"], kl=[0.1], sections=())
    for row in csv.reader(io.StringIO(dump.to_csv())):
        assert not any(c.strip().startswith(("=", "@", "+")) or "\n" in c or "\t" in c for c in row)
    assert len(list(csv.reader(io.StringIO(dump.to_csv())))) == 1 + 6 * 2


def test_the_command_makes_the_report_again(tmp_path: Any) -> None:
    cm.write_dump(
        tmp_path / "d", np.asarray(world().read(0, 1800)), prompt_ids=world().prompt_ids,
        columns={n: world().columns[n] for n in ("good", "harm", "judge/both", "n_tokens")},
    )  # fmt: skip
    made = report(tmp_path / "d", constitutions=["judge/both"], values=["good", "-harm"], kl=[0.1], sections=["null"])
    space: dict[str, Any] = {}
    exec(str(made.command), space)
    np.testing.assert_array_equal(space["r"].tilt.gain, made.tilt.gain)
    np.testing.assert_array_equal(space["r"].null_band, made.null_band)
    values = np.random.default_rng(0).normal(size=(1800, 2))
    assert "values=values" in str(report(world(), values=values, kl=[0.1], sections=()).command)


def test_a_report_reads_the_dump_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    from clinometer.engine import inputs

    reads, plain = [], inputs.absorb

    def counted(call: Any, scan: Any, *, kept: Any = None, **more: Any) -> None:
        if kept is None and (call.directions is not None or call.columns is None):
            reads.append(call.n_scores)
        plain(call, scan, kept=kept, **more)

    monkeypatch.setattr(inputs, "absorb", counted)
    directions = np.random.default_rng(0).standard_normal((3, 5))
    tables = ["length", "cone", "intervals", "null", "selection", "pareto", "iterate"]
    made = report(world(), constitutions=directions, values=["good", "-harm"], kl=[0.1, 0.2], sections=tables)
    assert reads == [3, 64] and made.cone is not None and made.cone.direction is None
    assert "scores of any kind" in made.to_text(full=True)


def test_a_report_with_its_fits_reads_the_rows_six_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores and mean differences, the null band, the fits' matrices, their scores, their slopes, what solves give."""
    from clinometer.engine import inputs

    reads: list[str] = []
    plain = inputs.absorb

    def counted(call: Any, scan: Any, *, kept: Any = None, **more: Any) -> None:
        if kept is None:
            reads.append("read")
        plain(call, scan, kept=kept, **more)

    monkeypatch.setattr(inputs, "absorb", counted)
    directions = np.random.default_rng(0).standard_normal((3, 5))
    made = report(world(), constitutions=directions, values=["good", "-harm"], kl=[0.1, 0.2])
    assert len(reads) == 6
    assert made.cone is not None and made.baselines is not None and made.iterated is not None
    alone = cm.inference.baselines(world(), directions, ["good", "-harm"])
    own = np.asarray(made.baselines.projection_difference)[:, :2]
    np.testing.assert_allclose(own, alone.projection_difference, rtol=1e-9, atol=1e-12)


def test_many_notes_stay_behind_a_line(made: Report) -> None:
    from dataclasses import replace

    page = replace(made, notes=tuple(f"note {i}" for i in range(40))).to_html()
    shown, hidden = page.split("and 28 more")
    assert "note 11<" in shown and "note 12<" not in shown and "note 39<" in hidden


def test_a_fit_among_the_judges_moves_nothing_beside_it() -> None:
    """Prompts carry the fold that did not see them, of which covariances of the same read know nothing."""
    world = cm.simulate(n_prompts=80, n_responses=6, dim=5, random_state=4)
    fit = cm.fit_value_direction(world, "s", folds=7, pooled=False)
    judges: list[Any] = ["judge/c0", fit]
    made, plain = (cm.report(world, constitutions=c, values=["s"], kl=[0.1]) for c in (judges, judges[:1]))
    assert made.null_band is not None and plain.null_band is not None
    np.testing.assert_allclose(made.null_band, plain.null_band, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(made.tilt.gain[:1], plain.tilt.gain, rtol=1e-6)  # f32 lanes
    want = cm.moments(world)
    got, _ = cm.scan(world, cm.stat.Moments(), cm.stat.Tilt(directions=fit, values=["s"], betas=[1.0]))
    np.testing.assert_allclose(got.covariance, want.covariance, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e-300, 1e200])
def test_a_value_is_flat_by_its_own_size(scale: float) -> None:
    from clinometer.engine.weights import spread_within

    rng = np.random.default_rng(0)
    population = prepare(rng.normal(size=(40, 2)), prompt_ids=np.arange(40) // 4).population
    column = rng.normal(size=40)
    scaled, plain = (spread_within(x, population) for x in (column * scale, column))
    assert scaled / scale == pytest.approx(plain, rel=1e-9)
    level = np.repeat(rng.normal(size=10), 4)
    assert spread_within(level * (1 + 1e-15 * column) * scale, population) == 0
    assert spread_within(level * (1 + 1e-9 * column) * scale, population) > 0


def test_mixtures_and_correlations_of_values_know_no_scale_and_the_range_is_named() -> None:
    world = cm.simulate(n_prompts=60, n_responses=8, dim=4, random_state=1)
    columns = {"tiny": world.column("s") * 2.0**-200, "tinier": world.column("s") * 2.0**-990}
    tiny = world.with_options(columns=world.columns.merged(columns))
    made, want = (cm.report(tiny, constitutions=["judge/c0"], values=[name], kl=[0.1]) for name in ("tiny", "s"))
    assert made.pareto is not None and want.pareto is not None
    np.testing.assert_allclose(made.pareto.mixture_value, want.pareto.mixture_value, rtol=1e-9)
    np.testing.assert_allclose(made.value_correlation, want.value_correlation, rtol=1e-9)
    np.testing.assert_allclose(made.tilt.gain[..., 0] * 2.0**200, want.tilt.gain[..., 0], atol=1e-6 * want.value_sd[0])
    with pytest.raises(ValueError, match=r"values: 'tinier' reaches .*too small"):
        cm.report(tiny, constitutions=["judge/c0"], values=["tinier"], kl=[0.1])


def test_the_spectrum_of_the_fits_is_that_of_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value without gaps gives Sigma; with gaps alone the rows are read, and the participation ratio is probed."""
    from clinometer.reporting import encoding_sections as encoded

    monkeypatch.setattr(encoded, "EXACT_DIM", 8)
    rng = np.random.default_rng(2)
    phi = rng.normal(size=(1500, 48)) / np.arange(1, 49) ** 0.5
    full = phi[:, 0] + rng.normal(size=1500)
    columns = {"full": full, "part": np.where(rng.random(1500) < 0.3, np.nan, full)}
    dump = cm.open_dump(phi.astype(np.float32), prompt_ids=np.arange(1500) // 6, columns=columns)
    want = np.linalg.eigvalsh(cm.moments(dump).covariance)[::-1]
    u = cm.Directions(["u"], np.eye(48)[:1])
    for name, leading, ratio in (("full", 1e-3, 1e-6), ("part", 5e-3, 0.02)):
        made = cm.report(dump, constitutions=u, values=[name], kl=[0.1], sections=("encoding", "spectrum")).spectrum
        assert made is not None
        np.testing.assert_allclose(made["eigenvalues"], want[:16], rtol=leading)
        assert made["participation"] == pytest.approx(want.sum() ** 2 / (want**2).sum(), rel=ratio)
        assert made["stable"] == pytest.approx(want.sum() / want[0], rel=1e-5)


def test_text_and_page_say_how_a_mixture_is_tilted_and_it_is_so() -> None:
    """Averaged gains of members at a KL fall short of the tilt by their averaged unit-sd scores at that KL."""
    dump = world()
    found = report(dump, constitutions=["judge/one", "judge/both"], values=["good", "-harm"], kl=[0.1])
    said = "each tilted alone by its unit-sd score (a tilt by the averaged score gains more at the same KL)"
    assert said in " ".join(found.to_text(full=True).split()) and said in html.unescape(found.to_html())
    judges = np.stack([dump.columns[n] for n in ("judge/one", "judge/both")], axis=1)
    inside = judges.reshape(150, 12, 2) - judges.reshape(150, 12, 2).mean(axis=1, keepdims=True)
    unit = judges / np.sqrt(np.square(inside).mean(axis=(0, 1)))
    scores = np.column_stack([unit, unit.mean(axis=1)])
    gain = tilt(dump, cm.Scores(scores), values=["good"], kl=[0.1]).gain[:, 0, 0]
    assert gain[2] > 1.1 * gain[:2].mean() > 0


@pytest.mark.parametrize("status", ["given", "cross-fitted", "in-sample"])
def test_the_legend_explains_how_a_direction_was_obtained(status: str) -> None:
    dump = world(40)
    fit = cm.fit_value_direction(dump, ["good"], folds=2, alpha=1.0)
    judge = {"given": fit.vectors, "cross-fitted": fit, "in-sample": fit.directions()}[status]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = report(dump, constitutions=judge, values=["good"], kl=[0.1])
    for text in (str(found), found.to_text(full=True)):
        lines = " ".join(text.split())
        assert [f"{s}:" in lines for s in ("given", "cross-fitted", "in-sample")] == [
            s == status for s in ("given", "cross-fitted", "in-sample")
        ]
    assert len(str(found).splitlines()) <= 30
