"""The compiled core under a sanitizer of gcc, driven by Python.

    python tests/torture/sanitizers.py address [FILE ...]   the C++ tests, then the Python ones
    python tests/torture/sanitizers.py thread [SECONDS]     the C++ tests, then every call from eight threads at once

Wants CMake, Ninja, pybind11 and Eigen in the environment. The sanitized core is built to build/<preset>; a Python that
prefers it to the installed package runs under LD_PRELOAD of the sanitizer. What CPython and NumPy leak is outside our
code, so leaks are not looked for.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# files that do not enter the core, or by way of torch or a build; tests that time a signal or preload a library
APART = r"test_(bench|capture|citations|docstrings|experiment|hook|house|judging|model|sdk|site|trl)"
UNLESS = "not interrupt_ends_a_long_pass and not test_torture"


def run(*command: object, **env: str) -> int:
    print("+", *command, flush=True)
    return subprocess.run([str(c) for c in command], cwd=ROOT, env={**os.environ, **env}).returncode


def built(preset: str) -> Path:
    """The folder of a core compiled under this preset, C++ tests beside it."""
    prefix = sysconfig.get_path("purelib")
    env = {"CMAKE_PREFIX_PATH": os.environ.get("CMAKE_PREFIX_PATH", prefix), "CMAKE_GENERATOR": "Ninja"}
    python = f"-DPython_EXECUTABLE={sys.executable}"
    if run("cmake", "--preset", preset, "-DCLINOMETER_PYTHON=ON", python, **env) or run(
        "cmake", "--build", "--preset", preset, "-j2"
    ):
        sys.exit("the sanitized core does not build")
    return ROOT / "build" / preset


def environment(build: Path) -> Path:
    """A Python whose `clinometer` is the tree's with the sanitized core, and all else this interpreter's."""
    package = build / "python" / "clinometer"
    package.mkdir(parents=True, exist_ok=True)
    for held in package.iterdir():
        held.unlink()
    sources = [f for f in (ROOT / "python/clinometer").iterdir() if f.suffix != ".so"]
    for source in [*sources, *build.glob("_core*.so")]:
        (package / source.name).symlink_to(source)
    venv.create(build / "venv", with_pip=False, symlinks=True)
    where = [str(package.parent), *(p for p in sys.path if "site-packages" in p or "dist-packages" in p)]
    site = build / "venv" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (site / "sanitized.pth").write_text("\n".join(where) + "\n")
    return build / "venv" / "bin" / "python"


def library(name: str) -> str:
    return subprocess.run(
        ["gcc", f"-print-file-name=lib{name}.so"], capture_output=True, text=True, check=True
    ).stdout.strip()


def address(names: list[str]) -> int:
    build = built("asan-ubsan")
    status = run("ctest", "--preset", "asan-ubsan")
    python = environment(build)
    every = sorted(f.name for f in (ROOT / "tests/python").glob("test_*.py") if not re.match(APART, f.name))
    tests = [f"tests/python/{n}" for n in names or every] + ([] if names else ["tests/laws"])
    preload = " ".join(library(name) for name in ("asan", "ubsan", "stdc++"))
    options = "detect_leaks=0:handle_sigbus=0:allocator_may_return_null=1"
    command = [python, "-m", "pytest", "-m", "not slow", "-k", UNLESS, "--no-header", *tests]
    return status | run(*command, LD_PRELOAD=preload, ASAN_OPTIONS=options, UBSAN_OPTIONS="print_stacktrace=1")


def thread(seconds: str) -> int:
    build = built("tsan")
    known = ROOT / "tests/torture/tsan.supp"
    tsan = {"TSAN_OPTIONS": f"halt_on_error=0:exitcode=66:suppressions={known}"}
    # the shadow memory of gcc's ThreadSanitizer knows no random addresses beyond 28 bits
    fixed = ["setarch", "-R"]
    status = run(*fixed, "ctest", "--preset", "tsan", **tsan)
    python = environment(build)
    stress = ROOT / "tests/torture/threads.py"
    return status | run(*fixed, python, stress, seconds, LD_PRELOAD=library("tsan"), OPENBLAS_NUM_THREADS="1", **tsan)


if __name__ == "__main__":
    kind, rest = sys.argv[1], sys.argv[2:]
    sys.exit(address(rest) if kind == "address" else thread(*(rest or ["60"])))
