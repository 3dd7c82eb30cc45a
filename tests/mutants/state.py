"""What is known already, in build/mutants: which test sees which field, and which mutant was noticed by what."""

from __future__ import annotations

import ast
import hashlib
import json
import os
from pathlib import Path
from typing import Any

__all__ = ["State"]


class State:
    """Answers of earlier runs that still hold.

    seen : test or claim -> {"seconds": time alone, "fields": those it builds with a number in them}
    noticed : mutant -> test or claim
    survived : mutant -> tests and claims that it has met
    """

    def __init__(self, root: Path) -> None:
        self.root, self.file = root, root / "build" / "mutants" / "state.json"
        held: dict[str, Any] = json.loads(self.file.read_text()) if self.file.exists() else {}
        self.now = {f: self._digest(f) for f in self._tests()}  # before they are imported: they may change meanwhile
        self.code = self._code()
        if held.get("code") != self.code:
            held = {}
        self.files: dict[str, str] = held.get("files", {})
        changed = {f for f, digest in self.files.items() if digest != self.now.get(f)}
        self.seen = {k: v for k, v in held.get("seen", {}).items() if file_of(k) not in changed}
        self.noticed = {k: v for k, v in held.get("noticed", {}).items() if file_of(v) not in changed}
        survived = held.get("survived", {})
        self.survived = {k: [t for t in v if file_of(t) not in changed] for k, v in survived.items()}

    def save(self) -> None:
        self.files = {f: self.now[f] for f in sorted({file_of(k) for k in self.seen})}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        parts = {"code": self.code, "files": self.files, "seen": self.seen}
        made = json.dumps({**parts, "noticed": self.noticed, "survived": self.survived})
        new = self.file.with_suffix(".new")
        new.write_text(made)
        os.replace(new, self.file)

    def _tests(self) -> list[str]:
        found = [*self.root.glob("tests/**/test_*.py"), *self.root.glob("python/clinometer/verify/**/*.py")]
        return [str(f.relative_to(self.root)) for f in found]

    def _digest(self, file: str | Path) -> str:
        path = self.root / file
        text = path.read_bytes() if path.exists() else b""
        return hashlib.sha256(_code_of(text) if path.suffix == ".py" else text).hexdigest()[:16]

    def _code(self) -> str:
        """Of the package, less its claims and benchmarks, and of what tests share."""
        package = self.root / "python" / "clinometer"
        files = [*package.rglob("*.py"), *package.rglob("*.html"), *package.rglob("*.js")]
        files = [f for f in files if f.relative_to(package).parts[0] not in ("verify", "bench")]
        files += [package / "verify" / name for name in ("registry.py", "worlds.py")]
        files += [f for f in (self.root / "tests" / "python").glob("*.py") if not f.name.startswith("test_")]
        whole = hashlib.sha256()
        for file in sorted(files):
            whole.update(f"{file.relative_to(self.root)} {self._digest(file)}\n".encode())
        return whole.hexdigest()[:16]


def _code_of(text: bytes) -> bytes:
    """Python without comments, docstrings and layout."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            del body[0]
    return ast.dump(tree).encode()


def file_of(name: str) -> str:
    """The file of a test "file::name" or of a claim."""
    return name.split("::")[0]
