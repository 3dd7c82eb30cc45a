"""Tensors of a .pt file, unpickled by a process of its own (extra `torch`); only `clinometer convert` comes here."""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import threading
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.arrays.dlpack import decode_bfloat16
from clinometer.arrays.strings import text_array
from clinometer.common.visible import quote
from clinometer.errors import DumpError, bad
from clinometer.files.plain import PlainFile

from .found import Found
from .provenance import as_source
from .tensors import FLOAT_NAMES, LIMIT, NUMPY_CODES, Part, Tensor, Virtual
from .window import Window

_LINE = 1 << 30


class Pickled:
    """A context: the process that holds the file, and its tensors as windows. This process never unpickles."""

    def __init__(self, path: str) -> None:
        self.file = PlainFile(path)
        if self.file.remote:
            raise bad(path, "a pickle is not read over a network; copy it here first")
        self._lock = threading.Lock()
        # without these variables, with which a user can switch torch's restriction off
        env = {k: v for k, v in os.environ.items() if "WEIGHTS_ONLY" not in k}
        self._child = subprocess.Popen(
            [sys.executable, "-m", "clinometer.sources.torch_child", self.file.path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env,
        )  # fmt: skip
        assert self._child.stdout is not None
        with contextlib.suppress(AttributeError, OSError, ImportError):
            import fcntl

            fcntl.fcntl(self._child.stdout.fileno(), fcntl.F_SETPIPE_SZ, 1 << 20)  # fewer turns between the two

    def __enter__(self) -> Pickled:
        return self

    def __exit__(self, *_: Any) -> None:
        self._child.kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None:
                stream.close()

    def found(self) -> Found:
        """The tensors; a file that torch's restricted loader refuses is a DumpError."""
        assert self._child.stdout is not None
        line = self._child.stdout.readline(_LINE)
        try:
            answer = json.loads(line)
        except ValueError:
            code = self._child.wait()
            raise bad(self.file.path, f"the process that unpickles it ended with {code}") from None
        if "missing" in answer:
            raise ImportError(f"{quote(self.file.path, 400)}: {answer['missing']}: pip install 'clinometer[torch]'")
        if "error" in answer:
            raise bad(
                self.file.path, f"torch's restricted loader refuses it ({answer['error']}); nothing else is tried"
            )
        tensors: dict[str, Tensor] = {}
        for said in answer["tensors"]:
            name, tag, shape = str(said["name"]), str(said["tag"]), tuple(int(n) for n in said["shape"])
            if math.prod(shape) * 8 >= LIMIT:
                raise bad(self.file.path, "the product of its shape does not fit 63 bits", f"tensor {quote(name)}")
            at = answer["places"].get(name)
            tensors[name] = self._tensor(name, tag, shape) if at is None else self._placed(name, tag, shape, int(at))
        for name, words in answer["texts"].items():
            tensors[name] = Virtual(name, (), stated=("U1", (len(words),)), values=partial(text_array, words))
        found = Found(tensors, left_out=dict(answer["left_out"]))
        for name, fact in answer["facts"].items():
            try:
                found.source |= as_source({name: fact})
            except ValueError as exc:  # of another kind than the format has under that name
                found.left_out[name] = f"is {quote(fact)} ({exc})"
        return found

    def _placed(self, name: str, tag: str, shape: tuple[int, ...], at: int) -> Tensor:
        """A tensor that lies in the file as it is: mapped here, so that no row goes through a pipe."""
        part = Part(self.file, at, shape, tag)
        if at < 0 or at + part.nbytes > self.file.size:
            what = f"its bytes are said to lie at {at} to {at + part.nbytes}"
            raise bad(self.file.path, what, f"tensor {quote(name)}")
        return Tensor(name, (part,))

    def _tensor(self, name: str, tag: str, shape: tuple[int, ...]) -> Tensor:
        item = np.dtype(NUMPY_CODES[tag]).newbyteorder("=")

        def rows(first: int, last: int) -> NDArray[Any]:
            count = (last - first) * math.prod(shape[1:])
            return np.frombuffer(self._ask(name, first, last, count * item.itemsize), item).reshape(-1, *shape[1:])

        def values() -> NDArray[Any]:
            whole = rows(0, shape[0]) if shape else np.frombuffer(self._ask(name, 0, 1, item.itemsize), item)
            whole = whole.reshape(shape)
            return decode_bfloat16(whole) if tag == "BF16" else whole

        def pieces() -> list[tuple[NDArray[Any] | Window, Any]]:
            return [(Window((shape[0], shape[1]), item, rows, name), self.file)]

        is_rows = len(shape) == 2 and tag in FLOAT_NAMES
        return Virtual(name, (), stated=(tag, shape), pieces=pieces if is_rows else None, values=values)

    def _ask(self, name: str, first: int, last: int, nbytes: int) -> memoryview:
        """The bytes of some rows; as many as the shape says, or an error."""
        with self._lock:
            assert self._child.stdin is not None and self._child.stdout is not None
            try:
                self._child.stdin.write(json.dumps([name, first, last]).encode("ascii") + b"\n")
                self._child.stdin.flush()
                raw = np.empty(nbytes, np.uint8).data
                done = 0
                while done < nbytes and (more := self._child.stdout.readinto(raw[done:])):  # type: ignore[attr-defined]
                    done += more
            except OSError as exc:
                raise DumpError(f"{quote(self.file.path, 400)}: the process that unpickles it is gone ({exc})") from exc
            if done != nbytes:
                code = self._child.wait()
                raise DumpError(f"{quote(self.file.path, 400)}: the process that unpickles it ended with {code}")
            return raw
