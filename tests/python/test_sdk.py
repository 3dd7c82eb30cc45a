"""What an installation carries for C++ and C: consumers built from it alone, with numbers of the Python functions."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import clinometer as cm

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = Path(os.environ.get("CLINOMETER_SDK", cm.__path__[0]))
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory):
    """A function from an example's name to its program."""
    cmake, compiler = (
        shutil.which(n, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}") for n in ("cmake", "c++")
    )
    if not (INSTALLED / "lib/cmake/clinometer").is_dir():
        assert "CLINOMETER_NO_SKIP" not in os.environ, "the installation has no lib/cmake/clinometer"
        pytest.skip("an editable installation carries no C++ library: CLINOMETER_SDK=DIR names an unpacked wheel's")
    if cmake is None or compiler is None:
        assert "CLINOMETER_NO_SKIP" not in os.environ, "cmake or a compiler is missing"
        pytest.skip("cmake or a compiler is missing")

    def built(name: str, source: Path | None = None) -> Path:
        to = tmp_path_factory.mktemp(name)
        shutil.copytree(source or ROOT / "examples/cpp" / name, to / "source")  # away from the headers of the tree
        for command in (
            [cmake, "-S", to / "source", "-B", to / "build", f"-Dclinometer_ROOT={INSTALLED}"],
            [cmake, "--build", to / "build"],
        ):  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
        return to / "build" / name

    return built


def test_the_program_of_the_how_to_page(build, tmp_path: Path) -> None:
    page = (ROOT / "docs/how-to/cpp.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"^```(cmake|c|text)\n(.*?)^```$", page, re.M | re.S))
    (tmp_path / "CMakeLists.txt").write_text(blocks["cmake"], encoding="utf-8")
    (tmp_path / "main.c").write_text(blocks["c"], encoding="utf-8")
    assert ran(build("first", tmp_path)) == blocks["text"].splitlines()


def ran(*command: object) -> list[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_cpp_scores_a_mapped_file(build, tmp_path: Path, dtype: type) -> None:
    phi = np.random.default_rng(0).normal(size=(9001, 7)).astype(dtype)
    cm.write_dump(tmp_path / "d", phi, prompt_ids=np.arange(9001) // 4)
    program = build("score_mapped")
    (file,) = (tmp_path / "d").glob("phi*.safetensors")
    name = cm.open_dump(tmp_path / "d").tensor
    scores = np.array(ran(program, file, name), float)
    np.testing.assert_array_equal(
        scores.astype(np.float32), cm.score(phi, np.ones((1, 7)), prompt_ids=np.zeros(9001))[:, 0]
    )
    file.write_bytes(file.read_bytes()[:9000])
    assert subprocess.run([program, file, name], capture_output=True).returncode == 1


def test_cpp_tilts_in_a_serving_loop(build) -> None:
    said = {name: float(x) for name, x in (line.split() for line in ran(build("online_tilt")))}
    # score and noise are standard normal, and the value's covariance with the score a half: the law in the limit of n
    # is 1/3, and n = 8 leaves the tilted mean of a Gaussian sample a little lower
    rng = np.random.default_rng(1)
    t = rng.normal(size=(40_000, 8))
    w = np.exp(t / 1.5) / np.exp(t / 1.5).sum(axis=1, keepdims=True)
    gain = 0.5 * ((w - 1 / 8) * t).sum(axis=1).mean()
    kl = (w * np.log(8 * w)).sum(axis=1).mean()
    assert abs(said["gain"] - gain) < 4 * said["gain_se"] and 0 < said["gain_se"] < 0.02
    assert abs(said["kl"] - kl) < 0.01
    assert abs(said["realised"] - said["gain"]) < 4 * 1.1 / np.sqrt(2000)


def test_cpp_folds_and_python_finishes(build, tmp_path: Path) -> None:
    ran(build("fold_and_finish"), tmp_path / "state")
    i = np.arange(500 * 40 * 6)
    phi = ((i * 7919 + i // 6 * 104729) % 1009).astype(np.float32).reshape(-1, 6) / np.float32(256)
    value = (np.arange(20_000) * 31 % 17) / 8
    directions = cm.Directions(["first", "difference"], [[1, 0, 0, 0, 0, 0], [0, 1, -1, 0, 0, 0]])
    statistic = cm.stat.Tilt(directions, "value", betas=[[0.5, 2.0], [1.0, 4.0]])
    dump = cm.open_dump(phi, prompt_ids=np.arange(20_000) // 40, columns={"value": value})
    (want,), got = cm.scan(dump, statistic), cm.merge(tmp_path / "state")
    for name, array in want.arrays.items():
        np.testing.assert_array_equal(getattr(got, name), array, err_msg=name)
    assert (got.n_rows, got.n_prompts, got.directions) == (20_000, 500, ("first", "difference"))


def test_plain_c(build) -> None:
    said = ran(build("plain_c"))
    phi = np.array([[0, 1], [1, 0], [2, 1], [3, 0], [5, 2], [6, 2], [7, 0], [8, 0]], np.float32)
    ids, value = [0] * 4 + [1] * 4, np.array([0, 0, 1, 1, 0, 1, 1, 1.0])
    moments = cm.moments(phi, prompt_ids=ids, precision="double")
    tilt = cm.tilt(phi, [[1.0, 0.0]], [2.0, np.inf], value, prompt_ids=ids, precision="double")
    numbers = {line.split()[0]: [float(x) for x in re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", line)] for line in said}
    assert numbers["scores"] == [0, 8]
    np.testing.assert_allclose(numbers["mean"], moments.mean, rtol=1e-5)
    np.testing.assert_allclose(numbers["covariance"], moments.covariance[np.triu_indices(2)], rtol=1e-5)
    np.testing.assert_allclose(numbers["gain"], tilt.gain.ravel(), atol=1e-6)
    np.testing.assert_allclose(numbers["kl"], tilt.kl.ravel(), atol=1e-6)
    assert said[-1] == "refused: code 1, rows.dtype is 7, wanted CLINOMETER_F32, F16, BF16 or F64"


def test_what_a_wheel_installs_is_under_6_megabytes() -> None:
    if not (INSTALLED / "lib/cmake/clinometer").is_dir():
        pytest.skip("an editable installation is no wheel: CLINOMETER_SDK=DIR names an unpacked wheel's")
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as wheel:
        for file in INSTALLED.rglob("*"):
            if file.is_file() and file.suffix != ".pyc":
                wheel.write(file, file.relative_to(INSTALLED))
    assert 2 << 20 < held.tell() < 6_000_000


def test_public_headers_need_neither_python_nor_eigen() -> None:
    for header in (ROOT / "cpp/include").rglob("*.h*"):
        assert not re.search(r'#include\s*[<"](Python\.h|pybind11|Eigen)', header.read_text(encoding="utf-8")), header
