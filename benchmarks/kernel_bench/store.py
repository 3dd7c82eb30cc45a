"""Records as JSON: written after every cell, taken up again by the same code on the same machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import clinometer
from clinometer.bench.limits import machine

from .peers import Peer

__all__ = ["Store", "about", "read", "slug"]

Json = dict[str, Any]


def about(threads: int, peers: dict[str, Peer], absent: dict[str, str], setting: str) -> Json:
    """The machine, the peers, and a digest of the package's own files: what results depend on."""
    return machine(threads) | {
        "peers": {name: p.version for name, p in peers.items()}, "absent": absent, "setting": setting,
        "digest": _digest(), "commit": _commit(),
    }  # fmt: skip


def _digest() -> str:
    root, found = Path(clinometer.__file__).parent, hashlib.sha256()
    for path in sorted([*root.rglob("*.py"), *root.glob("_core*")]):
        found.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return found.hexdigest()[:16]


def _commit() -> str | None:
    """Commit of the checkout that the command runs in, with a + where files differ from it."""
    try:
        name = _git("rev-parse", "--short", "HEAD")
        return name + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()


def slug(text: str) -> str:
    """A name as part of a file name.

    >>> slug("AMD EPYC(TM) 7B13 ")
    'amd-epyc-tm-7b13'
    """
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def read(path: str) -> Json:
    """A file of records; ValueError where it is none."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(found, dict) or "about" not in found or not isinstance(found.get("cells"), list):
        raise ValueError(f"{path} was not written by bench.py --json-file")
    return found


class Store:
    """Records so far. With a path they are on disk after every cell; with `resume`, old ones are kept."""

    def __init__(self, about: Json, path: str | None, resume: bool) -> None:
        self.about, self.path = about, path
        self.cells: dict[str, Json] = {}
        self.settings: dict[str, dict[str, float]] = {}
        if resume and path is not None and os.path.exists(path):
            old = read(path)
            same = ("cpu", "threads", "isa", "peers", "setting", "digest")
            if all(old["about"].get(name) == about[name] for name in same):
                self.cells = {r["name"]: r for r in old["cells"]}
                self.settings = old["limits"]

    def add(self, record: Json, settings: dict[str, dict[str, float]]) -> None:
        self.cells[record["name"]] = record
        self.settings |= settings
        self.write()

    def write(self) -> None:
        """Replace the file in one step, so that an interrupted run leaves a whole one."""
        if self.path is None:
            return
        half = f"{self.path}.{os.getpid()}.part"
        with open(half, "w", encoding="utf-8") as file:
            cells = list(self.cells.values())
            json.dump({"about": self.about, "limits": self.settings, "cells": cells}, file, indent=1)
        os.replace(half, self.path)
