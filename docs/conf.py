"""The site: `make docs` builds it into build/site, warnings as errors."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert

import clinometer

project, author, copyright = "clinometer", "the clinometer authors", "the clinometer authors, Apache-2.0"
version = release = clinometer.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns = ["img"]
html_theme = "furo"
html_title = "clinometer"
html_static_path, html_css_files = ["_static"], ["site.css"]
html_copy_source = False
html_math_renderer = "mathml"  # formulas that a browser sets by itself, with neither scripts nor a network

myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_output_stderr = "remove"

autodoc_typehints = "none"  # shapes and units stand in the text; the signature has the types
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_mock_imports = ["torch", "transformers", "trl"]  # extras that a build of the site need not have
linkcheck_ignore = [r"https?://"]  # the site's own links alone: a build needs no network
suppress_warnings = ["myst.header", "mystnb.mime_priority"]  # headings of included pages begin where they begin


def as_it_stands(app: object, what: str, name: str, item: object, options: object, lines: list[str]) -> None:
    """Docstrings are plain text with sections, not reStructuredText: shown as `help` shows them, but that lines of one
    paragraph are one, for the page to wrap."""
    out: list[str] = []
    for line in lines:
        before = out[-1] if out else ""
        apart = re.match(r" *(-|>>>|\.\.\.|(?:Cost|Errors|Memory): |[\w*., `/]+ : )", line)
        apart = apart or re.match(r" *(-{3,}$|>>>|\.\.\.)", before)
        if not line or not before or apart or _indent(line) != _indent(before) or _in_example(out):
            out.append(line)
        else:
            out[-1] += " " + line.strip()
    lines[:] = [".. code-block:: text", "   :class: docstring", "", *(f"   {line}" for line in out), ""] if out else out


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _in_example(lines: list[str]) -> bool:
    """Whether the paragraph that the lines end in has a prompt of Python."""
    last = len(lines) - next((i for i, line in enumerate(reversed(lines)) if not line), len(lines))
    return any(line.lstrip().startswith(">>>") for line in lines[last:])


def formula(tex: str, display: str) -> str:
    """MathML; with a thin space behind the name of a function, and none about the bars of an absolute value."""
    made = convert(tex, display=display).replace("<mo>&#x0007C;</mo>", '<mo lspace="0" rspace="0">&#x0007C;</mo>')
    return re.sub(r"<mi>(log|exp|cos|arc\w+)</mi>(?!<mo)", r'<mi>\1</mi><mspace width="0.17em"/>', made)


def inline(page: Any, node: nodes.Node) -> None:
    page.body.append(formula(node.astext(), "inline"))
    raise nodes.SkipNode


def displayed(page: Any, node: nodes.Node) -> None:
    page.body.append(f'<div class="formula">{formula(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> None:
    app.add_html_math_renderer("mathml", (inline, None), (displayed, None))
    app.connect("autodoc-process-docstring", as_it_stands)
