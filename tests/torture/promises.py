"""The fifteen promises, each with the checks of the gate behind it and how many held: python tests/torture/promises.py

    python tests/torture/promises.py [--results FILE] [NUMBER ...]

This is the short form, of minutes and without the slow tests; `run.py` and `tests/fuzz/fuzz.py` attack the same
promises for hours. A promise is met where every check behind it held and there was at least one. What was checked at
this commit is not checked again: an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import scipy

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from run import KEPT, commit

ROOT = Path(__file__).resolve().parents[2]
PROMISES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("no input file crashes, hangs or runs code", (
        "test_fuzz.py", "test_malformed.py", "test_convert.py::test_a_hostile_pickle_runs_nothing")),
    ("every refusal is one typed error that names what is wrong", ("test_arguments.py", "test_servers.py")),
    ("no row is lost or invented silently", (
        "test_shards.py", "test_writer.py::test_lost_files_are_refused_and_not_papered_over", "test_readers.py")),
    ("values are exactly those in the file", (
        "test_dump.py::test_every_half_pattern_decodes_exactly", "test_dump.py::test_array_is_viewed_and_decoded",
        "test_dump.py::test_fortran_and_big_endian_files_are_right_and_announced",
        "test_writer.py::test_every_half_pattern_is_exact_at_every_level")),
    ("memory and room are bounded and asked for first", ("test_room.py", "test_sizes.py")),
    ("large means do not hurt", ("test_far_means.py",)),
    ("tilts are right at the ends of float64", ("test_extremes.py", "test_exponents.py")),
    ("every tilt states its ESS and tail index", (
        "test_pareto.py", "test_passes.py::test_pareto_k",
        "test_passes.py::test_kl_roots_and_horizon_follow_the_twin")),
    ("same bits for any threads, cuts and environment", (
        "../laws/test_laws.py::test_one_hash_for_any_threads_and_cuts", "test_bits.py", "test_thread_safety.py")),
    ("all kernels agree", (
        "test_passes.py::test_every_instruction_set",
        "test_tilt_lanes.py::test_lanes_agree_with_the_twin_at_every_tilt")),
    ("Ctrl-C ends a pass at once and the next call works", (
        "test_hazards.py::test_interrupt_ends_a_long_pass_at_once",)),
    ("kill -9 loses nothing that was written", (
        "test_room.py::test_halves_of_the_killed_are_swept_and_those_of_the_living_stay", "test_writer.py")),
    ("a file that changes under a pass is an error", (
        "test_hazards.py::test_a_file_that_shrinks_is_an_error_and_not_a_crash",
        "test_dump.py::test_a_file_that_changes_is_an_error",
        "test_dump.py::test_a_file_that_shrinks_under_a_compiled_map_is_an_error_not_a_death",
        "test_remote.py::test_a_remote_file_that_changes_is_an_error")),
    ("reports are safe to open and logs safe to print", (
        "test_reporting.py::test_hostile_names_do_nothing", "test_dump.py::test_messages_show_no_control_characters",
        "test_format.py::test_hostile_names_are_harmless_in_every_message", "../browser/test_hostile.py")),
    ("a verdict carries a certificate that exact arithmetic accepts", (
        "test_lp_families.py", "test_cone.py::test_planted_dependence_is_found_and_certified",
        "test_lp_cone.py::test_wendel_and_certificates_of_closed_cones",
        "test_lp_ensemble.py::test_wide_games_carry_certificates_over_all_columns")),
)  # fmt: skip


def checked(names: tuple[str, ...]) -> tuple[int, list[str]]:
    """How many checks held, and the names of those that did not."""
    with tempfile.TemporaryDirectory() as folder:
        found = os.path.join(folder, "found.xml")
        where = [str(ROOT / "tests/python" / name) for name in names]
        options = ["-q", "-m", "not slow", "-p", "no:cacheprovider", f"--junitxml={found}", f"--rootdir={ROOT}"]
        subprocess.run([sys.executable, "-m", "pytest", *options, *where], cwd=ROOT, capture_output=True)
        if not os.path.exists(found):
            return 0, ["pytest did not run"]
        cases = list(ET.parse(found).getroot().iter("testcase"))
    wrong = [str(c.get("name")) for c in cases if c.find("failure") is not None or c.find("error") is not None]
    return sum(c.find("skipped") is None for c in cases) - len(wrong), wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--results", help="file for the table")
    parser.add_argument("number", nargs="*", type=int, help="only these promises, from 1")
    args = parser.parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    state, at = KEPT / "promises.json", commit()
    known = json.loads(state.read_text()) if state.exists() else {}
    done = known["done"] if known.get("commit") == at and not at.endswith("+") else {}
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, SciPy {scipy.__version__}"
    lines, broken = [f"{datetime.date.today()}  commit {at}  {versions}  {platform.platform()}"], 0
    print(lines[0], flush=True)
    for number, (promise, names) in enumerate(PROMISES, 1):
        if args.number and number not in args.number:
            continue
        begun = time.monotonic()
        if str(number) not in done or done[str(number)][1]:
            done[str(number)] = [*checked(names), time.monotonic() - begun]
            state.write_text(json.dumps({"commit": at, "done": done}))
        held, wrong, took = done[str(number)]
        met = held > 0 and not wrong
        broken += not met
        said = "met" if met else f"BROKEN: {', '.join(wrong[:3]) or 'no check ran'}"
        lines.append(f"{number:2}  {promise:<62}{held:>6} checks{took:>6.0f} s  {said}")
        print(lines[-1], flush=True)
    if args.results:
        Path(args.results).write_text("\n".join(lines) + "\n")
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
