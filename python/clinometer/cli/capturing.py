"""clinometer capture and judge: a model by name, prompts or a dump's texts in, a dump out."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from clinometer.common.notices import tell

from .output import emit, written
from .sources import check_folders, located, reading


def capture(args: argparse.Namespace) -> int:
    """Sample, or take given responses, and say what was written."""
    from clinometer.capturing import capture as make

    rows = _rows(args.prompts)
    if not rows:  # before a model is loaded
        raise ValueError(f"{args.prompts!r} has no prompts; one a line is wanted")
    if unread := sorted({key for row in rows for key in row} - {"prompt", "prompt_id", "responses"}):
        tell(f"{args.prompts}: {', '.join(unread)} not read; prompt, prompt_id and responses are", stacklevel=2)
    given, ids = _all_or_none(rows, "responses", args.prompts), _all_or_none(rows, "prompt_id", args.prompts)
    dump = make(
        args.model, args.tokenizer, [row["prompt"] for row in rows], responses=given, n=args.n, layers=args.layers,
        position=_position(args.position), out=args.out, max_new_tokens=args.max_new_tokens, random_state=args.seed,
        prompt_ids=ids, chat=False if args.plain else None, policy=args.policy, dtype=args.dtype,
        token_budget=args.token_budget, progress=True,
    )  # fmt: skip
    emit(args, {"path": args.out, "n_rows": dump.n_rows, "n_prompts": dump.n_prompts, "layers": args.layers})
    written(args, f"{args.out}: {dump.n_rows} rows of {dump.n_prompts} prompts, layers {args.layers}")
    return 0


def _position(given: str) -> str | tuple[int, int | None]:
    begin, colon, end = given.partition(":")
    try:
        return (int(begin or 0), int(end) if end else None) if colon else given
    except ValueError:
        return given  # refused with what is wanted


def _rows(path: str) -> list[dict[str, Any]]:
    with open(path, encoding="utf-8-sig") as file:  # a byte order mark is no part of a prompt
        lines = [line.rstrip("\n") for line in file if line.strip()]
    if os.path.splitext(path)[1].lower() not in (".jsonl", ".json"):
        return [{"prompt": line} for line in lines]
    out = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path!r}, line {number}: not JSON ({error}); an object a line is wanted") from None
        if not isinstance(row, dict) or "prompt" not in row:
            raise ValueError(f"{path!r}, line {number}: an object with a prompt, on a line of its own, is wanted")
        out.append(row)
    return out


def _all_or_none(rows: list[dict[str, Any]], key: str, path: str) -> list[Any] | None:
    held = [row[key] for row in rows if key in row]
    if held and len(held) < len(rows):
        raise ValueError(f"{path!r}: {len(held)} of {len(rows)} lines have {key}; all or none are wanted")
    return held or None


def judge(args: argparse.Namespace) -> int:
    """Judge a dump's texts, print what the judgments rest on, and write the new dump."""
    from clinometer.judging import judge as make
    from clinometer.judging.constitutions import as_constitutions
    from clinometer.judging.scoring import open_texts

    check_folders(args)
    dump = open_texts(located(args.dump), nonfinite=args.nonfinite, **reading(args))
    as_constitutions(args.constitutions)  # before a model is loaded
    made = make(
        args.model, args.tokenizer, dump, args.constitutions, kind=args.kind, out=args.output, gold=args.gold,
        levels=tuple(args.levels), per_token=args.per_token, pairs_per_prompt=args.pairs_per_prompt, tie=args.tie,
        random_state=args.seed, token_budget=args.token_budget, progress=True,
    )  # fmt: skip
    by_row = ("scores", "pairs", "prob")
    emit(args, {name: value for name, value in made.to_dict().items() if name not in by_row} | {"dump": args.output})
    if not args.json:
        print(str(made).split("\nwarning:")[0])  # which have been said
    written(args, args.output)
    return 0
