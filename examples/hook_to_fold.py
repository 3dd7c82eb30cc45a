"""Statistics of a model's states while it generates: a forward hook feeds a Fold, and no dump is written.

    pip install "clinometer[torch]"
    python examples/hook_to_fold.py MODEL PROMPTS.txt --layer 16

A row is one response: the mean, over its tokens, of the state after block `layer` from which the token was drawn (the
last position of every step of `generate`; the last token itself is never read by the model). What comes out is what the
same functions give of a dump of these rows, to the bit.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import GenerationConfig

import clinometer as cm


@contextlib.contextmanager
def states_of(block: torch.nn.Module) -> Iterator[list[torch.Tensor]]:
    """States (n, d) of the last position, one entry for each step that runs inside."""
    steps: list[torch.Tensor] = []

    def keep(_: Any, __: Any, output: Any) -> None:
        # a block gives its states, or a tuple that begins with them
        steps.append((output[0] if isinstance(output, tuple) else output)[:, -1])

    hook = block.register_forward_hook(keep)
    try:
        yield steps
    finally:
        hook.remove()


@contextlib.contextmanager
def unfiltered(model: Any) -> Iterator[None]:
    """The model's own settings, such as min_p, set aside but for the end: `generate` adds them to those of a call."""
    own = model.generation_config
    model.generation_config = GenerationConfig(eos_token_id=own.eos_token_id)
    try:
        yield
    finally:
        model.generation_config = own


def answers(
    model: Any, tokenizer: Any, prompts: Sequence[str], block: torch.nn.Module, *, n: int, longest: int
) -> Iterator[tuple[torch.Tensor, list[int], torch.Tensor]]:
    """For each prompt rows (n, d), prompt ids and lengths of n responses at temperature 1 over every token."""
    end = model.generation_config.eos_token_id
    for number, prompt in enumerate(prompts):
        ids = tokenizer(prompt, return_tensors="pt").input_ids.repeat(n, 1)
        with states_of(block) as steps, unfiltered(model):
            made = model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                max_new_tokens=longest, pad_token_id=tokenizer.pad_token_id or 0,
            )  # fmt: skip
        response = made[:, ids.shape[1] :]
        ended = torch.isin(response, torch.as_tensor(end))
        real = (ended.cumsum(1) - ended.long()) == 0  # the end token counts, what follows it does not
        states = torch.stack(steps, 1).double() * real[..., None]
        yield (states.sum(1) / real.sum(1, keepdim=True)).float(), [number] * n, real.sum(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("prompts", help="one a line")
    parser.add_argument("--layer", type=int, required=True, help="k: the output of block k, counted from 1")
    parser.add_argument("-n", type=int, default=16)
    parser.add_argument("--longest", type=int, default=32)
    args = parser.parse_args()
    from clinometer.models import loaded
    from clinometer.models.taps import blocks_of

    lm = loaded(args.model)
    with open(args.prompts, encoding="utf-8") as file:
        prompts = [line.strip() for line in file if line.strip()]
    fold = cm.Fold(cm.stat.Moments(), dim=lm.dim)
    block = blocks_of(lm.model)[args.layer - 1]
    for phi, ids, length in answers(lm.model, lm.tokenizer, prompts, block, n=args.n, longest=args.longest):
        fold.absorb(phi, ids, n_tokens=length)
    moments = fold.finish()[0]
    print(f"{fold.n_rows} rows of {fold.n_prompts} prompts; within-prompt variances {moments.variances}")


if __name__ == "__main__":
    main()
