#!/bin/sh
# Expected: a game whose verdict is missing is left out of arena-rank's Bradley-Terry fit, or refused, and so is a table in
# whose column "winner" stand verdicts that it does not know.
# Happens: only "model_a" and "model_b" are wins, and all else, None and NaN too, is a tie: with a third of the verdicts
# missing all gaps are about half as large, and the intervals two fifths narrower than without these rows. With the winners'
# names, or "A" and "B", all competitors have 1000 and an interval of no width. Nothing is said.
# Seen: 2026-12-01, Python 3.11, arena-rank 0.1.1, JAX 0.8.1, pandas 3.1.1, NumPy 2.3.3
# Hurts: who ranks models by preferences of judges of whom some gave no answer: models seem closer than they are, and the
# intervals exclude the true ratings. Drop the rows before, or pass an outcome_map that refuses what it does not know.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.3.3 pandas==3.1.1 \
    jax==0.8.1 jaxlib==0.8.1 arena-rank==0.1.1
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'pandas', 'jax', 'jaxlib', 'arena-rank']:
    print(name, importlib.metadata.version(name))
print('games without a verdict count as ties')

import numpy as np
import pandas as pd
from arena_rank.models.bradley_terry import BradleyTerry
from arena_rank.utils.data_utils import PairDataset


def fit(games):
    dataset = PairDataset.from_pandas(games)
    found = BradleyTerry(n_competitors=len(dataset.competitors)).compute_ratings_and_cis(dataset, significance_level=0.05)
    return pd.DataFrame(found).set_index("competitors").sort_index()


rng = np.random.default_rng(0)
true = np.linspace(240, -240, 6)
pairs = np.array([rng.choice(6, 2, replace=False) for _ in range(6000)])
first = rng.random(6000) < 1 / (1 + 10 ** ((true[pairs[:, 1]] - true[pairs[:, 0]]) / 400))
games = pd.DataFrame({"model_a": [f"m{a}" for a in pairs[:, 0]], "model_b": [f"m{b}" for b in pairs[:, 1]]})
games["winner"] = np.where(first, "model_a", "model_b")
silent = games.assign(winner=games["winner"].where(rng.random(6000) > 1 / 3))
named = games.assign(winner=games["model_a"].where(first, games["model_b"]))
letters = games.assign(winner=games["winner"].str[-1].str.upper())
print("true ratings", 1000 + true)
gaps, widths = {}, {}
tables = {"all verdicts": games, "a third missing": silent, "these dropped": silent.dropna()}
for name, table in (tables | {"winners' names": named, "A or B": letters}).items():
    rated = fit(table)
    gaps[name] = float(rated["ratings"].iloc[0] - rated["ratings"].iloc[-1])
    widths[name] = float((rated["rating_upper"] - rated["rating_lower"]).mean())
    print(f"{name}: ratings {rated['ratings'].round(0).tolist()}, first to last {gaps[name]:.0f}", end=", ")
    print(f"width of intervals {widths[name]:.1f}")
same = abs(gaps["all verdicts"] - 480) < 50 and abs(gaps["these dropped"] - 480) < 50 and gaps["a third missing"] < 320
same = same and widths["a third missing"] < 0.75 * widths["these dropped"] and gaps["A or B"] == gaps["winners' names"] == 0
if not same:
    sys.exit("the behaviour has changed")
END
