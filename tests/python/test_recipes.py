"""The blocks of docs/recipes.md, run with their libraries: the dump is that of capture on the same tokens."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import tiny_models  # noqa: E402

import clinometer as cm  # noqa: E402
from clinometer.models import loaded  # noqa: E402

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"
PROMPTS = ["a", "name a colour", "xyz"]  # one of a single token
RESPONSES = [[[5, 6, 2], [30]], [[2], [40, 41, 42, 43, 44, 45, 46]], [[11, 12]]]

LIBRARIES = [("TransformerLens", "transformer_lens"), ("nnsight", "nnsight")]
pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries, whatever their releases


def block(library):
    """The code under a heading of the page."""
    return re.search(rf"\n## {library}\n.*?```py\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]


def saved(folder, architecture):
    tiny_models.model(architecture).save_pretrained(folder)
    tiny_models.tokenizer().save_pretrained(folder)
    return str(folder)


def captured(model, layer, out):
    return cm.capture(model, None, PROMPTS, responses=RESPONSES, layers=layer, chat=False, out=out)


def followed(library, model, layer, out, change=lambda code: code):
    """The dump of the block, on the tokens that capture reads."""
    lm = loaded(model)
    answers = [(lm.prompt_tokens(p, chat=False), r) for p, r in zip(PROMPTS, RESPONSES, strict=True)]
    script = out.with_suffix(".py")  # nnsight reads the source of its blocks from a file
    script.write_text(change(block(library)))
    runpy.run_path(str(script), {"model": model, "layer": layer, "answers": answers, "out": out})
    return cm.open_dump(out)


def rows(dump):
    return np.asarray(dump.read(0, dump.n_rows), np.float64)


@pytest.mark.parametrize(("library", "module"), LIBRARIES)
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_recipe_writes_the_rows_and_log_probabilities_of_capture(tmp_path, library, module, architecture, layer):
    pytest.importorskip(module)
    model = saved(tmp_path / architecture, architecture)
    wanted, found = captured(model, layer, tmp_path / "a"), followed(library, model, layer, tmp_path / "b")
    assert found.n_rows == 5 and (found.prompt_ids == wanted.prompt_ids).all()
    np.testing.assert_allclose(rows(found), rows(wanted), atol=2e-5, rtol=2e-5)
    np.testing.assert_allclose(found.columns["logprob"], wanted.columns["logprob"], atol=1e-4)
    assert found.columns["n_tokens"].tolist() == wanted.columns["n_tokens"].tolist() == [3, 1, 1, 7, 2]
    assert np.ptp(rows(found), axis=0).min() > 0.01


def compatible(code):
    made = "boot_transformers(model)\n"
    assert made in code
    return code.replace(made, made + "bridge.enable_compatibility_mode()\n")


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_transformer_lens_in_compatibility_mode_centres_rows_where_the_norm_centres(tmp_path, architecture):
    pytest.importorskip("transformer_lens")
    model = saved(tmp_path / "m", architecture)
    wanted = captured(model, 1, tmp_path / "a")
    found = followed("TransformerLens", model, 1, tmp_path / "b", compatible)
    phi, other = rows(wanted), rows(found)
    mean = phi.mean(axis=1, keepdims=True)
    assert np.abs(mean).max() > 0.02
    np.testing.assert_allclose(other, phi - mean if architecture == "gpt2" else phi, atol=2e-5)
    np.testing.assert_allclose(found.columns["logprob"], wanted.columns["logprob"], atol=1e-4)


def test_a_tilt_along_a_centred_direction_is_the_same_on_centred_rows_and_others_are_not(tmp_path):
    pytest.importorskip("transformer_lens")
    model = saved(tmp_path / "m", "gpt2")
    phi = captured(model, 1, tmp_path / "a")
    centred = followed("TransformerLens", model, 1, tmp_path / "b", compatible)
    direction = np.random.default_rng(0).normal(size=(1, 24)) + 3
    even = direction - direction.mean()

    def gain(dump, u):
        return cm.tilt(dump, u, [0.5], "n_tokens").gain[0, 0, 0]

    assert gain(centred, direction) == pytest.approx(gain(phi, even), abs=1e-4)
    assert gain(centred, even) == pytest.approx(gain(phi, even), abs=1e-4)
    assert abs(gain(phi, direction) - gain(phi, even)) > 0.05
    assert np.linalg.norm(cm.moments(centred).covariance.sum(axis=0)) < 1e-5  # of variance 0 along the ones
