"""Responses of each split, and for each of them the scores of all judges and the values."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import clinometer as cm
from clinometer.models import LanguageModel

from .network import Pack, pack
from .prompts import prompts
from .settings import HERE, Settings, digest, timed, write_json

# chosen before any gain was seen: of the length limit's few words these differ between answers to one prompt
TEXT_VALUES = {
    "you": r"regex:(?i)\b(you|your|yours)\b",
    "I": r"regex:(?i)\b(i|me|my|i'm|i've)\b",
    "exclaims": "regex:!",
    "cheer": r"regex:(?i)\b(good|great|happy|glad|love|enjoy|fun|best|wonderful|exciting|beautiful)",
    "questions": "questions",
    "hedges": "hedges",
    "courtesy": "courtesy",
}
VALUES = (*TEXT_VALUES, "planted")  # the last is linear in phi
NEGATED = ("cheerful", "careful", "kind")
VALUE_JUDGES = ("you", "exclaims")
PROBED = "you"  # its direction is a judge too, fitted on the validation split
COMPONENTS = 8  # directions of largest spread that planted ones are made of
ALIKE = 0.7  # correlation of the planted judge with the planted value


@dataclass(frozen=True)
class Rows:
    """A split in numbers: prompt of each row, scores (N, K) in sd of the validation split, values (N, J), log pi0."""

    ids: Any
    scores: Any
    values: Any
    logprob: Any
    judges: tuple[str, ...]

    def digest(self) -> str:
        return digest(self.ids, self.scores, self.values)


def constitutions(s: Settings) -> dict[str, Any]:
    held = json.loads((HERE / "constitutions.json").read_text())
    return dict(list(held.items())[: s.constitutions])


def judges(s: Settings) -> tuple[str, ...]:
    """Names of all judges."""
    texts = list(constitutions(s))
    negated = [f"not/{n}" for n in NEGATED if n in texts]
    own = [f"value/{v}" for v in VALUE_JUDGES]
    return (*(f"text/{n}" for n in texts), *negated, *own, "probe", "length", "noise", "planted")


def sample(s: Settings, lm: LanguageModel) -> None:
    """A dump of each split, at temperature 1 over the whole vocabulary."""
    for split, asked in prompts(s.prompts, s.room).items():
        with timed(s, f"sample {split}, tokens") as units:
            dump = cm.capture(
                lm, None, asked, n=s.responses[split], layers=lm.n_layers - s.blocks, out=s.folder / "dumps" / split,
                max_new_tokens=s.max_new_tokens, prompt_ids=[f"{split}{i}" for i in range(len(asked))],
                token_budget=s.token_budget, dtype="float32",
            )  # fmt: skip
            units.append(float(dump.columns["n_tokens"].sum()))


def judge(s: Settings, lm: LanguageModel) -> None:
    """Text constitutions by likelihood contrast, and pairwise judging on the validation split as a measured failure."""
    asked = constitutions(s)
    for split in judged_splits(s):
        with timed(s, f"judge {split} by {len(asked)} constitutions, rows") as units, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out = s.folder / "judged" / split
            found = cm.judge(lm, None, dump_of(s, split), asked, out=out, token_budget=s.token_budget)
            units.append(found.n_rows)
    with timed(s, "pairwise judging, rows") as units, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        texts = {name: persona for name, (persona, _) in asked.items()}
        dump = dump_of(s, "valid")
        n = min(4 * s.responses["valid"], dump.n_rows)
        some = cm.open_dump(np.zeros((n, 1)), prompt_ids=dump.prompt_ids[:n])
        found = cm.judge(lm, None, some, texts, kind="pairwise", texts=list(dump.texts)[:n], pairs_per_prompt=4)
        units.append(found.n_rows)
        names = ("constitutions", "position_bias", "order_agreement", "same_answer")
        write_json(s.folder / "pairwise.json", {n: np.asarray(getattr(found, n)).tolist() for n in names})


def judged_splits(s: Settings) -> list[str]:
    """All but the further prompts, whose one arm has a judge that costs nothing."""
    return [split for split in s.prompts if split != "more"]


def dump_of(s: Settings, split: str, judged: bool = False) -> Any:
    return cm.open_dump(s.folder / ("judged" if judged and split in judged_splits(s) else "dumps") / split)


def directions(s: Settings) -> dict[str, Any]:
    """The planted value and judge, the probe, and the sd of every judge: all from the validation split."""
    path = s.folder / "directions.npz"
    if not path.exists():
        dump = dump_of(s, "valid", judged=True)
        phi, ids = np.asarray(dump.read(0, dump.n_rows), np.float64), np.asarray(dump.prompt_ids)
        found = _planted(centred(phi, ids))
        texts = cm.values.text_values(dump, TEXT_VALUES)
        found["probe"] = cm.fit_value_direction(texts, PROBED).vectors[0]
        raw = _scores(s, dump, found)
        spread = np.sqrt((centred(raw, ids) ** 2).mean(0))
        found["scale"] = np.where(spread > 0, spread, 1.0)
        np.savez(path, **found)
    with np.load(path) as held:
        return dict(held)


def _planted(phi: Any) -> dict[str, Any]:
    """Two random directions of known correlation in the space of the largest components, each of unit spread."""
    _, spread, axes = np.linalg.svd(phi / np.sqrt(len(phi)), full_matrices=False)
    value, other = np.random.default_rng(22).normal(size=(2, min(COMPONENTS, len(spread))))
    value /= np.linalg.norm(value)
    other -= (other @ value) * value
    mixed = ALIKE * value + np.sqrt(1 - ALIKE**2) * other / np.linalg.norm(other)
    whitened = axes[: len(value)] / spread[: len(value), None]
    return {"planted_value": value @ whitened, "planted_judge": mixed @ whitened}


def computed(made: Mapping[str, Any], texts: Sequence[str], tokens: Sequence[Sequence[int]], phi: Any) -> Any:
    """Raw scores of judges that are functions of a response, and the values (N, J)."""
    values = {n: np.array([float(f(t)) for t in texts]) for n, f in _functions().items()}
    values["planted"] = phi @ made["planted_value"]
    scores = {f"value/{v}": values[v] for v in VALUE_JUDGES} | {
        "probe": phi @ made["probe"], "length": np.array([float(len(t)) for t in texts]),
        "noise": np.array([_noise(t) for t in tokens]), "planted": phi @ made["planted_judge"],
    }  # fmt: skip
    return scores, np.stack([values[v] for v in VALUES], axis=1)


def _functions() -> dict[str, Any]:
    return {name: cm.values.text_function(value) for name, value in TEXT_VALUES.items()}


def _noise(tokens: Sequence[int]) -> float:
    """A number of each response's own that no property of it predicts."""
    seed = hashlib.sha256(json.dumps(list(tokens)).encode()).digest()
    return float(np.random.default_rng(int.from_bytes(seed[:8], "big")).normal())


