"""Draw every plot of clinometer.plot from the demo dump, as docs/img/*.png.

    python examples/plots.py [FOLDER]

Needs the extra "plot". The pictures are compared with what this script draws by tests/python/test_plot.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import clinometer as cm

DEMO = Path(cm.__file__).parent / "data" / "demo"
JUDGES, VALUES = ["judge/kind", "judge/honest"], ["helpful", "-harm", "positive"]
KL = [0.1, 0.25, 0.5, 1.0]


def pictures() -> dict[str, Callable[[Any], Any]]:
    """Each picture's name, and what draws it on an Axes (None: one of its own)."""
    dump = cm.open_dump(DEMO, layer=24)
    report = cm.report(dump, constitutions=JUDGES, values=VALUES, kl=KL)
    return {
        "frontier": lambda ax: cm.plot.frontier(cm.theory.gain_kl_frontier(dump, JUDGES, "helpful", kl=KL), ax),
        "tradeoffs": lambda ax: cm.plot.tradeoffs(report, ax),
        "cone": lambda ax: cm.plot.cone(report, ax),
        "pareto": lambda ax: cm.plot.cone(cm.lp.pareto(dump, JUDGES, VALUES), ax),
        "spectrum": lambda ax: cm.plot.spectrum(cm.moments(dump), ax),
        "layers": lambda ax: cm.plot.layers(by_layer(dump), ax),
        "iterate": lambda ax: cm.plot.iterate(cm.theory.iterate(dump, "judge/honest", 4.0, VALUES, rounds=6), ax),
    }


def by_layer(dump: Any) -> Any:
    """Encoding quality at every layer of the dump."""
    sources = {layer: dump.select(layer=layer) for layer in dump.layers}
    return cm.theory.ceiling_by_layer(sources, VALUES, fits={"pooled": False})


def main(folder: Path) -> None:
    """Write the pictures."""
    import matplotlib

    matplotlib.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in pictures().items():
        figure = draw(None).figure
        figure.savefig(folder / f"{name}.png", dpi=100, metadata={"Software": None})
        print(folder / f"{name}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(__file__).resolve().parent.parent / "docs" / "img")
    main(parser.parse_args().folder)
