"""The page in a real browser: what a reader sees and does, and that nothing else happens."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import Browser, Tab
from worlds import few, grown

import clinometer as cm
from clinometer.reporting.caveats import caveats

Show = Callable[..., Tab]
ROWS = "[...document.querySelectorAll('#main-table tbody tr')].map(r => Number(r.dataset.k))"
CELLS = "[...document.querySelectorAll('#main-table tbody tr')].map(r => [...r.cells].map(c => c.innerText.trim()))"
SECTIONS = ["verdict", "gains", "responses", "frontiers", "conflicts", "layers", "spectrum", "rounds", "diagnostics",
            "not-covered", "reproduce"]  # fmt: skip


def minus(text: str) -> str:
    return text.replace("-", "\u2212")


def give(tab: Tab, name: str, value: object, event: str) -> None:
    """Set a control by its id, as a reader would."""
    tab.run(f"""(() => {{ const e = document.getElementById({json.dumps(name)}); e.value = {json.dumps(value)};
        e.dispatchEvent(new Event('{event}')); }})()""")
    tab.settle()


def set_kl(tab: Tab, b: int) -> None:
    give(tab, "kl", b, "input")


def test_every_section_is_there_in_the_order_of_the_decision(show: Show, report: Any) -> None:
    tab = show(height=6000)
    tab.settle()
    assert tab.run("[...document.querySelectorAll('main > section')].map(s => s.id)") == SECTIONS
    assert tab.run("document.querySelectorAll('[hidden]:not(#tip)').length") == 0
    assert tab.run("[...document.querySelectorAll('nav a')].map(a => a.hash.slice(1))") == SECTIONS
    drawn = tab.run("""Object.fromEntries([...document.querySelectorAll('[data-chart]')].map(
        c => [c.dataset.chart, c.querySelectorAll('figure svg').length]))""")
    assert drawn == {
        "frontiers": 4,
        "tradeoff": 1,
        "heat": 0,
        "layers": 7,
        "spectrum": 1,
        "rounds": 1,
        "diagnostics": 3,
    }
    assert tab.run("document.querySelectorAll('[data-chart=heat] tbody tr').length") == len(report.constitutions)
    said = tab.run("document.querySelector('.verdict').innerText")
    assert report.verdict().split(": ")[0] in said and all(c in said for c in caveats(report, report.best()))
    assert ">\u00a099\u00a0%" in said
    assert said.count(report.needs[0]) == 1 and report.verdict().count(report.needs[0]) == 1
    assert tab.run("document.querySelectorAll('article').length") == len(report.examples)
    for text in (
        *report.notes,
        *report.not_covered,
        "72",
        "re-weighting" if not report.dump.is_forecast else "forecast",
    ):
        assert text in tab.run("document.body.innerText") or text == "72"


def test_the_first_screen_carries_the_decision(show: Show) -> None:
    tab = show()
    for selector in (".headline", ".chance", "#controls", "#main-table tbody tr:nth-child(3)"):
        assert tab.run(f"document.querySelector('{selector}').getBoundingClientRect().bottom") < 900


def test_sorting(show: Show, report: Any) -> None:
    tab, b = show(), report.best().index[1]
    gain = report.gain_sd[:, b, 1]
    header = "thead [data-focus=sortgain1]"
    state = f"document.querySelector('{header}').closest('th').getAttribute('aria-sort')"
    assert tab.run(ROWS)[0] == report.best().index[0] and tab.run(state) == "none"
    tab.mouse(header, click=True)
    assert tab.run(ROWS) == np.argsort(-gain).tolist() and tab.run(state) == "descending"
    tab.key("Enter")  # the focus stays on the header that was used
    assert tab.run(ROWS) == np.argsort(gain).tolist() and tab.run(state) == "ascending"
    tab.mouse("thead [data-focus=sortname]", click=True)
    assert tab.run(ROWS) == sorted(range(len(gain)), key=lambda k: report.constitutions[k])
    assert tab.run("document.querySelectorAll('#main-table [aria-sort]:not([aria-sort=none])').length") == 1


def test_slider_moves_table_and_charts(show: Show, report: Any) -> None:
    tab = show(height=6000)
    tab.settle()
    snapshot = """(() => { const at = (p) => document.querySelector(p); return [
        at('[data-chart=frontiers] .here').getAttribute('d'), at('[data-chart=diagnostics] .here').getAttribute('d'),
        at('[data-chart=heat] tbody').innerText, at('#main-table tbody').innerText,
        at('[data-chart=tradeoff] svg').outerHTML, at('output').value]; })()"""
    seen = [tab.run(snapshot)]
    tab.run("document.getElementById('kl').focus()")
    for _ in range(2):
        tab.key("ArrowLeft")
        seen.append(tab.run(snapshot))
    for before, after in pairwise(seen):
        assert all(a != b for a, b in zip(before, after, strict=True))
    assert tab.run("document.activeElement.id") == "kl"
    for b in range(len(report.kl)):
        set_kl(tab, b)
        rows = dict(zip(tab.run(ROWS), tab.run(CELLS), strict=True))
        for k, cells in rows.items():
            for j in range(4):
                x = report.gain_sd[k, b, j]
                known = (minus(f"{x:+.2f}"), minus(f"{x:+.1f}"))
                assert cells[3 + j] in (known if np.isfinite(x) else ("\u2013",)), (k, b, j)


def test_one_value_shows_every_number(show: Show, report: Any) -> None:
    tab, b = show(), report.best().index[1]
    tab.run("document.querySelector('input[name=view][value=\"1\"]').click()")
    tab.run("document.querySelector('input[name=unit][value=raw]').click()")
    tab.settle()
    head = tab.run(
        "[...document.querySelectorAll('#main-table thead th')].map(t => t.innerText.replace(/\\s+/g, ' ').trim())"
    )
    names = "95 %, given the judge|95 %, with its labels|Win rate|First order|Net of length|Null band|Tilt of the rows"
    for name in (*names.split("|"), "Prompts that lose", "Projection shift", "Linear share", "Chosen"):
        assert any(h.startswith(name) for h in head), (name, head)
    rows = dict(zip(tab.run(ROWS), tab.run(CELLS), strict=True))

    def shown(k: int, name: str) -> str:
        return str(rows[k][next(i for i, h in enumerate(head) if h.startswith(name))])

    low, high = report.gain_interval[0, b, 1]
    assert shown(0, "95 %, given") == minus(f"{low:+.3f} to {high:+.3f}")
    assert shown(1, "95 %, with") == "\u2013" and shown(0, "95 %, with") != "\u2013"
    for k in rows:
        flipped = report.tilt.first_order[k, b, 1] * report.gain[k, b, 1] < 0
        assert ("\u2260 sign" in shown(k, "First order")) == flipped
        assert shown(k, "Net of length") == minus(f"{report.net.gain[k, b, 1]:+.3f}")


def test_first_order_of_the_other_sign_is_marked(show: Show, report: Any, tmp_path: Path) -> None:
    from dataclasses import replace

    turned = report.tilt.first_order.copy()
    turned[2] *= -1
    path = tmp_path / "turned.html"
    replace(report, tilt=replace(report.tilt, first_order=turned)).to_html(path)
    tab = show(path)
    tab.run("document.querySelector('input[name=view][value=\"0\"]').click()")
    tab.settle()
    marked = "[...document.querySelectorAll('#main-table .warn')].map(e => Number(e.closest('tr').dataset.k))"
    assert tab.run(marked) == [2]


def test_filter_pins_and_own_units(show: Show, report: Any) -> None:
    tab, b = show(), report.best().index[1]
    tab.run("document.getElementById('search').focus()")
    tab.send("Input.insertText", text="JUDGE/3")
    tab.settle()
    k = report.constitutions.index("judge/3")
    assert tab.run(ROWS) == [k]
    tab.run("document.querySelector('input[name=unit][value=raw]').click()")
    tab.settle()
    assert tab.run(CELLS)[0][6] == minus(f"{report.gain[k, b, 3]:+.2f}")[: len(tab.run(CELLS)[0][6])]
    tab.mouse(f"[data-focus=pin{k}]", click=True)
    assert tab.run(f"document.querySelector('[data-focus=pin{k}]').getAttribute('aria-pressed')") == "false"
    give(tab, "search", "", "input")
    kind = report.classes[0, b]
    give(tab, "class", kind, "change")
    tab.settle()
    assert sorted(tab.run(ROWS)) == np.flatnonzero(report.classes[:, b] == kind).tolist()


def test_hover_and_keys_show_numbers(show: Show, report: Any) -> None:
    tab, b = show(height=2400), report.best().index[1]
    tab.settle()
    k = tab.run(ROWS)[1]
    tab.mouse("#main-table tbody tr:nth-child(2) td.wide-cell")
    tip = tab.run("document.getElementById('tip').innerText")
    assert report.constitutions[k] in tip and minus(f"{report.gain_sd[k, b, 0]:+.2f}") in tip and "first order" in tip
    assert tab.run(f"document.querySelector('tr[data-key=k{k}]').classList.contains('hot')")
    tab.mouse("h1")
    assert tab.run("document.getElementById('tip').hidden")
    where = tab.run("""(() => {
        const mark = [...document.querySelectorAll('[data-chart=frontiers] svg g:not(.axes) > .mark')][4];
        const a = mark.closest('svg').getBoundingClientRect(), e = mark.getBoundingClientRect();
        return [(e.x + e.width / 2 - a.x) / a.width, (e.y + e.height / 2 - a.y) / a.height]; })()""")
    tab.mouse("[data-chart=frontiers] svg", along=where[0], down=where[1])
    tip = tab.run("document.getElementById('tip').innerText")
    assert "judge/" in tip and "95 %, given the judge" in tip
    assert tab.run("document.querySelectorAll('[data-chart=frontiers] svg.dimmed').length") == 4
    tab.mouse("h1")
    tab.run("document.querySelector('[data-chart=frontiers] svg').focus({preventScroll: true})")
    heard = []
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        tab.key(key)
        heard.append(tab.run("document.getElementById('said').textContent"))
    first = report.constitutions[0]
    assert heard[0].startswith(first) and heard[1].startswith(first) and not heard[2].startswith(first + ":")
    assert len(set(heard)) == 3 and minus(f"{report.gain_sd[0, 1, 0]:+.2f}") in heard[1]
    tab.key("Escape")
    assert tab.run("document.getElementById('tip').hidden")


def downloaded(browser: Browser, tab: Tab, folder: Path, name: str) -> bytes:
    browser.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    tab.run(f"[...document.querySelectorAll('#downloads button')].find(b => b.textContent.includes('{name}')).click()")
    path = folder / f"clinometer-report.{name.lower()}"
    end = time.monotonic() + 10
    while not (path.exists() and path.stat().st_size):
        assert time.monotonic() < end, "nothing was downloaded"
        time.sleep(0.05)
    return path.read_bytes()


def read_csv(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def same_cell(a: str, b: str) -> bool:
    """Equal as text, or as the same double."""
    try:
        return a == b or float(a) == float(b)
    except ValueError:
        return False


def test_downloads(browser: Browser, show: Show, report: Any, tmp_path: Path) -> None:
    tab = show()
    assert json.loads(downloaded(browser, tab, tmp_path, "JSON")) == json.loads(report.to_json())
    rows = read_csv(downloaded(browser, tab, tmp_path, "CSV").decode())
    expected = read_csv(report.to_csv())
    assert rows[0] == expected[0] and len(rows) == len(expected) == 1 + report.tilt.gain.size
    for row, other in zip(rows, expected, strict=True):
        assert len(row) == len(other) and all(map(same_cell, row, other)), (row, other)
    assert {row[2] for row in rows[1:]} == {"helpful", "'-harm", "kind", "n_tokens"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(show: Show, scheme: str) -> None:
    tab = show(color_scheme=scheme, height=6000)
    tab.settle()
    low = tab.run((Path(__file__).parent / "contrast.js").read_text())
    assert low == []
    paper = tab.run("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")


def test_print(show: Show, tmp_path: Path) -> None:
    tab = show()
    tab.send("Emulation.setEmulatedMedia", media="print")
    for selector in ("#controls", "nav", "#downloads"):
        assert tab.run(f"getComputedStyle(document.querySelector('{selector}')).display") == "none"
    tab.pdf(tmp_path / "r.pdf")
    raw = (tmp_path / "r.pdf").read_bytes()
    assert raw.startswith(b"%PDF") and len(raw) > 30_000
    # what was out of sight is drawn too
    assert tab.run("[...document.querySelectorAll('[data-chart] svg')].every(s => s.querySelector('path'))")


def test_without_javascript_the_numbers_stand(show: Show, report: Any) -> None:
    tab = show(script="off")
    root = tab.send("DOM.getDocument", depth=-1)["root"]["nodeId"]

    def count(selector: str) -> int:
        return len(tab.send("DOM.querySelectorAll", nodeId=root, selector=selector)["nodeIds"])

    K, B, J = report.tilt.gain.shape
    assert count("#gains noscript table tbody tr") == K * J
    assert count("[data-scripted]") == count("[data-scripted][hidden]") == 2  # no headings without their charts
    assert count("#frontiers noscript tbody tr") == K * J and count("#frontiers noscript tbody td") == K * J * B
    assert count("#diagnostics noscript tbody tr") == K
    first = tab.send("DOM.querySelector", nodeId=root, selector="#gains noscript tbody tr")["nodeId"]
    html = tab.send("DOM.getOuterHTML", nodeId=first)["outerHTML"]
    best = report.best().index[1]
    assert f"{report.gain[0, best, 0]:+.4f}" in html and f"{report.gain_sd[0, best, 0]:+.2f}" in html
    box = tab.send("DOM.getBoxModel", nodeId=first)["model"]
    assert box["height"] > 10 and box["width"] > 300  # it is seen, not only there


def test_phone_does_not_scroll_sideways(show: Show) -> None:
    tab = show(width=390, height=844)
    tab.settle()
    assert tab.run("document.documentElement.scrollWidth") <= 390


def test_structure_for_assistive_technology(show: Show) -> None:
    tab = show(height=6000, reduced_motion="reduce")
    tab.settle()
    for landmark in ("header", "nav[aria-label]", "main", "footer", "a.skip"):
        assert tab.run(f"document.querySelectorAll('body > {landmark}').length") == 1
    assert tab.run("[...document.querySelectorAll('th')].every(t => ['col', 'row'].includes(t.getAttribute('scope')))")
    assert tab.run("[...document.querySelectorAll('table')].every(t => t.caption !== null)")
    headed = "s => document.getElementById(s.getAttribute('aria-labelledby'))"
    assert tab.run(f"[...document.querySelectorAll('section')].every({headed})")
    named = "e.getAttribute('aria-label') || e.labels?.length || e.textContent.trim()"
    controls = "[...document.querySelectorAll('button, input, select, figure svg')]"
    unnamed = tab.run(f"{controls}.filter(e => !({named})).map(e => e.outerHTML)")
    assert unnamed == [] and tab.run("document.documentElement.lang") == "en"
    levels = tab.run("[...document.querySelectorAll('h1, h2, h3')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1 and levels.count(1) == 1 and all(b - a <= 1 for a, b in pairwise(levels))
    assert tab.run("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    assert tab.run("getComputedStyle(document.querySelector('#main-table tbody tr')).transitionDuration") == "0s"
    tab.key("Tab")
    assert tab.run("document.activeElement.className") == "skip"
    tab.key("Enter")
    assert tab.run("location.hash") == "#gains"


def test_past_what_the_rows_can_say_there_is_no_number(show: Show, tmp_path: Path) -> None:
    report = few()
    assert report.past_horizon[:, 1].all() and not report.past_horizon[:, 0].any()
    report.to_html(tmp_path / "few.html")
    tab = show(tmp_path / "few.html")
    for b in range(2):
        set_kl(tab, b)
        for k, cells in zip(tab.run(ROWS), tab.run(CELLS), strict=True):
            assert cells[3] == ("\u2013" if b else minus(f"{report.gain[k, b, 0] / report.value_sd[0]:+.2f}"))


def test_the_legend_speaks_of_one_bound_where_there_is_one(show: Show, tmp_path: Path) -> None:
    rng, ids = np.random.default_rng(5), np.repeat(np.arange(100), 16)
    heavy = rng.laplace(size=(len(ids), 1))  # single responses outweigh their prompt at the second level
    report = cm.report(
        heavy, constitutions=cm.Scores(heavy), values=heavy + rng.normal(size=heavy.shape), prompt_ids=ids,
        kl=[0.05, 0.9], sections=(),
    )  # fmt: skip
    assert [bool(x) for x in report.policy.skewed[0, :, 0]] == [False, True]
    report.to_html(tmp_path / "heavy.html")
    tab = show(tmp_path / "heavy.html")
    for b in range(2):
        set_kl(tab, b)
        assert ("no bound on that side" in tab.run("document.getElementById('main-said').innerText")) == bool(b)


def small_worlds() -> list[tuple[str, Any, dict[str, Any]]]:
    rng = np.random.default_rng(1)
    phi = rng.normal(size=(120, 3)).astype(np.float32)
    values = rng.normal(size=(120, 2))
    ids = np.arange(120) // 6
    flat, part = values.copy(), values.copy()
    flat[:, 1], part[::3, 1] = 1.0, np.nan
    return [
        ("one prompt", values, {"prompt_ids": np.zeros(120), "dump": phi}),
        ("one value, one level, one judge", values[:, :1], {"prompt_ids": ids, "dump": phi, "kl": [0.1]}),
        ("a value that does not vary", flat, {"prompt_ids": ids, "dump": phi}),
        ("unlabelled rows", part, {"prompt_ids": ids, "dump": phi}),
        ("levels out of order and out of reach", values, {"prompt_ids": ids, "dump": phi, "kl": [5.0, 0.05, 0.3]}),
        ("no sections", values, {"prompt_ids": ids, "dump": phi, "sections": ()}),
        ("huge numbers", values * 1e60, {"prompt_ids": ids, "dump": phi}),
    ]


@pytest.mark.parametrize(("name", "values", "given"), small_worlds(), ids=[w[0] for w in small_worlds()])
def test_odd_reports_draw(show: Show, tmp_path: Path, name: str, values: Any, given: dict[str, Any]) -> None:
    import clinometer as cm

    options = {k: v for k, v in given.items() if k != "dump"}
    report = cm.report(
        given["dump"], constitutions=np.eye(3)[: 1 if "one judge" in name else 3], values=values, **options
    )
    report.to_html(tmp_path / "odd.html")
    tab = show(tmp_path / "odd.html", height=6000)
    tab.settle()
    shown = tab.run(ROWS)
    assert sorted(shown) == list(range(len(report.constitutions)))
    for i in range(tab.run("document.querySelectorAll('input[name=view]').length")):
        tab.run(f"document.querySelectorAll('input[name=view]')[{i}].click()")
        tab.settle()
    attributes = "[...document.querySelectorAll('svg *')].flatMap(e => [...e.attributes])"
    wrong = f"{attributes}.filter(a => /NaN|Infinity|undefined/.test(a.value))"
    assert tab.run(f"{wrong}.map(a => a.ownerElement.outerHTML)") == []
    assert "NaN" not in tab.run("document.body.innerText") and "undefined" not in tab.run(
        "document.querySelector('main').innerText"
    )


@pytest.fixture(scope="module")
def many(report: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("many") / "many.html"
    made = grown(report, 200, 16)
    assert made.tilt.gain.shape == (200, 16, 4)
    made.to_html(path)
    return path


def test_200_constitutions_at_16_levels(browser: Browser, show: Show, many: Path, tmp_path: Path) -> None:
    assert many.stat().st_size < 3_000_000
    tab = show(many)
    times = []
    for _ in range(3):  # the machine may be busy: the best of three
        times.append(float(tab.run("document.documentElement.dataset.ready")))
        tab.go(many)
    assert min(times) < 2000
    assert tab.run("document.querySelectorAll('*').length") < 5000 and len(tab.run(ROWS)) == 25
    began = time.monotonic()
    for b in (0, 7, 15):
        set_kl(tab, b)
    assert (time.monotonic() - began) / 3 < 1.0
    tab.mouse(".more", click=True)
    assert len(tab.run(ROWS)) == 200
    data = json.loads(downloaded(browser, tab, tmp_path, "JSON"))
    assert data["significant_digits"] == 6 and len(data["tilt"]["gain"]) == 200


def test_a_large_file_says_what_to_json_says_to_six_digits(report: Any, many: Path) -> None:
    text = many.read_text().split('id="report-data">')[1].split("</script>")[0]
    kept, whole = json.loads(text), json.loads(grown(report, 200, 16).to_json())

    def same(a: Any, b: Any) -> bool:
        if isinstance(a, dict):
            return all(name in b and same(a[name], b[name]) for name in a)
        if isinstance(a, list):
            return len(a) == len(b) and all(map(same, a, b))
        return bool(a == b or (isinstance(a, float) and abs(a - b) <= 1e-5 * abs(b)))

    assert kept.pop("significant_digits") == 6
    assert set(kept) == set(whole) and same(kept, whole)
