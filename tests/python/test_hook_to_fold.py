"""A hook that feeds a Fold inside generation gives the statistics of a written dump, bit for bit."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import tiny_models  # noqa: E402

import clinometer as cm  # noqa: E402
from clinometer.models.taps import blocks_of  # noqa: E402

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "hook_to_fold.py"
spec = importlib.util.spec_from_file_location("hook_to_fold", EXAMPLE)
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)

PROMPTS = ["why", "x", "name a colour", "b"]


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_the_statistics_of_the_hook_are_those_of_a_written_dump(tmp_path, architecture):
    network, tokenizer = tiny_models.model(architecture), tiny_models.tokenizer()
    torch.manual_seed(1)
    rng = np.random.default_rng(0)
    directions, betas = rng.normal(size=(2, 24)), [0.5, 2.0]
    fold = cm.Fold(cm.stat.Moments(), cm.stat.Tilt(directions, "n_tokens", betas=betas), dim=24)
    with cm.DumpWriter(tmp_path / "d", dim=24, dtype="float32", policy="on_policy") as out:
        for phi, ids, length in example.answers(network, tokenizer, PROMPTS, blocks_of(network)[0], n=7, longest=9):
            fold.absorb(phi, ids, n_tokens=length)
            out.append(phi, ids, n_tokens=length)
    moments, tilt = fold.finish()
    dump = cm.open_dump(tmp_path / "d")
    assert dump.n_rows == 28 and len(set(dump.columns["n_tokens"].tolist())) > 1
    written = cm.moments(dump)
    assert (moments.mean == written.mean).all() and (moments.covariance == written.covariance).all()
    passed = cm.tilt(dump, directions, betas, "n_tokens")
    for name in ("gain", "kl", "gain_se", "win_rate", "first_order"):
        assert (getattr(tilt, name) == getattr(passed, name)).all(), name
    assert np.abs(moments.covariance).max() > 1e-3


def test_a_row_is_the_mean_of_the_states_its_tokens_were_drawn_from():
    network, tokenizer = tiny_models.model(), tiny_models.tokenizer()
    own = network.generation_config
    own.update(min_p=0.9, repetition_penalty=3.0)  # which the example leaves out
    torch.manual_seed(3)
    with example.states_of(blocks_of(network)[1]) as steps:
        pass
    assert steps == [] and not blocks_of(network)[1]._forward_hooks
    phi, _, length = next(example.answers(network, tokenizer, ["name"], blocks_of(network)[0], n=5, longest=8))
    assert network.generation_config is own
    own.update(min_p=None, repetition_penalty=None)
    torch.manual_seed(3)
    ids = tokenizer("name", return_tensors="pt").input_ids.repeat(5, 1)
    drawn = network.generate(ids, do_sample=True, temperature=1.0, top_k=0, max_new_tokens=8, pad_token_id=0)
    for row, tokens, n in zip(phi, drawn, length, strict=True):
        with torch.no_grad():
            states = network(tokens[None], output_hidden_states=True).hidden_states[1][0]
        wanted = states[ids.shape[1] - 1 : ids.shape[1] - 1 + n].mean(0)
        torch.testing.assert_close(row, wanted, atol=2e-5, rtol=2e-5)


def test_the_example_runs_as_its_first_lines_say(tmp_path, capsys, monkeypatch):
    tiny_models.model().save_pretrained(tmp_path)
    tiny_models.tokenizer().save_pretrained(tmp_path)
    (tmp_path / "prompts.txt").write_text("why\nwho\n")
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path), str(tmp_path / "prompts.txt"), "--layer", "1", "-n", "3"])
    example.main()
    assert "6 rows of 2 prompts" in capsys.readouterr().out
