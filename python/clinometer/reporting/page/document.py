"""The document: head with its policy, the sections in the order of the decision, data and script."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from clinometer.common.visible import markup

from . import numbers, sections
from .payload import embedded, position, report_data, view_data

if TYPE_CHECKING:
    from clinometer.reporting.result import Report

WEB = Path(__file__).resolve().parent.parent / "web"
# one scope for all of them: in this order, helpers before those that use them
SCRIPTS = (
    "core.js", "figures.js", "axes.js", "plot.js", "forest.js", "columns.js", "table.js", "redraw.js", "charts.js",
    "doubts.js", "downloads.js", "main.js",
)  # fmt: skip


@cache
def _assets() -> tuple[str, str]:
    """Style and script."""
    script = "\n".join((WEB / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return (WEB / "report.css").read_text(encoding="utf-8"), f'"use strict";\n(() => {{\n{script}\n}})();\n'


def _digest(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def _policy(style: str, script: str) -> str:
    """Nothing loads, nothing but this style and this script applies, and no text can become markup."""
    return (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def page(report: Report) -> str:
    """The whole file."""
    style, script = _assets()
    title = f"clinometer: {markup(report.dump.name)}"
    parts = [(name, made) for name, made in _sections(report) if made]
    links = "".join(f'<a href="#{_anchor(name)}">{name}</a> ' for name, _ in parts)
    body = "\n".join(_section(name, made) for name, made in parts)
    # beside the sections rather than in one, so that it stays in sight over all of them
    body = body.replace('<section id="gains"', '<div id="controls" hidden></div>\n<section id="gains"', 1)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(style, script)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">\n'
        f"<title>{title}</title><style>{style}</style></head><body>\n"
        f'<a class="skip" href="#gains">Skip to the gains</a>\n{_header(report, title)}\n'
        f'<nav aria-label="Sections">{links}</nav>\n<main>\n{body}\n</main>\n'
        "<footer><p>Made by clinometer. This file holds its data and loads nothing.</p></footer>\n"
        '<div id="tip" role="tooltip" hidden></div><p id="said" class="unseen" aria-live="polite"></p>\n'
        f'<script type="application/json" id="report-data">{embedded(report_data(report))}</script>\n'
        f'<script type="application/json" id="view-data">{embedded(view_data(report))}</script>\n'
        f"<script>{script}</script></body></html>\n"
    )


def _sections(report: Report) -> list[tuple[str, str]]:
    return [
        ("Verdict", sections.verdict(report)),
        ("Gains", sections.gains(report)),
        ("Responses", sections.responses(report)),
        ("Frontiers", sections.frontiers(report)),
        ("Conflicts", sections.conflicts(report)),
        ("Layers", numbers.layers(report)),
        ("Spectrum", numbers.spectrum(report)),
        ("Rounds", numbers.rounds(report)),
        ("Diagnostics", numbers.diagnostics(report)),
        ("Not covered", numbers.listed(report.not_covered)),
        ("Reproduce", numbers.reproduce(report)),
    ]


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


def _section(name: str, made: str) -> str:
    anchor = _anchor(name)
    return f'<section id="{anchor}" aria-labelledby="h-{anchor}"><h2 id="h-{anchor}">{name}</h2>\n{made}</section>'


def _header(report: Report, title: str) -> str:
    d = report.dump
    low, middle, high = d.responses
    spread = f"{middle:g}" if low == high else f"{low:g} to {high:g}, median {middle:g}"
    facts = [
        ("responses", f"{d.n_rows:,}"), ("prompts", f"{d.n_prompts:,}"), ("a prompt", spread),
        ("clusters", "" if d.n_clusters is None else f"{d.n_clusters:,}"), ("weights", "by prompt" * d.weighted),
        ("layer", "" if d.layer is None else str(d.layer)), ("position", position(d.site) or ""),
        ("dimensions", f"{d.dim} {d.dtype}"), ("base", d.base), ("prompts dropped", str(d.n_dropped)),
    ]  # fmt: skip
    listed = "".join(f"<div><dt>{name}</dt><dd>{markup(x)}</dd></div>" for name, x in facts if x)
    kind, badge = ("forecast", "Forecast") if d.is_forecast else ("reweighting", "Re-weighting")
    site = "" if d.site is None else f'<span class="dim">, {markup(d.site)}</span>'
    return (
        f'<header><div class="top"><h1>{title}{site}</h1>'
        f'<p><strong class="badge {kind}">{badge}</strong> {markup(d.kind)}</p></div>'
        f"<dl>{listed}</dl></header>"
    )
