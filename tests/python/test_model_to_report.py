"""The example that goes from a model to a report, with a tiny model in the place of the one it names."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import pytest

import clinometer as cm


@pytest.mark.slow
def test_from_a_model_to_a_page_and_again_from_what_lies_there(tmp_path, capsys, monkeypatch):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    import tiny_models

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    path = Path(__file__).parents[2] / "examples" / "model_to_report.py"
    spec = importlib.util.spec_from_file_location("model_to_report", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    monkeypatch.setattr(example, "LAYERS", [1, 2])
    assert len(example.PROMPTS) == len(set(example.PROMPTS)) == 24 and len(example.CONSTITUTIONS) == 6
    model, tokenizer = tiny_models.model(max_position_embeddings=512), tiny_models.tokenizer()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a model of random weights is no good judge, and is told of
        first = example.run(model, tokenizer, tmp_path)
        page = (tmp_path / "report.html").read_bytes()
        again = example.run(model, tokenizer, tmp_path)
    assert first.constitutions == tuple(f"judge/{name}" for name in example.CONSTITUTIONS)
    assert (first.tilt.gain == again.tilt.gain).all() and len(page) > 10_000
    dump = cm.open_dump(tmp_path / "judged", layer=2)
    assert dump.n_rows == 24 * 8 and dump.policy == "on_policy" and dump.pairs["prob"].shape == (24 * 8, 6)
    assert "192 responses" in capsys.readouterr().out
