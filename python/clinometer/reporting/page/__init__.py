"""A report as one HTML file: text and tables here, charts and controls by the script in `web/`.

The file needs nothing from outside. Without JavaScript the numbers stand in plain tables; with it the same data,
embedded as JSON under the names of `Report.to_json`, feed a table and charts that follow a KL slider.
"""

from __future__ import annotations

from .document import page

__all__ = ["page"]
