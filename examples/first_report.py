"""A first report, step by step, on the dump that comes with the package.

    python examples/first_report.py [DUMP]

With a dump of your own, change the names: `clinometer inspect DUMP` shows what it has. Writes report.html.
"""

from __future__ import annotations

import sys
from pathlib import Path

import clinometer as cm

path = sys.argv[1] if len(sys.argv) > 1 else str(Path(cm.__file__).parent / "data" / "demo")

dump = cm.open_dump(path, layer=24)
r = cm.report(
    dump,
    constitutions=["judge/kind", "judge/honest"],  # judge columns, or pairs, directions, fits
    values=["helpful", "-harm"],  # "-" says smaller is better; length is added by itself
    kl=[0.25, 0.5, 1.0],
)
print(r)  # table: gain, both intervals, win rate, length, class, trust
print(r.verdict())  # one sentence, corrected for having picked the best; "cannot tell" is an answer
print(cm.examples(dump, "judge/kind", kl=0.5, n=5))  # responses that gain and lose most probability
r.to_html("report.html")
try:
    r.check("-harm >= 0 at kl=0.5 for recommended")
except cm.CheckFailed as failed:
    print(failed)  # a script or a CI job would stop here; the command line exits 1
