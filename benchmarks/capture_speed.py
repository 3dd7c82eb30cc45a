"""How fast `cm.capture` is beside a bare loop of transformers, and what memory each takes.

    python benchmarks/capture_speed.py [--model NAME] [--prompts 16] [-n 8] [--new 48] [--rounds 3] [--layer 1]

The bare loop does what a user writes first, on the same batches: `generate` at temperature 1, then a forward pass over
prompt and response for hidden states and log-probabilities. Rounds are interleaved, and their order turns; each runs in
a process of its own, whose peak memory is the most that was resident less what it was with the model loaded. The
figures are tokens a second of responses, so that neither gains by answers that happen to end early, and the ratio
capture / bare. Without --model: a Llama of random weights, 8 layers, d 256, a vocabulary of 8192.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from typing import Any

import numpy as np

BUDGET = 8192


def random_model() -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 8, "num_attention_heads": 8}
    return LlamaForCausalLM(LlamaConfig(vocab_size=8192, max_position_embeddings=2048, **sizes)).eval()


class Plain:
    """A tokenizer of numbers: text is token ids between spaces."""

    chat_template = None
    eos_token_id = 2

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [int(t) for t in text.split()]}

    def decode(self, tokens: list[int], **_: Any) -> str:
        return " ".join(map(str, tokens))


def prompts_of(args: argparse.Namespace, lm: Any) -> list[str]:
    rng = np.random.default_rng(1)
    lengths = rng.integers(8, 64, args.prompts)
    return [lm.tokenizer.decode(rng.integers(100, lm.vocabulary - 100, n).tolist()) for n in lengths]


def bare(lm: Any, tokens: list[list[int]], args: argparse.Namespace, folder: str) -> int:
    """generate, then forward; mean states and log-probabilities as NumPy arrays; how many tokens."""
    import torch

    step = max(1, BUDGET // (args.n * (max(map(len, tokens)) + args.new)))
    total = 0
    for begin in range(0, len(tokens), step):
        some = tokens[begin : begin + step]
        width = max(map(len, some))
        ids = torch.tensor([[0] * (width - len(t)) + t for t in some]).repeat_interleave(args.n, 0)
        mask = torch.tensor([[0] * (width - len(t)) + [1] * len(t) for t in some]).repeat_interleave(args.n, 0)
        with torch.no_grad():
            made = lm.model.generate(
                ids, attention_mask=mask, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=args.new,
                pad_token_id=lm.end_id,
            )  # fmt: skip
            response = made[:, width:]
            ended = response == lm.end_id
            real = (ended.cumsum(1) - ended.long()) == 0
            whole = torch.cat([mask, real.long()], 1)
            out = lm.model(
                made, attention_mask=whole, position_ids=(whole.cumsum(-1) - 1).clamp_min(0), output_hidden_states=True
            )
            logs = out.logits[:, width - 1 : -1].float().log_softmax(-1).gather(2, response[..., None])[..., 0]
            logprob = (logs * real).sum(1).numpy()
            state = out.hidden_states[args.layer][:, width:] * real[..., None]
            phi = (state.sum(1) / real.sum(1, keepdim=True)).numpy()
        np.savez(os.path.join(folder, f"{begin}.npz"), phi=phi, logprob=logprob)
        total += int(real.sum())
    return total


def captured(lm: Any, prompts: list[str], args: argparse.Namespace, folder: str) -> int:
    import clinometer as cm

    dump = cm.capture(
        lm, None, prompts, n=args.n, layers=args.layer, max_new_tokens=args.new, out=os.path.join(folder, "d"),
        token_budget=BUDGET, chat=False, random_state=os.getpid(),
    )  # fmt: skip
    return int(dump.columns["n_tokens"].sum())


def one(kind: str, args: argparse.Namespace, pipe: Any) -> None:
    import torch

    from clinometer.models import loaded

    torch.set_num_threads(args.threads)
    lm = loaded(args.model, dtype="float32") if args.model else loaded(random_model(), Plain())
    lm.model.generation_config.update(temperature=None, top_p=None, top_k=None)
    prompts = prompts_of(args, lm)
    tokens = [lm.prompt_tokens(p, chat=False) for p in prompts]
    list(lm.forward(tokens[:1], [[5, 6]]))  # what is made ready at first use
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        begun, spent = time.perf_counter(), time.process_time()
        count = bare(lm, tokens, args, folder) if kind == "bare" else captured(lm, prompts, args, folder)
        wall, spent = time.perf_counter() - begun, time.process_time() - spent
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pipe.send({"wall": count / wall, "cpu": count / spent, "above": (peak - before) / 1024, "peak": peak / 1024})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    for name, default in (("prompts", 16), ("new", 48), ("rounds", 3), ("layer", 1), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("-n", type=int, default=8)
    args = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {"bare": [], "capture": []}
    context = multiprocessing.get_context("spawn")
    for turn in range(args.rounds):
        for kind in ("bare", "capture") if turn % 2 == 0 else ("capture", "bare"):
            here, there = context.Pipe(duplex=False)
            process = context.Process(target=one, args=(kind, args, there))
            process.start()
            there.close()
            found[kind].append(here.recv())
            process.join()
            print(kind, json.dumps({k: round(v, 1) for k, v in found[kind][-1].items()}), flush=True)
    for what in ("wall", "cpu", "above", "peak"):
        ratios = [c[what] / b[what] for b, c in zip(found["bare"], found["capture"], strict=True)]
        print(f"capture / bare, {what}: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
