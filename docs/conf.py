"""The site: `make docs` builds it into build/site, warnings as errors."""

from __future__ import annotations

import clinometer

project, author, copyright = "clinometer", "the clinometer authors", "the clinometer authors, Apache-2.0"
version = release = clinometer.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.mathjax"]
exclude_patterns = ["img"]
html_theme = "furo"
html_title = "clinometer"
html_copy_source = False

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
    """Docstrings are plain text with sections, not reStructuredText: shown as `help` shows them."""
    lines[:] = ["::", "", *(f"   {line}" for line in lines), ""] if any(lines) else lines


def setup(app: object) -> None:
    app.connect("autodoc-process-docstring", as_it_stands)  # type: ignore[attr-defined]
