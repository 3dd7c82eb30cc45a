"""From argv to checked arguments; names that start with "-" are taken as names."""

from __future__ import annotations

import argparse
import os
from typing import Any, NoReturn

from clinometer.common.command_lines import epilog
from clinometer.common.visible import did_you_mean, nearest

from . import capturing, commands, fitting, sharding

# Options whose arguments are names or expressions that may start with "-", and whether they take several.
NAMES = {"--value": True, "--constitutions": True, "--adjust": True, "--check": False, "--prompt-ids": False,
         "--logprobs": False, "--covariates": True}  # fmt: skip
SHORT = ("-o", "-h")
CHECK = '"VALUE >= NUMBER at kl=K [for NAME|all|any|recommended]"; exit 1 if it fails; repeatable'
JUDGES = "judge columns or saved directions, one or several; default: complete judge columns, else the values"
TILTS = "judge columns or saved directions, one or several; default, as in cm.report: the values themselves"
VALUES = 'value columns, one or several; "-harm" if smaller is better'


class BadArguments(Exception):
    """A command line that cannot be parsed, reported in one line."""


class Parser(argparse.ArgumentParser):
    """argparse that raises instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        raise BadArguments(f"{message} (see {self.prog} --help)")


def expand(argv: list[str]) -> list[str]:
    """Join every name to its option, so that argparse does not take `-harm` for an option.

    >>> expand(["report", "d", "--value", "helpful", "-harm", "-o", "x"])
    ['report', 'd', '--value=helpful', '--value=-harm', '-o', 'x']
    """
    out: list[str] = []
    at = 0
    while at < len(argv):
        token = argv[at]
        at += 1
        if token == "--":
            return [*out, token, *argv[at:]]
        if token not in NAMES:
            out.append(token)
            continue
        taken = 0
        while at < len(argv) and (taken == 0 or NAMES[token]) and _is_name(argv[at]):
            out.append(f"{token}={argv[at]}")
            at, taken = at + 1, taken + 1
        if not taken:
            out.append(token)
    return out


def _is_name(token: str) -> bool:
    return not token.startswith("--") and token not in SHORT


def parse(argv: list[str]) -> argparse.Namespace:
    """Parse; BadArguments if it cannot be read."""
    if argv[:1] == ["bench"]:  # its arguments are its own
        return argparse.Namespace(run=commands.bench, rest=argv[1:])
    parser, known = _parser()
    if argv and not argv[0].startswith("-") and argv[0] not in known:
        raise BadArguments(_no_command(argv[0], list(known)))
    if argv and argv[0].startswith("-") and argv[0] not in ("-h", "--help", "--version"):
        raise BadArguments(_extra(argv[:1], parser))
    args, extra = parser.parse_known_args(expand(argv))
    if extra:
        raise BadArguments(_extra(extra, known[args.command]))
    return args


def _no_command(given: str, known: list[str]) -> str:
    if nearest(given, known) is None and os.path.exists(given):
        return f"{given!r} is not a command; to see what is in it: clinometer inspect {given}"
    return f"there is no command {given!r}; there are {', '.join(known)}{did_you_mean(given, known)}"


def _extra(extra: list[str], sub: argparse.ArgumentParser) -> str:
    """What to say about arguments that no option takes."""
    first = next((token for token in extra if token.startswith("-")), extra[0])
    options = [o for action in sub._actions for o in action.option_strings]
    what = f"there is no option {first}" if first.startswith("-") else f"{first!r} is one argument too many"
    return f"{what}{did_you_mean(first.split('=')[0], options)} (see {sub.prog} --help)"


def _parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser, and those of the commands."""
    from clinometer import __version__

    parser = Parser(
        "clinometer", description="What each constitution does to each value, before any training run.",
        epilog=epilog(""), allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"clinometer {__version__}")
    commands_ = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)

    def add(name: str, text: str, run: Any) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = commands_.add_parser(
            name, help=text, description=text, allow_abbrev=False, epilog=epilog(name),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        sub.set_defaults(run=run)
        return sub

    demo = add("demo", "Report on the small dump of a real model that ships with the package.", commands.demo)
    _html(demo, "clinometer-demo.html")
    _full(demo)
    _json(demo)
    convert = add("convert", "Write any source as a dump; run again, a stopped one goes on.", commands.convert)
    convert.add_argument("source", metavar="SRC", help="what the other commands take, or a .pt file")
    convert.add_argument("path", metavar="DUMP", help="the new dump's folder")
    _reading(convert)
    convert.add_argument("--dtype", choices=["float16", "bfloat16", "float32", "float64"], help="default: as in SRC")
    convert.add_argument("--shard-rows", type=int, metavar="N", help="rows of a shard; default: about 2 GiB")
    convert.add_argument("--digests", action="store_true", help="state the SHA-256 of every shard")
    _json(convert)
    _capture(add("capture", "Sample responses from a causal language model and write a dump.", capturing.capture))
    inspect = add("inspect", "Show what is in a dump.", commands.inspect)
    _dump(inspect)
    _json(inspect)
    _fit(add("fit", "Directions from labels, pairs or log-probabilities, for --constitutions.", fitting.fit))
    _judging(
        add(
            "judge", "Scores of a dump's texts under constitutions by a language model, as a new dump.", capturing.judge
        )
    )
    report = add("report", "What each constitution does to each value.", commands.report)
    _tilting(report, TILTS)
    report.add_argument(
        "--check",
        action="append",
        default=[],
        metavar="EXPR",
        help=CHECK,
    )
    _html(report, None)
    _full(report)
    score = add("score", "Scores of every row; -o FILE.npy keeps them.", commands.score)
    _dump(score)
    _judges(score)
    score.add_argument("-o", "--output", metavar="FILE.npy")
    _json(score)
    tilt = add("tilt", "Gains, KL and diagnostics of each tilt.", commands.tilt)
    _tilting(tilt)
    tilt.add_argument("--betas", nargs="+", type=float, metavar="B", help="instead of --kl")
    tilt.add_argument(
        "--adjust", metavar="NAME", action="append", help="column taken out of the scores inside prompts; repeatable"
    )
    tilt.add_argument(
        "--shards",
        metavar="I/N",
        help="this machine's share of the rows, in whole leaves of 8192; with --betas and --state",
    )
    tilt.add_argument("--state", metavar="FILE", help="where the share's state goes, for merge")
    merge = add("merge", "The tilt of all shards, from the states of `tilt --shards`, in order.", sharding.merge)
    merge.add_argument("states", nargs="+", metavar="STATE")
    _json(merge)
    verify = add("verify", "Measure the claims of the theory in simulated worlds.", commands.verify)
    verify.add_argument("--only", nargs="+", metavar="ITEM", help="items such as T3 or 11.9")
    verify.add_argument("-o", "--output", metavar="FILE.md", help="write the table as Markdown")
    _json(verify)
    pareto = add("pareto", "Best direction, best mixture of constitutions, and what floors cost.", commands.pareto)
    _dump(pareto)
    _judges(pareto)
    pareto.add_argument("--value", action="append", default=[], metavar="NAME", help=VALUES)
    pareto.add_argument("--clusters", metavar="NAME", help="column that groups prompts, kept whole")
    pareto.add_argument(
        "--splits", type=int, default=50, metavar="S", help="halves of the prompts that judge the others"
    )
    _json(pareto)
    commands_.add_parser("bench", help="Measure the kernels on this machine.", add_help=False)
    return parser, dict(commands_.choices)


def _judging(sub: argparse.ArgumentParser) -> None:
    _dump(sub)
    sub.add_argument(
        "--model", required=True, metavar="NAME|PATH", help="a causal model of transformers, or a .gguf file"
    )
    sub.add_argument("--tokenizer", metavar="NAME|PATH", help="default: the model's own")
    sub.add_argument(
        "--constitutions", required=True, metavar="FILE.json",
        help='{"kind": ["You are kind.", "You are rude."], ..}: [persona, opposite], or one text',
    )  # fmt: skip
    sub.add_argument(
        "--kind", default="contrast", choices=["contrast", "pairwise", "pointwise"],
        help="log p under persona less opposite (default); A or B in both orders; expected rating",
    )  # fmt: skip
    sub.add_argument("--gold", metavar="NAME", help="column of labels to compare with")
    sub.add_argument("--levels", nargs=2, type=int, default=[1, 5], metavar=("LOW", "HIGH"), help="of --kind pointwise")
    sub.add_argument("--per-token", action="store_true", help="contrast as a mean over tokens")
    sub.add_argument("--pairs-per-prompt", type=int, metavar="P", help="default: n pairs of n responses")
    sub.add_argument("--tie", type=float, default=0.0, metavar="T", help="|prob - 1/2| that counts as undecided")
    sub.add_argument("--seed", type=int, default=0, metavar="S", help="of which pairs; default 0")
    sub.add_argument("--token-budget", type=int, default=8192, metavar="T", help="tokens read at once")
    sub.add_argument(
        "-o", "--output", required=True, metavar="NEW", help="the new dump; run again, a stopped one goes on"
    )
    _json(sub)


def _capture(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("model", metavar="MODEL", help="name, folder or .gguf file of a causal language model")
    sub.add_argument(
        "prompts", metavar="PROMPTS",
        help='one a line: text, or in .jsonl {"prompt": text or messages} with "prompt_id" and "responses" as may be',
    )  # fmt: skip
    sub.add_argument("out", metavar="DUMP", help="the new dump's folder; run again, a stopped one goes on")
    sub.add_argument("--layers", type=int, nargs="+", required=True, metavar="L", help="0 embeddings, L after block L")
    sub.add_argument("--tokenizer", metavar="NAME", help="default: the model's")
    sub.add_argument("-n", type=int, default=16, metavar="N", help="responses a prompt; default 16")
    sub.add_argument(
        "--position", default="mean_response", metavar="WHERE",
        help="tokens of the response that a row is the mean of: mean_response (default), last, or A:B as in a slice",
    )  # fmt: skip
    sub.add_argument(
        "--max-new-tokens", type=int, default=128, metavar="T", help="responses are cut there; default 128"
    )
    sub.add_argument("--seed", type=int, default=0, metavar="S", help="of the draws; default 0")
    sub.add_argument("--plain", action="store_true", help="prompts are text to go on with, not a user's messages")
    sub.add_argument("--policy", choices=["on_policy", "off_policy"], help="who wrote given responses")
    sub.add_argument("--dtype", choices=["float16", "bfloat16", "float32"], help="of phi; default: the model's")
    sub.add_argument("--token-budget", type=int, default=8192, metavar="T", help="tokens of a batch; default 8192")
    _json(sub)


def _fit(sub: argparse.ArgumentParser) -> None:
    _dump(sub)
    sub.add_argument("--value", action="append", default=[], metavar="NAME", help=VALUES)
    sub.add_argument(
        "--pairs", action="append", default=[], metavar="A,B,PROB",
        help="tensors of the dump: row numbers A and B, and the probability that A is preferred (default 1)",
    )  # fmt: skip
    sub.add_argument("--generation", action="store_true", help="what the policy itself favours: its log-probabilities")
    sub.add_argument("-o", "--output", required=True, metavar="FILE", help="where the fit goes, for --constitutions")
    sub.add_argument("--method", choices=["ridge", "least_squares", "logistic", "lda", "mean_difference"])
    sub.add_argument("--alpha", default="cv", metavar="A", help="penalty in units of tr(Sigma)/d; default cv")
    sub.add_argument("--folds", type=int, default=5, metavar="F", help="prompts are dealt to folds; default 5")
    sub.add_argument(
        "--position-bias", action="store_true", help="with --pairs: also fit a preference for the first row"
    )
    sub.add_argument("--logprobs", metavar="NAME", help="with --generation: the column, default logprob")
    sub.add_argument(
        "--covariates", action="append", default=[], metavar="NAME",
        help="with --generation: columns partialled out, such as n_tokens",
    )  # fmt: skip
    sub.add_argument("--clusters", metavar="NAME", help="column that groups prompts for folds and errors")
    _passes(sub)
    _json(sub)


def _dump(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("dump", metavar="DUMP", help="a dump's folder, .safetensors, .npy, .npz, .arrow, .parquet, a URL")
    _reading(sub)
    sub.add_argument("--nonfinite", choices=["raise", "drop"], default="raise", help="NaN and Inf in rows")


def _reading(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--tensor", metavar="NAME", help="the tensor that is phi")
    sub.add_argument(
        "--layer",
        type=int,
        metavar="L",
        help="keep tensors named *_L<L> or after that block; of (rows, layers, d) this one",
    )
    sub.add_argument("--prompt-ids", metavar="NAME|FILE", help="column or .npy file")
    sub.add_argument("--columns", metavar="FILE.npz", help="more columns")
    sub.add_argument("--policy", choices=["on_policy", "off_policy"], help="who wrote the responses")
    sub.add_argument("--half-bits", choices=["float16", "bfloat16"], help="what 16-bit integer lists are the bits of")
    sub.add_argument("--pool", choices=["last", "mean"], help="hidden states of single requests: one row each")
    sub.add_argument("--prompt-tokens", metavar="FILE", help="with --pool: .json or .npz of prompt lengths by request")


def _judges(sub: argparse.ArgumentParser, text: str = JUDGES) -> None:
    sub.add_argument(
        "--constitutions",
        action="append",
        default=[],
        metavar="NAME|FILE",
        help=text,
    )
    sub.add_argument("--any-source", action="store_true", help="directions of another layer, model or position too")
    _passes(sub)


def _passes(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--base", default="sampled", choices=["sampled", "counts", "logprob", "reweight"])
    sub.add_argument("--precision", default="mixed", choices=["mixed", "double"])
    sub.add_argument("--threads", type=int, metavar="N")


def _tilting(sub: argparse.ArgumentParser, judges: str = JUDGES) -> None:
    _dump(sub)
    _judges(sub, judges)
    sub.add_argument(
        "--value",
        action="append",
        default=[],
        metavar="NAME",
        help=VALUES,
    )
    sub.add_argument("--kl", nargs="+", type=float, metavar="K", help="nats; default 0.1 0.25 0.5 1")
    sub.add_argument("--clusters", metavar="NAME", help="column that groups prompts for standard errors")
    _json(sub)


def _json(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--json", action="store_true", help="print JSON")
    sub.add_argument("--json-file", metavar="FILE", help="write JSON")


def _full(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--full", action="store_true", help="print every section at every KL, not 30 lines of it")


def _html(sub: argparse.ArgumentParser, default: str | None) -> None:
    sub.add_argument(
        "-o", "--output", metavar="FILE.html", default=default, help="write a page, or a table as .json, .csv, .txt"
    )
