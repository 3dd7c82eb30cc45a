"""The k-th allocation inside a call of the compiled core fails, for k spread over all of them, in every binding.

    LD_PRELOAD=allocations.so python tests/torture/allocations.py [--failures 1000] [NAME ...]

Each must be a MemoryError (or an answer that is as it was, where the core can do without); the process lives, the same
call is right afterwards, and no memory is lost.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from calls import calls, digest

from clinometer import _core

SHIM = ctypes.CDLL(None)
LEAKED = 64  # bytes a failure, of which some are CPython's own


class Fails(ctypes.Structure):
    """What mallinfo2 says; `uordblks` bytes are in use."""

    _fields_ = [
        (n, ctypes.c_size_t)
        for n in ["arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks"]
    ] + [(n, ctypes.c_size_t) for n in ("fordblks", "keepcost")]


def in_use() -> int:
    gc.collect()
    SHIM.mallinfo2.restype = Fails
    found = SHIM.mallinfo2()
    return int(found.uordblks + found.hblkhd)


class Injector:
    """Stands between Python and every binding: counts its calls and their allocations, or fails one of them."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []  # binding, allocations of each call of an operation
        self.at, self.k, self.calls, self.bindings = -1, 0, 0, set[str]()
        for name, held in vars(_core).items():
            if isinstance(held, type):
                methods = {m: f for m, f in vars(held).items() if callable(f) and m not in ("__new__", "__hash__")}
                for method, f in methods.items():
                    if method.startswith("__") and method not in ("__init__", "__eq__", "__getstate__", "__setstate__"):
                        continue
                    setattr(held, method, self.wrapped(f"{name}.{method.strip('_')}", f))
            elif callable(held):
                setattr(_core, name, self.wrapped(name, held))

    def wrapped(self, name: str, f: Callable[..., Any]) -> Callable[..., Any]:
        self.bindings.add(name)

        def call(*args: Any, **kw: Any) -> Any:
            index = self.calls
            self.calls += 1
            SHIM.alloc_arm(ctypes.c_long(self.k if index == self.at else 0))
            try:
                return f(*args, **kw)
            finally:
                seen = SHIM.alloc_disarm()
                if self.at < 0:
                    self.seen.append((name, seen))

        return call

    def run(self, operation: Callable[[], Any], at: int = -1, k: int = 0) -> Any:
        self.at, self.k, self.calls, self.seen = at, k, 0, self.seen if at >= 0 else []
        return operation()


def places(seen: list[tuple[str, int]], most: int) -> list[tuple[str, int, int]]:
    """(binding, call, k) to fail: `most` of each binding's allocations, spread over all of them."""
    out = []
    for name in sorted({n for n, _ in seen}):
        every = [(name, at, k) for at, (n, count) in enumerate(seen) if n == name for k in range(1, count + 1)]
        out += every[:: -(-len(every) // most)] if every else []
    return out


def starve(injector: Injector, operation: Callable[[], Any], most: int, tried: Counter[str]) -> list[str]:
    """Fail one operation in many places; what was wrong."""
    want = digest(injector.run(operation))
    injector.run(operation)
    wrong, where = [], places(injector.seen, most)
    lost = [0, 0]
    for again in range(3):  # caches that a failure fills for the first time are no leak: a leak loses as much each time
        if again == 2 and not lost[1]:
            break
        before = in_use()
        for name, at, k in where:
            tried[name] += not again
            try:
                said = digest(injector.run(operation, at, k))
                if said != want:
                    wrong.append(f"{name}, allocation {k}: another answer")
            except MemoryError:
                pass
            except Exception as error:
                wrong.append(f"{name}, allocation {k}: {type(error).__name__}: {error}")
        lost = [lost[1], max(0, in_use() - before - LEAKED * len(where) - 4096)]
    if all(lost):
        wrong.append(f"{min(lost)} bytes lost in {len(where)} failures")
    if digest(injector.run(operation)) != want:
        wrong.append("another answer afterwards")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--failures", type=int, default=1000, help="at least so many, over all bindings")
    parser.add_argument("name", nargs="*", help="only these operations, however many failures that makes")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    tried: Counter[str] = Counter()
    status = 0
    with tempfile.TemporaryDirectory() as folder:
        operations = calls(12, 5, 4, folder)
        injector = Injector()
        for name, operation in operations.items():
            if args.name and name not in args.name:
                continue
            before = tried.total()
            wrong = starve(injector, operation, max(4, args.failures // 60), tried)
            status |= bool(wrong)
            said = f"{name:<32}{tried.total() - before:>6} failures{len(wrong):>6} wrong"
            print(said, *wrong[:5], sep="\n    ", flush=True)
    missed = sorted(name for name in injector.bindings - set(tried) if "pybind11" not in name)
    print(f"{tried.total()} failures in {len(tried)} bindings; without an allocation to fail: {', '.join(missed)}")
    return status | (not args.name and tried.total() < args.failures)


if __name__ == "__main__":
    sys.exit(main())
