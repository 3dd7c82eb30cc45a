"""Draw every plot of clinometer.plot from the demo dump, and two of worlds with known truth, as docs/img/*.png.

    python examples/plots.py [FOLDER]

Needs the extra "plot". The pictures are compared with what this script draws by tests/python/test_plot.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

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
        "orders": first_order_and_exact,
        "horizon": few_responses,
    }


def first_order_and_exact(ax: Any) -> Any:
    """A value with a best amount: the exact gain turns where the first order goes on (theory 2.4)."""
    ids, kl = np.repeat(np.arange(2000), 64), np.linspace(0.005, 1.0, 40)
    detail = np.random.default_rng(0).standard_normal(len(ids))
    t = cm.tilt(cm.Scores(detail, prompt_ids=ids), None, values=-((detail - 0.5) ** 2), kl=kl)
    ax = _axes(ax, "a value with a best amount, -(t - 0.5)^2 for a judge t")
    orders = (("exact", t.gain, "-"), ("first order", t.first_order, "--"), ("second order", t.second_order, ":"))
    for name, gain, line in orders:
        ax.plot(kl, gain[0, :, 0], line, label=name)
    ax.axhline(0, color="grey", lw=0.8)
    ax.set_ylim(-1.2, 1.6)
    ax.legend(frameon=False)
    return ax


def few_responses(ax: Any) -> Any:
    """The tilt of the rows falls short of the policy's, which a report corrects up to the horizon (theory 2.9)."""
    kl = np.linspace(0.02, 1.2, 30)
    ax = _axes(ax, "the gain of 4, 8 and 16 responses to a prompt")
    for colour, n in enumerate((4, 8, 16)):
        world = cm.simulate(n_prompts=2000, n_responses=n, dim=8, random_state=1)
        report = cm.report(world, constitutions="judge/c0", values="s", kl=kl.tolist(), sections=[])
        ax.plot(kl, report.gain_rows[0, :, 0], "--", color=f"C{colour}", label=f"{n} responses, on rows")
        ax.plot(kl, report.gain[0, :, 0], color=f"C{colour}", label=f"{n} responses, report")
    value, judge, sigma = world.truth.u_star, world.truth.u_c[0], world.truth.sigma
    ax.plot(kl, value @ sigma @ judge / np.sqrt(judge @ sigma @ judge) * np.sqrt(2 * kl), "k:", label="truth")
    ax.legend(frameon=False)
    return ax


def _axes(ax: Any, title: str) -> Any:
    from matplotlib import pyplot

    ax = ax or pyplot.subplots(figsize=(6.4, 4.0), layout="constrained")[1]
    ax.set(title=title, xlabel="KL from the base policy (nats)", ylabel="gain")
    return ax


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
