"""Judgments as columns and pairs of a dump: in memory, or in a folder that a stopped run goes on with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.common.notices import tell
from clinometer.common.progress import shown
from clinometer.dump import Dump, DumpWriter, open_dump

from .asking import Judged, Settings, judged
from .pairs import within_prompt_pairs

__all__ = ["Work", "in_folder", "in_memory"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Work:
    settings: Settings
    texts: Any
    progress: bool | Callable[[int, int], None] | None = None

    def n_pairs(self, n: int) -> int:
        """Pairs of n responses."""
        return len(within_prompt_pairs(n, self.settings.wanted_pairs, 0, 0))

    def said(self) -> dict[str, Any]:
        """How the scores were made, and of which texts, for the dump's source."""
        found = hashlib.sha256()
        for entry in self.texts:
            found.update(json.dumps(dict(entry), sort_keys=True).encode())
        return self.settings.said() | {"texts_digest": f"sha256:{found.hexdigest()}"}

    def columns(self, dump: Dump, rows: range, scores: Floats) -> dict[str, NDArray[Any]]:
        """What a dump gets of these rows."""
        out: dict[str, NDArray[Any]] = {
            f"judge/{c.name}": scores[:, k].astype(np.float32) for k, c in enumerate(self.settings.held)
        }
        if not dump.has_column("n_tokens"):
            tokens = [self.settings.lm.response_tokens(self.texts[row]["response"], end=False) for row in rows]
            out["n_tokens"] = np.array([len(t) for t in tokens], np.int32)
        return out

    def judged(self, dump: Dump, run: range, show: Callable[[int, int], None]) -> Judged:
        """What the judge says of the rows in `run`, which answer one prompt."""
        entries = [self.texts[row] for row in run]
        prompt = entries[0].get("messages") or entries[0]["prompt"]
        made = judged(self.settings, prompt, [e["response"] for e in entries], _id(dump, run))
        show(run.stop, dump.n_rows)
        return made


def in_memory(dump: Dump, work: Work) -> Dump:
    """The dump with columns, pairs and source of its own; rows are not copied."""
    runs = list(_runs(dump))
    show = shown(work.progress)
    made = [work.judged(dump, run, show) for run in runs]
    scores = np.concatenate([np.zeros((0, len(work.settings.held))), *(m.scores for m in made)])
    tensors = [_tensors(m, run.start) for m, run in zip(made, runs, strict=True)]
    pairs = {name: np.concatenate([part[name] for part in tensors]) for name in tensors[0]} if tensors else None
    columns = work.columns(dump, range(dump.n_rows), scores)
    source = {**(dump.source or {}), "judge": work.said()}
    return dump.with_options(columns=dump.columns.merged(columns), pairs=pairs, source=source)


def in_folder(dump: Dump, work: Work, out: Any) -> Dump:
    """Write rows with their judgments run by run, so that a stopped run goes on."""
    if dump.pairs is not None:
        tell("the dump's own pairs are not in the new one, which has the judge's", stacklevel=4)
    sites = {t: dump.select(tensor=t) for t in dump.candidates} or {"phi": dump}
    with DumpWriter(
        out, dim={t: d.dim for t, d in sites.items()}, dtype={t: d.dtype for t, d in sites.items()},
        source={**(dump.source or {}), "judge": work.said()}, policy=dump.policy,
        sampling={k: v for k, v in dump.sampling.items() if k != "policy"}, preprocessing=dump.preprocessing,
        directions=dump.directions,
    ) as writer:  # fmt: skip
        pairs, show = 0, shown(work.progress, writer.n_rows)
        for run in _runs(dump) if not writer.finished else ():
            pairs += work.n_pairs(len(run))
            if run.stop <= writer.n_rows and pairs <= writer.n_pairs:
                continue
            judged = work.judged(dump, run, show)
            if run.stop > writer.n_rows:
                rows = slice(run.start, run.stop)
                held = {n: c[rows] for n, c in dump.columns.items() if n != "prompt_id"}
                writer.append(
                    {t: d.read(run.start, run.stop) for t, d in sites.items()},
                    None if dump.prompt_ids is None else dump.prompt_ids[rows],
                    texts=[dict(work.texts[row]) for row in run], **(held | work.columns(dump, run, judged.scores)),
                )  # fmt: skip
            if len(judged.pairs):
                writer.append_pairs(_tensors(judged, run.start))
    return open_dump(out, tensor=dump.tensor if len(sites) > 1 else None)


def _id(dump: Dump, run: range) -> Any:
    return 0 if dump.prompt_ids is None else dump.prompt_ids[run.start]


def _runs(dump: Dump) -> Iterator[range]:
    """Rows of one prompt that stand together."""
    ids = np.zeros(dump.n_rows, np.int64) if dump.prompt_ids is None else dump.prompt_ids
    borders = np.flatnonzero(np.append(True, ids[1:] != ids[:-1])) if len(ids) else np.zeros(0, np.int64)
    for start, stop in zip(borders, np.append(borders[1:], len(ids)), strict=True):
        yield range(int(start), int(stop))


def _tensors(judged: Judged, first_row: int) -> dict[str, Any]:
    """Pairs of responses that begin at `first_row`, as a dump keeps them."""
    ends = judged.pairs + first_row
    out = {"chosen": ends[:, 0], "rejected": ends[:, 1], "prob": judged.prob}
    return out if judged.order_logits is None else out | {"order_logits": judged.order_logits}
