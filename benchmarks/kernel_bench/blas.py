"""How many threads NumPy's matrix products use, where threadpoolctl is there to say."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

__all__ = ["Blas"]


class Blas:
    """The BLAS pools of this process; `most` is their size, None without threadpoolctl."""

    def __init__(self) -> None:
        self.most: int | None = None
        try:
            from threadpoolctl import ThreadpoolController
        except ImportError:
            return
        self._pools = ThreadpoolController().select(user_api="blas")
        self.most = max((int(pool["num_threads"]) for pool in self._pools.info()), default=1)

    def limit(self, threads: int | None) -> AbstractContextManager[Any]:
        """That many threads inside the block; as they are where nobody can say."""
        if threads is None or self.most is None:
            return nullcontext()
        found: AbstractContextManager[Any] = self._pools.limit(limits=threads)
        return found
