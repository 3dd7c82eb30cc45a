#!/bin/sh
# Expected: Bradley-Terry scores of a tournament in which one item wins all its games put that item first, as far
# ahead as the number of steps lets it; or the program says that there is no finite maximum.
# Happens: evalica's bradley_terry and newman give every item the same score, 1e-6, the tolerance: the unbeaten one,
# and those whose own games say clearly who is stronger. One that never wins does so to bradley_terry. No warning; the
# former counts as converged after 2 steps. Average win rates of the same games are right.
# Seen: 2026-11-29, Python 3.11, evalica 0.4.2, pandas 3.1.1, NumPy 2.4.6
# Hurts: who ranks policies or responses from a judge's comparisons: one very good or very bad model, or one with
# few games, makes a leaderboard of ties in the order in which names came first.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 pandas==3.1.1 evalica==0.4.2
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'pandas', 'evalica']:
    print(name, importlib.metadata.version(name))
print('one item that never loses makes all Bradley-Terry scores equal')

import evalica
from evalica import Winner


def play(*games):
    return zip(*[(x, y, Winner.X if left else Winner.Y) for x, y, wins, losses in games for left in [1] * wins + [0] * losses])


rest = [("b", "c", 17, 3), ("c", "d", 16, 4), ("b", "d", 19, 1)]
scores = {}
for name, games in [
    ("three items", rest),
    ("and one unbeaten", [*rest, ("a", "b", 5, 0), ("a", "c", 5, 0), ("a", "d", 5, 0)]),
    ("and one that never wins", [*rest, ("e", "d", 0, 2)]),
]:
    result = evalica.bradley_terry(*play(*games))
    scores[name] = result.scores
    print(name, result.scores.round(9).to_dict(), "steps", result.iterations)
    print("  newman", evalica.newman(*play(*games)).scores.round(9).to_dict())
    print("  win rates", evalica.average_win_rate(*play(*games)).scores.round(3).to_dict())
first, unbeaten, beaten = scores.values()
newman = evalica.newman(*play(*rest, ("a", "b", 5, 0), ("a", "c", 5, 0), ("a", "d", 5, 0))).scores
same = first["b"] > 4 * first["c"] > 8 * first["d"] and unbeaten.nunique() == beaten.nunique() == newman.nunique() == 1
if not same:
    sys.exit("the behaviour has changed")
END
