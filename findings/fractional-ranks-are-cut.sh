#!/bin/sh
# Expected: openskill's rate(ranks=...) takes floats, "where the lower values represent winners", so 1, 1.5, 2 is the
# order 1, 2, 3; its models of Bradley-Terry and Thurstone-Mosteller do so.
# Happens: PlackettLuce cuts ranks to whole numbers: 1 and 1.5 tie, 0.1, 0.2 and 0.3 all tie, and the winner's rating
# falls where it should rise. The same order as scores= is right. No warning.
# Seen: 2026-11-29, Python 3.11, openskill 6.2.0
# Hurts: who ranks responses by a loss or by mean ranks of several judges: what differs by less than one is a tie.
# Pass negated losses as scores=, or whole ranks.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check openskill==6.2.0
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['openskill']:
    print(name, importlib.metadata.version(name))
print('Plackett-Luce ranks 0.1, 0.2, 0.3 are a tie')

from openskill.models import BradleyTerryFull, PlackettLuce


def rated(model, **order):
    model = model()
    teams = [[model.rating(mu=20 + i, sigma=5)] for i in range(3)]
    return [round(team[0].mu, 3) for team in model.rate(teams, **order)]


for model in (PlackettLuce, BradleyTerryFull):
    for ranks in ([1, 2, 3], [1.0, 1.5, 2.0], [0.1, 0.2, 0.3], [1, 1, 1]):
        print(model.__name__, "ranks", ranks, "->", rated(model, ranks=ranks))
    print(model.__name__, "scores", [-0.1, -0.2, -0.3], "->", rated(model, scores=[-0.1, -0.2, -0.3]))
whole, tie = rated(PlackettLuce, ranks=[1, 2, 3]), rated(PlackettLuce, ranks=[1, 1, 1])
same = (
    rated(PlackettLuce, ranks=[0.1, 0.2, 0.3]) == tie != whole
    and rated(PlackettLuce, ranks=[1.0, 1.5, 2.0]) == rated(PlackettLuce, ranks=[1, 1, 2]) != whole
    and rated(PlackettLuce, scores=[-0.1, -0.2, -0.3]) == whole
    and rated(BradleyTerryFull, ranks=[0.1, 0.2, 0.3]) == rated(BradleyTerryFull, ranks=[1, 2, 3])
)
if not same:
    sys.exit("the behaviour has changed")
END
