"""How many wrong results the tests and `clinometer verify` notice (`make mutants`).

    python tests/mutants/run.py [--results FILE] [--seconds 8] [--again] [CLASS | CLASS.FIELD ...]

Every public float field of every result is multiplied by 1.01 and by -1, one field and one factor at a time
(fields.py says how). First the tests of every field and the claims of `verify` run once each and tell which fields
they build with a number in them; then each mutant meets those that build its field, those that name it first and the
fastest of these first, until one fails. Mutants that are left meet the other tests that name their field. All of it
runs in one process that has collected the tests and forks for each run, so that a run starts in milliseconds and with
no results of an earlier one in any cache; a test that dies of a mutant, or never ends, has noticed it.

What is known is kept in build/mutants: a run that is interrupted goes on where it stopped. A test file that changes
loses what it has seen and noticed, a change of the package or of what tests share loses everything; --again tries
the survivors once more. Needs Linux. About five minutes of one core from nothing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import fields
import pytest
from session import Session
from state import State
from table import table

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, help="file for the table")
    parser.add_argument(
        "--seconds", type=float, default=8.0, help="of the processor for each mutant; a test may take half of it"
    )
    parser.add_argument("--again", action="store_true", help="survivors meet all their tests again")
    parser.add_argument("only", nargs="*", help="only these classes or fields")
    args = parser.parse_args()
    state = State(ROOT)
    session = Session(state, fields.results(), args.seconds, args.again, args.only)
    status = pytest.main(["--rootdir", str(ROOT), "-p", "no:cacheprovider", "-m", "not slow"], plugins=[session])
    if session.done:
        made = table(state, session.chosen)
        print(made)
        if args.results is not None and not args.only:
            args.results.write_text(made)
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
