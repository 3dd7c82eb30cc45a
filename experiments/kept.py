"""A run's small files in git, and the run set up from them on another machine, which then goes on where it was."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

import clinometer as cm
from clinometer.models import LanguageModel

from .forecast import frozen
from .network import Halves, halves, pack
from .prompts import prompts
from .rows import dump_of, rows
from .settings import Settings

FILES = ("costs.jsonl", "pairwise.json", "directions.npz", "second.txt", "policies/*.json", "policies/*.npy")


def keep(s: Settings) -> Path:
    """Responses as tokens, scores and values of every split, and every finished policy: a few MB, to be committed."""
    frozen(s)
    s.kept.mkdir(parents=True, exist_ok=True)
    for split in s.prompts:
        tokens = [t["tokens"] for t in dump_of(s, split).texts]
        held = {"tokens": np.concatenate([np.array(t, np.int32) for t in tokens]), "lengths": [len(t) for t in tokens]}
        rows(s, split)
        with np.load(s.folder / "rows" / f"{split}.npz") as numbers:
            np.savez_compressed(s.kept / f"{split}.npz", **held, **numbers)
    _copy(s.folder, s.kept)
    return s.kept


def restore(s: Settings, lm: LanguageModel) -> None:
    """The run's folder from what was kept: rows as they were frozen, states read again by the model."""
    if not s.kept.exists():
        raise SystemExit(f"{s.kept} is not there: nothing was kept of a run of this size")
    (s.folder / "rows").mkdir(parents=True, exist_ok=True)
    _copy(s.kept, s.folder)
    cut = halves(lm, s.blocks)
    for split, asked in prompts(s.prompts, s.room).items():
        with np.load(s.kept / f"{split}.npz") as held:
            if not (s.folder / "dumps" / split).exists():
                _write_dump(s, lm, cut, split, asked, dict(held))
            names = ("ids", "scores", "values", "logprob")
            np.savez(s.folder / "rows" / f"{split}.npz", **{name: held[name] for name in names})
    frozen(s)  # says so where these are not the rows of the forecast


def _write_dump(
    s: Settings, lm: LanguageModel, cut: Halves, split: str, asked: list[str], held: dict[str, Any]
) -> None:  # fmt: skip
    n = s.responses[split]
    tokens = [part.tolist() for part in np.split(held["tokens"], np.cumsum(held["lengths"])[:-1])]
    phi, texts = [], []
    for k, prompt in enumerate(asked):
        own = tokens[k * n : (k + 1) * n]
        p = pack(lm.prompt_tokens(prompt), own)
        phi.append(p.mean_of(cut.residual(p)))
        texts += [{"prompt": prompt, "response": lm.response_text(r), "tokens": r} for r in own]
    cm.write_dump(
        s.folder / "dumps" / split, np.concatenate(phi), policy="on_policy", texts=texts,
        prompt_ids=np.repeat([f"{split}{k}" for k in range(len(asked))], n),
        columns={"logprob": held["logprob"], "n_tokens": held["lengths"]},
    )  # fmt: skip


def _copy(source: Path, target: Path) -> None:
    for pattern in FILES:
        for path in source.glob(pattern):
            if path.suffix == ".npy" and not path.with_suffix(".json").exists():
                continue  # of a policy that is not finished
            to = target / path.relative_to(source)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)
