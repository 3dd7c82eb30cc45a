"""What the writers under torture write: the same rows whatever happens on the way."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from clinometer.dump import DumpWriter


class Scenario:
    """Rows of two layers (or one tensor) with ids, columns, texts and pairs, in batches of any size; resumable."""

    def __init__(self, n_rows: int, shard_rows: int, largest: int, seed: int = 0, single: bool = False) -> None:
        rng = np.random.default_rng(seed)
        self.phi = {
            8: rng.normal(size=(n_rows, 65)).astype(np.float32), 24: rng.normal(size=(n_rows, 33)).astype(np.float16),
        }  # fmt: skip
        self.ids = np.array([f"p{k // 7}" for k in range(n_rows)])
        self.columns: dict[str, Any] = {
            "judge/kind": rng.normal(size=n_rows).astype(np.float32), "n_tokens": np.arange(n_rows, dtype=np.int32),
            "who": np.array(["\u00e9" * (k % 5) for k in range(n_rows)]), "ok": np.arange(n_rows) % 3 == 0,
        }  # fmt: skip
        self.texts = [(f"prompt {k}", "r\n" * (k % 9)) for k in range(n_rows)]
        cuts = np.cumsum(rng.integers(1, largest + 1, size=n_rows))
        self.borders = [0, *cuts[cuts < n_rows].tolist(), n_rows]
        self.pairs = np.array([[k, k + 1] for k in range(0, n_rows - 1, 5)], int).reshape(-1, 2)
        self.single = single
        self.options: dict[str, Any] = {
            "dim": 65 if single else {8: 65, 24: 33}, "dtype": "float32" if single else {8: "float32", 24: "bfloat16"},
            "shard_rows": shard_rows, "source": {"model": "m", "position": "last"}, "policy": "on_policy",
            "digests": True,
        }  # fmt: skip

    def batch(self, low: int, high: int) -> dict[str, Any]:
        """The arguments of `append` for the rows [low, high)."""
        columns = {name: c[low:high] for name, c in self.columns.items()}
        phi = {layer: p[low:high] for layer, p in self.phi.items()}
        given = phi[8] if self.single else phi
        return {"phi": given, "prompt_ids": self.ids[low:high], "texts": self.texts[low:high], **columns}

    def write(self, path: str, told: Callable[[int], None] = lambda n: None) -> None:
        """Go on with the dump at `path` to its end; `told` gets the rows that are in, first those found."""
        writer = DumpWriter(path, **self.options)
        told(writer.n_rows)
        if writer.finished:
            return
        with writer:
            for k in range(self.borders.index(writer.n_rows), len(self.borders) - 1):
                low, high = self.borders[k], self.borders[k + 1]
                told(writer.append(**self.batch(low, high)))
                if k % 10 == 9:
                    writer.flush()
            if not writer.n_pairs:
                writer.append_pairs(self.pairs)


def contents(path: str) -> dict[str, bytes]:
    """Every file of a folder, hidden ones too."""
    out = {}
    for name in sorted(os.listdir(path)):
        with open(os.path.join(path, name), "rb") as file:
            out[name] = file.read()
    return out
