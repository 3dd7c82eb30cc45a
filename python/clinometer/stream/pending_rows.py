"""Rows fed to a `Fold` that wait to be folded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class Rows:
    """Rows as they came: phi (m, d), prompt ids (m,), columns (m,) by name."""

    phi: NDArray[Any]
    ids: NDArray[Any]
    columns: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, a: int, b: int | None = None) -> Rows:
        """Rows [a, b)."""
        return Rows(self.phi[a:b], self.ids[a:b], {n: c[a:b] for n, c in self.columns.items()})

    def borders(self, *, over: bool) -> NDArray[np.int64]:
        """Where prompts begin; `over` says that the last one is complete and counts its end too."""
        starts = np.append(0, np.flatnonzero(self.ids[1:] != self.ids[:-1]) + 1)
        return np.append(starts, len(self)) if over else starts

    def last_border(self, end: int) -> int:
        """Where the prompt of row `end` begins, or the last one if there is no such row."""
        borders = self.borders(over=False)
        return int(borders[np.searchsorted(borders, end, side="right") - 1])

    @staticmethod
    def joined(parts: list[Rows]) -> Rows:
        """One block of all; the parts are consecutive."""
        first = parts[0]
        for part in parts[1:]:
            if part.columns.keys() != first.columns.keys():
                raise ValueError(f"columns are {sorted(part.columns)} in one part, {sorted(first.columns)} in another")
            if part.ids.dtype.kind != first.ids.dtype.kind or part.phi.dtype != first.phi.dtype:
                said = [f"phi {p.phi.dtype}, prompt_ids {p.ids.dtype}" for p in (part, first)]
                raise ValueError(f"rows of one part are {said[0]}, those of another {said[1]}; wanted one kind")
        if len(parts) == 1:
            return first
        columns = {n: np.concatenate([p.columns[n] for p in parts]) for n in parts[0].columns}
        return Rows(np.concatenate([p.phi for p in parts]), np.concatenate([p.ids for p in parts]), columns)
