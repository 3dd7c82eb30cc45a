"""Objects compiled for wide instruction sets define nothing that the linker may hand to a caller without them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / ".ci/wide_symbols"
WEAK = "inline int f(int x) { return x; }\nint (*g(void))(int) { return &f; }\n"
GLOBAL = "int wide(int x) { return x; }\n"
LOCAL = "namespace isa_avx2 { namespace { int f(int x) { return x; } } int table(int x) { return f(x); } }\n"


def look(folder: Path) -> subprocess.CompletedProcess[str]:
    if not SCRIPT.exists() or shutil.which("nm") is None or shutil.which("bash") is None:
        pytest.skip("needs a source tree, bash and nm")
    return subprocess.run(["bash", str(SCRIPT), str(folder)], capture_output=True, text=True, check=False)


def test_objects_of_this_trees_builds() -> None:
    done = look(ROOT / "build")
    if done.returncode == 77:
        pytest.skip("no object files: nothing is built in this tree")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("source, says", [(WEAK, "weak"), (GLOBAL, "outside isa_avx2"), (LOCAL, None)])
def test_the_check_can_fail(source: str, says: str | None, tmp_path: Path) -> None:
    compiler = next((c for c in ("c++", "g++", "clang++") if shutil.which(c)), None)
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    (tmp_path / "a.cpp").write_text(source)
    subprocess.run([compiler, "-c", tmp_path / "a.cpp", "-o", tmp_path / "kernels_avx2.cpp.o"], check=True)
    done = look(tmp_path)
    assert done.returncode == (1 if says else 0), done.stdout
    assert says is None or says in done.stdout
