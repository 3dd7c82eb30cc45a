"""Screenshots of the report on the packaged dump: light, dark, the frontiers, and on a phone.

    python tests/browser/screenshots.py docs/img

wants a `chromium`, and Pillow (it comes with the extra `plot`) for small files.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from chromium import Browser
from PIL import Image

import clinometer as cm
from clinometer.cli.commands import DEMO_JUDGES, DEMO_LAYER, DEMO_VALUES

SIZES = {"light": (1280, 900), "dark": (1280, 900), "phone": (390, 844), "frontiers": (1280, 900)}


def _smaller(path: Path) -> None:
    """Channels in steps of 8: fewer shades of anti-aliased text, and colours that stay what they are."""
    image = Image.open(path).convert("RGB")
    steps = image.point([8 * round(v / 8) if v < 252 else 255 for v in range(256)] * 3)
    steps.save(path, optimize=True)


def take(folder: Path) -> None:
    """One PNG each into the folder."""
    dump = cm.open_dump(Path(cm.__file__).parent / "data" / "demo", layer=DEMO_LAYER)
    report = cm.report(dump, constitutions=list(DEMO_JUDGES), values=list(DEMO_VALUES))
    with tempfile.TemporaryDirectory() as scratch, Browser() as browser:
        file = Path(scratch) / "report.html"
        report.to_html(file)
        for name, (width, height) in SIZES.items():
            scheme = "dark" if name == "dark" else "light"
            tab = browser.open(file, width=width, height=height, color_scheme=scheme)
            if name == "frontiers":
                tab.run("document.getElementById('frontiers').scrollIntoView({behavior: 'instant'})")
                tab.settle()
                tab.mouse("[data-chart=frontiers] svg", along=0.5, down=0.35)
            tab.settle()
            made = folder / f"report-{name}.png"
            tab.screenshot(made)
            _smaller(made)
            tab.close()


if __name__ == "__main__":
    take(Path(sys.argv[1]))
