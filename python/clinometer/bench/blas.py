"""How many threads NumPy's matrix products use, where threadpoolctl is there to say."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

__all__ = ["Blas"]


class Blas:
    """Choices of a thread count; only None, the environment's, without threadpoolctl."""

    def __init__(self) -> None:
        self.choices: tuple[int | None, ...] = (None,)
        try:
            from threadpoolctl import ThreadpoolController
        except ImportError:
            return
        self._pools = ThreadpoolController().select(user_api="blas")
        most = max((int(pool["num_threads"]) for pool in self._pools.info()), default=1)
        self.choices = tuple(sorted({1, most}))

    def limit(self, threads: int | None) -> AbstractContextManager[Any]:
        """That many threads inside the block."""
        if threads is None:
            return nullcontext()
        found: AbstractContextManager[Any] = self._pools.limit(limits=threads)
        return found

    def best(self, call: Callable[[], Any]) -> int | None:
        """The count with which a call took the least time; it is called once before."""
        seconds = {}
        call()
        for threads in self.choices:
            with self.limit(threads):
                start = time.perf_counter()
                call()
                seconds[threads] = time.perf_counter() - start
        return min(seconds, key=lambda k: seconds[k])
