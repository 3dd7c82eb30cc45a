"""The examples of CONTRIBUTING.md: their blocks applied to a copy of the tree, built and tested."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(?:cpp|python)\n(?://|#) (\S+/\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(section: str = "Add a statistic") -> dict[str, str]:
    """Fenced blocks of a section by the file their first line names."""
    sections = (ROOT / "CONTRIBUTING.md").read_text().split("\n## ")
    return dict(BLOCK.findall(next(text for text in sections if text.startswith(section))))


def tool(name: str) -> str:
    """A program beside this interpreter or on PATH."""
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which(name, path=beside)
    if found is None:
        missing(name)
    return str(found)


def missing(what: str) -> None:
    if os.environ.get("CLINOMETER_NO_SKIP"):
        pytest.fail(f"{what} is missing and CLINOMETER_NO_SKIP is set")
    pytest.skip(f"{what} is missing")


def eigen() -> list[str]:
    """CMake arguments that find Eigen: cmeel's package when it is installed, else the system's."""
    site = Path(sysconfig.get_path("purelib"))
    if (site / "cmeel.prefix/share/eigen3/cmake").is_dir():
        return [f"-DCMAKE_PREFIX_PATH={site}"]
    if not any(Path("/usr", share, "eigen3/cmake").is_dir() for share in ("share", "local/share")):
        missing("Eigen")
    return []


def apply(tree: Path, name: str, text: str) -> None:
    """A new file is written; in module.cpp includes and statements find their places; Python is appended."""
    path = tree / name
    if name.endswith("module.cpp"):
        lines = text.splitlines(keepends=True)
        includes = "".join(line for line in lines if line.startswith("#include"))
        rest = "".join(line for line in lines if not line.startswith("#include"))
        source = path.read_text()
        source = source.replace("#include", includes + "#include", 1)
        start = source.index("void statistics(")
        end = source.index("\n}\n", start) + 1
        path.write_text(source[:end] + rest + source[end:])
    elif path.exists():
        path.write_text(path.read_text() + "\n\n" + text)
    else:
        path.write_text(text)


def lighten(tree: Path) -> None:
    """Compile less: portable kernels alone, which give the same results."""
    kernels = tree / "cpp/kernels/CMakeLists.txt"
    levels = r"^  clinometer_kernel_(?:level|bf16)\([^)]*\)$"
    text, found = re.subn(levels, "", kernels.read_text(), flags=re.MULTILINE)
    assert found >= 2
    kernels.write_text(text)


def run(*command: str | Path, **environment: str) -> None:
    everything = {**os.environ, **environment}
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, env=everything)
    assert done.returncode == 0, f"{command}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"


def test_there_are_four_places() -> None:
    names = list(blocks())
    assert len(names) == 4
    assert names[0].startswith("cpp/include/clinometer/statistics/")
    assert names[1:3] == ["cpp/bindings/module.cpp", "python/clinometer/engine/passes.py"]
    assert names[3].startswith("tests/python/test_")
    assert all((ROOT / name).exists() for name in names[1:3])


@pytest.mark.slow
def test_the_example_builds_and_passes(tmp_path: Path) -> None:
    cmake, ninja, eigen_at = tool("cmake"), tool("ninja"), eigen()
    if not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        missing("a C++ compiler")
    if importlib.util.find_spec("pybind11") is None:
        missing("pybind11")
    import pybind11

    tree, build = tmp_path / "tree", tmp_path / "build"
    ignore = shutil.ignore_patterns("*.so", "__pycache__")
    for part in ("cpp", "python"):
        shutil.copytree(ROOT / part, tree / part, ignore=ignore)
    for part in ("CMakeLists.txt", "pyproject.toml"):
        shutil.copy(ROOT / part, tree / part)
    (tree / "tests/python").mkdir(parents=True)
    (tree / "tests/laws").mkdir()
    for name, text in blocks().items():
        apply(tree, name, text)
    lighten(tree)

    # unoptimised outside the kernels: this is about correctness, and compiles in half the time
    run(
        cmake, "-S", tree, "-B", build, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}",
        "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O0", f"-DPython_EXECUTABLE={sys.executable}",
        f"-Dpybind11_DIR={pybind11.get_cmake_dir()}", *eigen_at,
    )  # fmt: skip
    run(cmake, "--build", build, "--target", "_core", "-j", "2")
    module = next(build.glob("_core*.so"))
    shutil.copy(module, tree / "python/clinometer" / module.name)

    test = next(name for name in blocks() if name.startswith("tests/"))
    python_path = {"PYTHONPATH": str(tree / "python"), "PYTHONDONTWRITEBYTECODE": "1"}
    run(
        sys.executable,
        "-m",
        "pytest",
        f"--rootdir={tree}",
        "-c",
        tree / "pyproject.toml",
        tree / test,
        **python_path,
    )
    doctest = (
        "import doctest, clinometer.engine.passes as p; assert 'tree' in p.__file__; "
        "f = p.score_range; run = doctest.DocTestRunner(); "
        "[run.run(t) for t in doctest.DocTestFinder().find(f, globs={})]; "
        "assert run.tries and not run.failures"
    )
    run(sys.executable, "-c", doctest, **python_path)


def test_the_reader_has_two_places() -> None:
    folder, test = blocks("Add a reader")
    assert folder.startswith("python/clinometer/sources/readers/") and test.startswith("tests/python/test_")
    assert not (ROOT / folder).exists()


def test_the_reader_is_found_and_passes(tmp_path: Path) -> None:
    from clinometer import _core

    tree = tmp_path / "tree"
    shutil.copytree(ROOT / "python", tree / "python", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    shutil.copy(_core.__file__, tree / "python/clinometer")
    shutil.copytree(ROOT / "tests/python", tree / "tests/python", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree / "pyproject.toml")
    for name, text in blocks("Add a reader").items():
        apply(tree, name, text)
    tests = [tree / name for name in blocks("Add a reader") if name.startswith("tests/")]
    tests.append(tree / "tests/python/test_readers.py")
    # without site, whose .pth files may put an editable install first
    found = os.pathsep.join([str(tree / "python"), *(p for p in sys.path if p.endswith("site-packages"))])
    python_path = {"PYTHONPATH": found, "PYTHONDONTWRITEBYTECODE": "1"}
    run(sys.executable, "-S", "-c", "import clinometer; assert 'tree' in clinometer.__file__", **python_path)
    run(sys.executable, "-S", "-m", "pytest", f"--rootdir={tree}", "-c", tree / "pyproject.toml", *tests, **python_path)