def _of_dump(dump: Any, made: Mapping[str, Any]) -> Any:
    texts = list(dump.texts)
    phi = np.asarray(dump.read(0, dump.n_rows), np.float64)
    return computed(made, [t["response"] for t in texts], [t["tokens"] for t in texts], phi)


def _scores(s: Settings, dump: Any, made: Mapping[str, Any]) -> Any:
    """All judges' raw scores (N, K); NaN by constitutions that were not asked."""
    own, _ = _of_dump(dump, made)
    for n in constitutions(s):
        known = dump.has_column(f"judge/{n}")
        own[f"text/{n}"] = np.asarray(dump.columns[f"judge/{n}"], np.float64) if known else np.full(dump.n_rows, np.nan)
        own[f"not/{n}"] = -own[f"text/{n}"]
    return np.stack([own[name] for name in judges(s)], axis=1)


def rows(s: Settings, split: str) -> Rows:
    """Read once from the judged dump, then kept."""
    path = s.folder / "rows" / f"{split}.npz"
    if not path.exists():
        dump, made = dump_of(s, split, judged=True), directions(s)
        path.parent.mkdir(exist_ok=True)
        scores = _scores(s, dump, made) / made["scale"]
        ids = np.arange(dump.n_rows) // s.responses[split]
        found = {"scores": scores, "values": _of_dump(dump, made)[1], "logprob": dump.columns["logprob"]}
        np.savez(path, ids=ids, **{name: np.asarray(a, np.float32) for name, a in found.items()})
    with np.load(path) as held:
        return Rows(
            held["ids"], *(held[name].astype(np.float64) for name in ("scores", "values", "logprob")), judges(s)
        )


def text_scores(s: Settings, lm: LanguageModel, name: str, prompt: str, texts: Sequence[str]) -> Any:
    """Raw scores of new responses to one prompt by one text constitution."""
    held = {name: constitutions(s)[name]}
    given = [{"prompt": prompt, "response": t} for t in texts]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = cm.judge(lm, None, np.zeros((len(given), 1)), held, texts=given, token_budget=s.token_budget)
    return np.asarray(found.scores[:, 0], np.float64)


def packs(s: Settings, lm: LanguageModel, split: str) -> list[tuple[str, list[int], Pack]]:
    """Prompt, its tokens and its pack, prompt by prompt in the dump's order."""
    texts, n = list(dump_of(s, split).texts), s.responses[split]
    out = []
    for at in range(0, len(texts), n):
        asked = lm.prompt_tokens(texts[at]["prompt"])
        out.append((texts[at]["prompt"], asked, pack(asked, [t["tokens"] for t in texts[at : at + n]])))
    return out


def centred(x: Any, ids: Any) -> Any:
    """Less the mean of its prompt."""
    _, at = np.unique(ids, return_inverse=True)
    sums = np.zeros((at.max() + 1, *x.shape[1:]))
    np.add.at(sums, at, x)
    return x - (sums / np.bincount(at).reshape(-1, *[1] * (x.ndim - 1)))[at]
