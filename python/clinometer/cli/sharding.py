"""`tilt --shards I/N --state FILE` on each machine, then `merge` of the files."""

from __future__ import annotations

import argparse
import re
from typing import Any

from .output import emit, tilt_table, written


def checked(args: argparse.Namespace) -> tuple[int, int] | None:
    """The share that --shards names, None without it; every option that cannot go with it is refused."""
    if args.shards is None:
        if args.state is not None:
            raise ValueError("--state holds the state of a share: give --shards I/N with it")
        return None
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", args.shards)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(f"--shards is {args.shards!r}, wanted I/N with 1 <= I <= N")
    if args.kl is not None or args.betas is None:
        raise ValueError(
            "--shards needs --betas: a level of KL is solved from the scores of all rows, which no share has; "
            "run tilt --kl on one machine for the betas"
        )
    if args.adjust is not None:
        raise ValueError("--adjust needs the scores of all rows and does not go with --shards")
    if args.state is None:
        raise ValueError("--shards needs --state FILE: the file that merge reads")
    return int(found[1]), int(found[2])


def tilt(args: argparse.Namespace, dump: Any, judges: list[str], share: tuple[int, int], options: Any) -> int:
    """Fold this share and write its state."""
    from clinometer.engine.stat import Tilt
    from clinometer.stream.shards import shard

    fold = shard(dump, *share, Tilt(judges, args.value or None, betas=args.betas), **options)
    fold.save(args.state)
    start = fold.start_row or 0
    emit(args, {"state": args.state, "first_row": start, "end_row": fold.end_row, "n_prompts": fold.n_prompts})
    if not args.json:
        written(args, f"{args.state}: {_share_of(fold, share)}")
    return 0


def _share_of(fold: Any, share: tuple[int, int]) -> str:
    """The rows of a share, or why it has none."""
    start = fold.start_row or 0
    if fold.end_row > start:
        return f"rows {start} to {fold.end_row}"
    from clinometer.engine.inputs import LEAF

    return (
        f"share {share[0]} of {share[1]} is empty: rows are shared out in leaves of {LEAF}, and there are fewer leaves "
        "than shares. merge wants this state all the same"
    )


def merge(args: argparse.Namespace) -> int:
    """Merge states and print what they hold; a table for tilts, the result's repr for other statistics."""
    from clinometer.engine.stat import TiltSums
    from clinometer.stream.shards import merge as merge_states

    result = merge_states(*args.states)
    results = result if isinstance(result, list) else [result]
    emit(args, result)
    if not args.json:
        for one in results:
            print(tilt_table(one) if isinstance(one, TiltSums) else repr(one))
    return 0
