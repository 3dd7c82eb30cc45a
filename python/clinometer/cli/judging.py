"""What the command judge does."""

from __future__ import annotations

import argparse

from .output import emit, written
from .sources import check_folders, located, reading

__all__ = ["judge"]


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
