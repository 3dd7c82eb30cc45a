"""Command lines that `--help` shows. All of them run as they stand, in this order, on the packaged dump.

But capture: that wants a model, here one in the folder tiny, and a file of prompts.
"""

from __future__ import annotations

_REPORT = "clinometer report demo --layer 24 --constitutions judge/kind --value helpful -harm --kl 0.5 -o report.html"
EXAMPLES: dict[str, tuple[str, ...]] = {
    "": ("clinometer demo", "clinometer inspect demo", _REPORT),
    "demo": ("clinometer demo",),
    "inspect": ("clinometer inspect demo", "clinometer inspect demo --layer 24 --json"),
    "fit": (
        "clinometer fit demo --layer 24 --value helpful positive -o values.fit",
        "clinometer fit demo --layer 24 --generation --covariates n_tokens --alpha 1 -o generation.fit",
    ),
    "score": ("clinometer score demo --layer 24 --constitutions judge/kind values.fit -o scores.npy",),
    "tilt": (
        "clinometer tilt demo --layer 24 --constitutions values.fit --value helpful -harm --kl 0.1 0.5",
        "clinometer tilt demo --layer 24 --value helpful --betas 1 --shards 1/1 --state 1.state",
    ),
    "merge": ("clinometer merge 1.state", "clinometer merge 1.state --json"),
    "report": (
        _REPORT,
        "clinometer report demo --layer 24 --constitutions judge/honest --value helpful "
        '--check "helpful >= 0 at kl=0.1" --json',
    ),
    "pareto": ("clinometer pareto demo --layer 24 --value helpful -harm positive --splits 20",),
    "bench": ("clinometer bench --list", 'clinometer bench score --quick --cells "*f32 K=1" --peers none'),
    "capture": ("clinometer capture tiny prompts.txt answers --layers 1 2 -n 4 --max-new-tokens 8",),
    "judge": ("clinometer judge answers --layer 2 --model tiny --constitutions kind.json -o judged",),
    "convert": (
        "clinometer convert demo copy --layer 24 --dtype float16",
        "clinometer convert copy again --shard-rows 500 --digests",
    ),
    "verify": ("clinometer verify --only L3 R9",),
}


def epilog(command: str) -> str:
    """The end of a command's help."""
    lines = ["examples:", *(f"  {line}" for line in EXAMPLES.get(command, ()))]
    if command == "":
        lines += ["", "exit codes: 0 good, 1 a check failed, 2 bad input, 130 interrupted"]
    elif command not in ("bench", "capture", "demo", "merge", "verify"):
        lines += ["", "DUMP comes first; demo stands for the packaged one."]
    return "\n".join(lines)
