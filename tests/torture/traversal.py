"""Manifests that name files outside their folder: all refused, and nothing outside is ever opened.

LD_PRELOAD=faults.so python tests/torture/traversal.py
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import clinometer as cm
from clinometer.dump import open_dump, write_dump

SHIM = ctypes.CDLL(None)
SHIM.fault_opened.restype = ctypes.c_char_p
SHARD = "phi-00000.safetensors"
NAMES = [
    "../secret.safetensors", "{outside}/secret.safetensors", "..", ".", "", "a/../../secret.safetensors",
    "sub/" + SHARD, "./" + SHARD, SHARD + "/", "..\\secret.safetensors", "C:secret.safetensors",
    "C:\\secret.safetensors",
    "\\\\host\\share\\x", "file:///{outside}/secret.safetensors", "~/secret.safetensors", SHARD + "\0", "\0" + SHARD,
    "link-to-file", "link-to-folder/secret.safetensors", "link-to-link", "link-to-zero", "loop", "pipe", "dangling",
    "/dev/zero", "/proc/self/environ", "%2e%2e/secret.safetensors", "\uff0e\uff0e\uff0fsecret.safetensors",
    "phi\n-00000.safetensors", "\u202e" + SHARD, None, 7, ["x"], {"file": SHARD},
]  # fmt: skip


def build(scratch: str) -> tuple[str, str]:
    """A dump with every kind of trap in it, and a folder beside it that must stay unread."""
    outside, folder = os.path.join(scratch, "outside"), os.path.join(scratch, "dump")
    os.mkdir(outside)
    phi = np.ones((6, 2), np.float32)
    write_dump(folder, phi, prompt_ids=[0, 0, 0, 1, 1, 1], shard_rows=3, pairs=[[0, 1]], texts=[("p", "r")] * 6,
               directions=cm.Directions(["u"], [[1.0, 0.0]]))  # fmt: skip
    shutil.copy(os.path.join(folder, SHARD), os.path.join(outside, "secret.safetensors"))
    shutil.copy(os.path.join(folder, SHARD), os.path.join(scratch, "secret.safetensors"))
    for name, target in {
        "link-to-file": os.path.join(outside, "secret.safetensors"), "link-to-folder": outside,
        "link-to-link": "link-to-file", "link-to-zero": "/dev/zero", "loop": "loop", "dangling": "../nothing",
    }.items():  # fmt: skip
        os.symlink(target, os.path.join(folder, name))
    os.mkfifo(os.path.join(folder, "pipe"))
    os.mkdir(os.path.join(folder, "sub"))
    shutil.copy(os.path.join(folder, SHARD), os.path.join(folder, "sub", SHARD))
    shutil.copy(os.path.join(folder, SHARD), os.path.join(folder, SHARD.upper()))
    return folder, outside


def manifests(table: dict[str, Any], outside: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(what is wrong, manifest) for every bad name in every place that names a file."""

    def change(where: Callable[[Any], Any], key: Any, value: Any) -> dict[str, Any]:
        out = json.loads(json.dumps(table))
        where(out)[key] = value
        return out

    for name in NAMES:
        value = name.replace("{outside}", outside) if isinstance(name, str) else name
        yield f"shard {name!r}", change(lambda t: t["shards"][0], "file", value)
        for kind in ("pairs", "text", "directions"):
            yield f"{kind} {name!r}", change(lambda t: t["files"], kind, value)
    for name in (SHARD, SHARD.upper(), SHARD.title()):
        yield f"shard again {name!r}", change(lambda t: t["shards"][1], "file", name)


def main() -> int:
    wrong, tried, outside_reads = [], 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        scratch = os.path.realpath(scratch)
        folder, outside = build(scratch)
        path = os.path.join(folder, "manifest.json")
        with open(path, encoding="utf-8") as file:
            table = json.load(file)
        open_dump(folder)  # everything that is imported late is imported now
        for what, changed in manifests(table, outside):
            with open(path, "w", encoding="utf-8") as file:
                json.dump(changed, file)
            tried += 1
            SHIM.fault_arm(0, 0, ctypes.c_long(0), 0, scratch.encode())
            try:
                dump = open_dump(folder)
                wrong.append(f"{what}: opened as {dump!r}")
            except cm.DumpError as exc:
                if not str(exc).isprintable():
                    wrong.append(f"{what}: raw characters in {exc}")
            except BaseException as exc:
                wrong.append(f"{what}: {type(exc).__name__}: {exc}")
            SHIM.fault_disarm()
            opened = [os.fsdecode(p) for k in range(256) if (p := SHIM.fault_opened(k)) is not None]
            for name in opened:
                inside = os.path.realpath(name).startswith(folder + os.sep)
                if not inside:
                    outside_reads += 1
                    wrong.append(f"{what}: opened {name}")
            if not opened:
                wrong.append(f"{what}: the watch saw nothing")
    print(f"{tried} manifests, {outside_reads} reads outside, {len(wrong)} wrong")
    for line in wrong[:20]:
        print("   ", line)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
