"""One thread that fetches what comes next while the caller works on what came."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

__all__ = ["ahead"]

T = TypeVar("T")


def ahead(calls: Iterable[Callable[[], T]]) -> Generator[T, None, None]:
    """What the calls return, in order; one is under way on a thread of its own while the caller has the one before.

    An error of a call is raised in its turn. Whoever leaves early does not wait for a call under way.
    Cost: two results are in memory.

    >>> list(ahead([lambda: 1, lambda: 2]))
    [1, 2]
    """
    from concurrent.futures import Future, ThreadPoolExecutor  # not needed where rows are mapped

    coming: Future[T] | None = None
    thread = ThreadPoolExecutor(1, "clinometer-fetch")
    try:
        for call in calls:
            before, coming = coming, thread.submit(call)
            if before is not None:
                yield before.result()
                del before
        if coming is not None:
            yield coming.result()
    finally:
        # an interrupt must not wait for a slow network; what is on its way is dropped when it arrives
        thread.shutdown(wait=False, cancel_futures=True)
