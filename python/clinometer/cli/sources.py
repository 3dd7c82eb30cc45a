"""What every command does first: find the dump, the constitutions, the values, and a place to write."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clinometer.common.visible import did_you_mean

if TYPE_CHECKING:
    from clinometer.dump import Dump

DEMO = Path(__file__).resolve().parent.parent / "data" / "demo"
# columns that say something about a row but are no value
_OTHER = ("prompt_id", "response_id", "logprob", "logp", "count", "proposal_logprob", "n_tokens", "ended", "judge_row")


# What the file of -o may be called, by command; without a suffix it is the first kind. A fit may have any name but one
# that says it is something else.
REPORTS = (".html", ".htm", ".json", ".csv", ".txt")
_WRITTEN = {"report": REPORTS, "demo": REPORTS, "score": (".npy",), "verify": (".md", ".markdown", ".txt")}
_NO_FITS = (".npy", ".npz", ".pt", ".pth", ".json", ".gguf", ".svec", ".csv", ".parquet", ".arrow", ".html", ".txt")


def check_output(args: argparse.Namespace) -> None:
    """Refuse a file of -o whose name says another format than is written."""
    given = getattr(args, "output", None)
    path = Path(given or "")
    suffix = path.suffix.lower()
    command = getattr(args, "command", "")
    known = _WRITTEN.get(command)
    if suffix and known is not None and suffix not in known:
        raise ValueError(f"-o is {given!r}; {command} writes {', '.join(known)}")
    if command == "fit" and suffix in _NO_FITS:
        raise ValueError(f"-o is {given!r}; a fit is a safetensors file: call it {path.stem}.safetensors")


def check_folders(args: argparse.Namespace) -> None:
    """Refuse a file to write whose folder is not there, or whose name says another format, before any work."""
    check_output(args)
    named = (("-o", "output"), ("--state", "state"), ("--json-file", "json_file"))
    for option, given in ((option, getattr(args, name, None)) for option, name in named):
        if given is not None and not Path(given).absolute().parent.is_dir():
            raise ValueError(f"{option} is {given!r}, but its folder does not exist")


def located(given: str) -> str:
    """The path of a dump: as given, or the packaged one for "demo" where nothing else has that name."""
    from clinometer.files.folders import entries
    from clinometer.files.remote import is_url

    if is_url(given) or os.path.exists(given):
        return given
    if given == "demo" and DEMO.exists():
        return str(DEMO)
    folder, name = os.path.split(given.rstrip(os.sep))
    if not os.path.isdir(folder or "."):
        raise ValueError(f"{given!r} does not exist: there is no folder {folder!r}")
    if os.path.islink(given):
        raise ValueError(f"{given!r} is a link that leads nowhere: to {os.readlink(given)!r}")
    hint = did_you_mean(name, entries(folder or "."))
    raise ValueError(f"{given!r} does not exist" + (hint or "; demo stands for the dump that comes with the package"))


def opened(args: argparse.Namespace) -> Dump:
    """The dump of a command line."""
    from clinometer.dump import open_dump

    check_folders(args)
    return open_dump(located(args.dump), nonfinite=args.nonfinite, **reading(args))


def reading(args: argparse.Namespace) -> dict[str, Any]:
    """How a source is read, as arguments of `open_dump`."""
    names = ("tensor", "layer", "prompt_ids", "columns", "policy", "half_bits", "pool", "prompt_tokens")
    return {name: getattr(args, name) for name in names}


def pass_options(args: argparse.Namespace) -> dict[str, Any]:
    """Options of every pass; a progress line on a terminal only."""
    out = {"base": args.base, "precision": args.precision, "n_threads": args.threads}
    if getattr(args, "any_source", False):
        out["check_source"] = False
    if sys.stderr.isatty():
        out["progress"] = True
    return out


def complete_judges(dump: Any) -> list[str]:
    """Judge columns (judge/* or judge_*) that have a finite number for every row."""
    names = [n for n in dump.columns if n.startswith(("judge/", "judge_")) and n != "judge_row"]
    return [n for n in names if dump.columns[n].dtype.kind in "fiub" and np.isfinite(dump.columns[n]).all()]


def no_values(dump: Dump, how: str = "--value NAME (-NAME if smaller is better)") -> ValueError:
    """The error of a command that was given no value, with what could be one."""
    found = [n for n in dump.columns if n not in _OTHER and not n.startswith(("judge/", "judge_"))]
    found = [n for n in found if dump.columns[n].dtype.kind in "fiub"]
    return ValueError(f"no values: pass {how}; {_columns(dump, found, '--value helpful')}")


def no_constitutions(dump: Dump) -> ValueError:
    """The error of a command that has nothing to score rows by."""
    found = [n for n in dump.columns if n not in _OTHER and dump.columns[n].dtype.kind in "fiub"]
    return ValueError(
        "no constitutions: there is no complete judge column, so pass --constitutions NAME or FILE; "
        + _columns(dump, found, "--constitutions kind")
    )


def _columns(dump: Dump, found: list[str], then: str) -> str:
    if found:
        return f"{dump.name} has " + ", ".join(map(repr, found))
    what = then.split()[-1]
    return (
        f"{dump.name} has no columns of numbers for it: save one entry for each of the {dump.n_rows} rows with "
        f"np.savez('labels.npz', {what}=..., prompt_id=...) and add --columns labels.npz {then}"
    )
