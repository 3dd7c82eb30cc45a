"""The house counted from the tree: lines, files, rooms, arrows between them, circles, names taken across rooms.

    python tests/python/house.py

Every import counts, one inside a function too; one under TYPE_CHECKING is for readers of types and does not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

SOURCE = Path(__file__).resolve().parents[2] / "python"
PACKAGE = "clinometer"

# from the ground up: a room imports from rooms below it
FLOORS = (
    ("common", "reference"),
    ("errors", "arrays", "models"),
    ("files",),
    ("sources",),
    ("dump",),
    ("engine", "values", "capturing", "judging"),
    ("stream", "fit"),
    ("inference",),
    ("theory",),
    ("lp",),
    ("reporting",),
    # the door: names of the rooms below; public modules beside it, two of them from before there were rooms
    ("plot", "sklearn", "trl", "distributed", "passes", "foldfile", ""),
    ("verify", "bench"),
    ("cli",),
    ("__main__",),
)
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}


@dataclass(frozen=True)
class Arrow:
    """`name` of the module `source`, imported by `module`."""

    module: str
    source: str
    name: str
    line: int

    def __str__(self) -> str:
        return f"{self.module}:{self.line} takes {self.name or 'itself'} of {self.source}"


def modules() -> dict[str, Path]:
    """Dotted names below the package, "" for the package itself."""
    found = {}
    for path in sorted((SOURCE / PACKAGE).rglob("*.py")):
        parts = path.relative_to(SOURCE / PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room(module: str) -> str:
    """The folder of a module, or the module itself where it stands in none."""
    return module.split(".")[0]


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        yield from _executed(node)


def _absolute(module: str, node: ast.ImportFrom, is_package: bool) -> str | None:
    if node.level == 0:
        full = node.module or ""
        return full[len(PACKAGE) + 1 :] if full == PACKAGE or full.startswith(PACKAGE + ".") else None
    base = module.split(".") if module else []
    base = base[: len(base) - node.level + is_package]
    return ".".join([*base, *([node.module] if node.module else [])])


def arrows(known: dict[str, Path]) -> Iterator[Arrow]:
    """Every import of the package by itself."""
    for module, path in known.items():
        for node in _executed(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                for a in node.names:
                    if a.name == PACKAGE or a.name.startswith(PACKAGE + "."):
                        yield Arrow(module, a.name[len(PACKAGE) + 1 :], "", node.lineno)
            if isinstance(node, ast.ImportFrom):
                source = _absolute(module, node, path.name == "__init__.py")
                for a in node.names if source is not None else []:
                    inner = f"{source}.{a.name}" if source else a.name
                    taken = Arrow(module, inner, "", node.lineno) if inner in known else None
                    yield taken or Arrow(module, source or "", a.name, node.lineno)


def upward(found: list[Arrow]) -> list[Arrow]:
    """Imports of a room that does not lie below; the compiled core and the version are on the ground."""
    ground = ("_core", "__version__")
    return [
        a
        for a in found
        if room(a.module) != room(a.source) and a.name not in ground and LEVEL[room(a.source)] >= LEVEL[room(a.module)]
    ]


def private(found: list[Arrow]) -> list[Arrow]:
    """Names with an underscore that one room takes from another."""
    hidden = [a for a in found if room(a.module) != room(a.source) and a.name != "_core"]
    return [
        a for a in hidden if any(p.startswith("_") and not p.startswith("__") for p in (*a.source.split("."), a.name))
    ]


def circles(found: list[Arrow]) -> list[list[str]]:
    """Modules that import each other, by strongly connected components."""
    edges = {(a.module, a.source) for a in found if a.module != a.source and a.name != "_core"}
    names = sorted({name for edge in edges for name in edge})
    at = {name: i for i, name in enumerate(names)}
    rows, columns = zip(*((at[a], at[b]) for a, b in edges), strict=True)
    graph = csr_array((np.ones(len(edges)), (rows, columns)), shape=(len(names), len(names)))
    count, label = connected_components(graph, connection="strong")
    groups = [[n for n in names if label[at[n]] == k] for k in range(count)]
    return [g for g in groups if len(g) > 1]


def main() -> None:
    """Print what `make house` shows."""
    known = modules()
    found = list(arrows(known))
    lines = {m: len(p.read_text(encoding="utf-8").splitlines()) for m, p in known.items()}
    folder = {m: m if p.name == "__init__.py" else m.rpartition(".")[0] for m, p in known.items()}
    rooms = sorted({name for name in folder.values() if name})
    print(f"Python in the wheel   {sum(lines.values()):6,} lines in {len(known)} files")
    print(f"rooms                 {len(rooms):6} on {len(FLOORS)} floors")
    print(f"arrows that run up    {len(upward(found)):6}")
    print(f"circles               {len(circles(found)):6}")
    print(f"names with _ across   {len(private(found)):6}")
    for name in rooms:
        own = [m for m in known if folder[m] == name]
        print(f"  {name:15} {sum(lines[m] for m in own):6,} lines {len(own):4} files")


if __name__ == "__main__":
    main()
