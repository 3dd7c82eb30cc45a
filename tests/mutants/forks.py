"""Work in a forked child: what it changes is gone with it, and what is already imported costs nothing."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import time
import traceback
from collections.abc import Callable
from typing import Any

__all__ = ["forked"]


WAIT = 20  # seconds of the clock for one of the processor, on a machine that is busy


def forked(work: Callable[[], Any], seconds: float) -> Any:
    """What `work` returns in a child process, by way of JSON; None where it dies, or takes too long.

    `seconds` are of the processor, so that what else runs on the machine makes no difference.
    """
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        _work(work, writes, seconds)
    os.close(writes)
    try:
        return json.loads(_read(reads, time.monotonic() + WAIT * seconds) or "null")
    finally:
        os.close(reads)
        for stop in (os.killpg, os.kill):  # the child and what it started; it may not lead its group yet
            with contextlib.suppress(ProcessLookupError):
                stop(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _work(work: Callable[[], Any], writes: int, seconds: float) -> None:
    try:
        os.setpgid(0, 0)
        most = int(time.process_time() + seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (most, most))
        said = json.dumps(work()).encode()
        while said:
            said = said[os.write(writes, said) :]
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def _read(reads: int, until: float) -> bytes:
    """All that comes through the pipe before it closes; nothing of what is not complete in time."""
    parts = []
    while (left := until - time.monotonic()) > 0 and select.select([reads], [], [], left)[0]:
        part = os.read(reads, 1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)
    return b""
