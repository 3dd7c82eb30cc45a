"""Text from outside cannot run, load or pass for something else."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from chromium import Browser, Tab
from payloads import PAYLOADS
from test_page import downloaded, read_csv
from worlds import grown

from clinometer.common.visible import visible


def poisoned(report: Any) -> Any:
    """The report with a payload wherever a text can come from outside."""
    wide = grown(report, len(PAYLOADS), 2)
    values = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\u202e</script>", wide.values[3])
    examples = tuple(
        {**report.examples[0], "prompt": p, "text": p, "prompt_id": p, "row": i} for i, p in enumerate(PAYLOADS)
    )
    layers = tuple({**report.layers[0], "site": p, "layer": i} for i, p in enumerate(PAYLOADS))
    classes = np.asarray(wide.classes, object).copy()
    classes[:, 0] = PAYLOADS
    dump = replace(
        wide.dump, name=PAYLOADS[0], site=f"phi_{PAYLOADS[1]}_L3", dtype=PAYLOADS[9], base=PAYLOADS[16], policy=None
    )
    few = tuple(PAYLOADS[: len(report.constitutions)])
    return replace(
        wide, constitutions=PAYLOADS, values=values, examples=examples, notes=PAYLOADS, not_covered=PAYLOADS,
        needs=PAYLOADS, layers=layers, command="\n".join(PAYLOADS), classes=classes, dump=dump,
        tilt=replace(wide.tilt, fit_status=PAYLOADS), iterated={**wide.iterated, "constitution": PAYLOADS[2]},
        pareto=replace(report.pareto, constitutions=few, values=values[:3]),
        selection=replace(wide.selection, constitutions=PAYLOADS),
    )  # fmt: skip


def exercise(tab: Tab) -> None:
    """Touch everything: views, units, sorts, filters, slider, hover and focus."""
    for selector in ("input[name=view]", "input[name=unit]"):
        for i in range(tab.run(f"document.querySelectorAll('{selector}').length")):
            tab.run(f"document.querySelectorAll('{selector}')[{i}].click()")
            tab.settle()
    tab.run("document.querySelector('input[name=view][value=all]').click()")
    tab.settle()
    tab.mouse(".more", click=True)
    tab.mouse("thead [data-focus=sortname]", click=True)
    tab.mouse("thead [data-focus=sortclass]", click=True)
    tab.run("document.getElementById('kl').focus()")
    for key in ("ArrowLeft", "ArrowRight"):
        tab.key(key)
    for row in (1, 20, 60, 100):
        tab.mouse(f"#main-table tbody tr:nth-child({row}) td.wide-cell")
        tab.mouse(f"#main-table tbody tr:nth-child({row}) .pin", click=True)
    tab.run("document.querySelector('[data-chart=frontiers] svg').focus()")
    for key in ("ArrowRight", "ArrowDown", "ArrowDown"):
        tab.key(key)


def test_a_hundred_payloads_do_nothing(browser: Browser, show: Callable[..., Tab], report: Any, tmp_path: Path) -> None:
    assert len(PAYLOADS) >= 100 and len(set(PAYLOADS)) == len(PAYLOADS)
    path = tmp_path / "hostile.html"
    bad = poisoned(report)
    page = bad.to_html(path)
    assert not {c for c in page if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - {"\n"}
    tab = show(path, height=3000)
    exercise(tab)
    assert tab.run("typeof globalThis.owned") == "undefined"
    assert tab.dialogs() == [] and tab.requests() == []
    loading = "iframe, object, embed, link, form, base, img, image, video, audio, foreignObject, animate, set, use"
    assert tab.run("[document.scripts.length, document.styleSheets.length]") == [3, 1]
    assert tab.run(f"document.querySelectorAll('{loading}').length") == 0
    attributes = "[...document.querySelectorAll('*')].flatMap(e => [...e.attributes])"
    handlers = tab.run(f"{attributes}.filter(a => a.name.startsWith('on')).length")
    links = tab.run(f"{attributes}.filter(a => /^(href|src|srcset|action|ping)$/.test(a.name)).map(a => a.value)")
    assert handlers == 0 and all(link.startswith("#") for link in links)
    # and the names are still what they were
    assert json.loads(downloaded(browser, tab, tmp_path, "JSON"))["constitutions"] == list(PAYLOADS)


def test_csv_cells_are_no_formulas_and_round_trip(
    browser: Browser, show: Callable[..., Tab], report: Any, tmp_path: Path
) -> None:
    path = tmp_path / "hostile.html"
    poisoned(report).to_html(path)
    rows = read_csv(downloaded(browser, show(path), tmp_path, "CSV").decode())
    texts = [rows[0].index(name) for name in ("constitution", "value", "class", "label_status", "kind")]
    per = (len(rows) - 1) // len(PAYLOADS)
    for k, payload in enumerate(PAYLOADS):
        cell = rows[1 + k * per][0]
        assert cell in (visible(payload), f"'{visible(payload)}")
        assert cell.startswith("'") or not payload.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r"))
    for row in rows[1:]:
        for i, cell in enumerate(row):
            if i in texts:
                assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
            elif cell not in ("", "True", "False"):
                float(cell)


def test_the_policy_stops_what_would_slip_through(browser: Browser, file: Path) -> None:
    tab = browser.open(file)
    tab.run("globalThis.owned = 0")
    for attempt in (
        "const s = document.createElement('script'); s.text = 'globalThis.owned = 1'; document.body.append(s)",
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=globalThis.owned=2>')",
        "const d = document.createElement('div'); d.setAttribute('onclick', 'globalThis.owned = 3'); d.click()",
        "const i = document.createElement('img'); i.src = 'https://attacker.invalid/x'; document.body.append(i)",
    ):
        tab.run(f"(() => {{ try {{ {attempt}; }} catch {{}} }})()")
    assert tab.run("fetch('https://attacker.invalid/x').then(() => 'got', () => 'stopped')") == "stopped"
    tab.settle()
    assert tab.run("globalThis.owned") == 0 and tab.dialogs() == []
    assert not any(e["method"] == "Network.responseReceived" and "attacker" in str(e) for e in tab.collect(0.2))
    assert any("Content Security Policy" in p for p in tab.problems())
    tab.close()


def test_the_harness_sees_what_it_should(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "open.html"
    path.write_text("<script>alert(7); fetch('http://127.0.0.1:9/x').catch(() => 0); missing()</script>")
    tab = browser.open(path)
    tab.collect(0.2)
    assert tab.dialogs() == ["7"] and tab.requests() == ["http://127.0.0.1:9/x"]
    assert any("missing is not defined" in p for p in tab.problems())
    tab.close()
