"""What a forward pass hands over by hooks: states of layers and logits, at the asked places alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["blocks_of", "still", "tapped"]

Places = tuple[Any, Any]  # rows and columns of a batch


def blocks_of(model: Any) -> list[Any]:
    """The model's blocks in order; the outermost list of as many modules as the configuration has layers."""
    import torch

    wanted = model.config.get_text_config().num_hidden_layers
    found: dict[str, Any] = {}
    for name, module in model.named_modules():
        inside = any(name.startswith(outer + ".") for outer in found)
        if isinstance(module, torch.nn.ModuleList) and len(module) == wanted and not inside:
            found[name] = module
    if len(found) != 1:
        raise ValueError(
            f"model {type(model).__name__} has {len(found)} lists of {wanted} blocks ({', '.join(found)}); "
            "layers can be numbered where there is one"
        )
    return list(next(iter(found.values())))


@contextlib.contextmanager
def tapped(model: Any, layers: Sequence[int], states_at: Places, logits_at: Places) -> Iterator[dict[int, Any]]:
    """During the block, states (M, d) of `layers` at `states_at`; only states at `logits_at` reach the output layer.

    Layer 0 is what enters the first block, layer k what leaves block k: the last one before the final norm, which the
    last of transformers' hidden_states has behind it.
    """
    states: dict[int, Any] = {}
    blocks = blocks_of(model) if layers else []
    hooks = []

    def picked(hidden: Any, places: Places) -> Any:
        if hidden.dim() != 3:
            raise ValueError(
                f"model {type(model).__name__} has states of shape {tuple(hidden.shape)} between its blocks; a vector "
                "a token is wanted"
            )
        rows, columns = (x.to(hidden.device) for x in places)
        return hidden[rows, columns]

    def entered(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        states[0] = picked(args[0] if args else kwargs["hidden_states"], states_at)

    def leaving(layer: int) -> Any:
        def left(_: Any, __: Any, output: Any) -> None:
            if layer in states:
                raise ValueError(
                    f"model {type(model).__name__} runs its blocks several times in a pass; layers can be numbered "
                    "where they run once"
                )
            states[layer] = picked(output[0] if isinstance(output, tuple) else output, states_at)

        return left

    def narrowed(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (picked(args[0], logits_at)[None], *args[1:])

    try:
        for layer in layers:
            if layer == 0:
                hooks.append(blocks[0].register_forward_pre_hook(entered, with_kwargs=True))
            else:
                hooks.append(blocks[layer - 1].register_forward_hook(leaving(layer)))
        hooks.append(model.get_output_embeddings().register_forward_pre_hook(narrowed))
        yield states
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def still(model: Any) -> Iterator[None]:
    """No gradients and no dropout during the block; every module's training flag is as before afterwards."""
    import torch

    training = [m for m in model.modules() if m.training]
    for module in training:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True
