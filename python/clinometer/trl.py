"""Into training with TRL: forecast beside realised gains, betas of trainers, preference columns (extra ``trl``).

Of TRL itself (1.16): without ref_model, DPO reads its reference anew from the folder or hub that the model names,
whatever was done to it in memory. Evaluation averages means of batches, the last of which may be small; ties are lost.
`ForecastCallback` compares with the policy that training began with, row by row.

The rest of the package does not import this.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise ImportError("clinometer.trl needs transformers: pip install 'clinometer[trl]'") from error

from .common.notices import listening
from .dump import open_dump
from .dump.directions import Scores
from .engine.passes import tilt
from .models import LanguageModel

__all__ = ["ForecastCallback", "Preferences", "policy_beta", "preference_columns", "preferences", "trainer_beta"]

Floats = NDArray[np.float64]

PARTED = 2.0  # errors beyond which a gain counts as one, and a mean ratio as not 1


def trainer_beta(
    beta: float, trainer: str, *, score_sd: float | None = None, label_scale: float = 1.0
) -> float:  # fmt: skip
    """The trainer's beta whose optimum is our tilt pi ~ pi0 exp(score / beta).

    - "dpo" (loss sigmoid): labels drawn with P(a > b) = sigmoid(label_scale (s_a - s_b)) make the optimum
      pi0 exp(label_scale s / beta_dpo), so beta_dpo = label_scale beta. Labels that always take the better response
      have no such scale, and no finite optimum.
    - "rloo": the reward is s - beta KL with the KL of whole sequences, so beta_rloo = beta (normalize_advantages off).
    - "grpo" (loss dapo or dr_grpo): advantages are divided by their sd in a group (scale_rewards "group", the
      default), so beta_grpo = beta / score_sd, with score_sd the sd (ddof 1) of the score among responses to a prompt;
      1.0 with scale_rewards "none". Its penalty, differentiated on its own samples, is KL(pi || pi0) token by token
      where use_bias_correction_kl is on (TRL 1.16's default), without what a token does to the KL of later ones. Off,
      it is KL(pi0 || pi), equal to second order alone: its optimum meets the tilt to first order in 1/beta. The default
      beta is 0: no pull back to pi0 at all. Loss "grpo" divides by each response's length, which no tilt does.

    Where training stops early, the beta reached is larger than the optimum's: compare at equal KL (`ForecastCallback`).

    Cost: none. Errors: ValueError for an unknown trainer, a number not above 0, "grpo" without score_sd.

    >>> from clinometer.trl import trainer_beta
    >>> trainer_beta(0.5, "dpo"), trainer_beta(0.5, "rloo"), trainer_beta(0.5, "grpo", score_sd=2.0)
    (0.5, 0.5, 0.25)
    """
    return _positive("beta", beta) * _factor(trainer, score_sd, label_scale)


def policy_beta(beta: float, trainer: str, *, score_sd: float | None = None, label_scale: float = 1.0) -> float:
    """Our beta of a trainer's: the inverse of `trainer_beta`.

    Its unit is score units a nat; `label_scale` and `score_sd` as there. Cost: none. Errors: ValueError as there.

    >>> from clinometer.trl import policy_beta
    >>> policy_beta(0.04, "grpo", score_sd=2.0)
    0.08
    """
    return _positive("beta", beta) / _factor(trainer, score_sd, label_scale)


def _factor(trainer: str, score_sd: float | None, label_scale: float) -> float:
    if trainer not in ("dpo", "rloo", "grpo"):
        raise ValueError(f"trainer is {trainer!r}; dpo, rloo or grpo is wanted")
    if score_sd is not None and trainer != "grpo":
        raise ValueError(f"score_sd is given, but {trainer} does not divide by it; leave it out")
    if label_scale != 1.0 and trainer != "dpo":
        raise ValueError(f"label_scale is given, but {trainer} has no labels; leave it out")
    if trainer == "dpo":
        return _positive("label_scale", label_scale)
    if trainer == "grpo" and score_sd is None:
        raise ValueError(
            "grpo divides advantages by their sd in a group: score_sd is wanted, the score's sd among responses to a "
            "prompt, or 1.0 where the trainer has scale_rewards='none'"
        )
    return 1.0 if score_sd is None else 1.0 / _positive("score_sd", score_sd)


def _positive(name: str, x: float) -> float:
    if not np.isfinite(x) or x <= 0:
        raise ValueError(f"{name} is {x!r}; a positive number is wanted")
    return float(x)


class ForecastCallback(TrainerCallback):  # type: ignore[misc]
    """At every evaluation, what a run has realised beside the forecast at the KL it has reached.

    The policy in training scores the dump's responses: r = log pi(y | x) - log pi0(y | x). The realised gains are those
    of the rows weighted by exp(r) inside prompts, with errors over prompts, the realised KL is that of these weights,
    and the forecast is the judge's tilt of the same rows at that KL. Use prompts that training does not see: a policy
    remembers responses it was trained on, and their weights are not those of its own samples.

    Parameters
    ----------
    dump : Dump or path of held-out prompts, sampled from the policy before training, with texts
    judge : the judge column that training follows (the proxy)
    values : columns, "-name" if smaller is better
    trainer : the trainer, whose `log` is used; None keeps the numbers in `.history` alone
    tokenizer : default the trainer's
    texts : as in `judge`, default the dump's own
    prefix : of the logged names
    token_budget : tokens of a batch, as in `capture`

    Attributes
    ----------
    history : list of dict, one an evaluation: step, kl (nats), and per score (the judge and the values) gain/NAME with
        gain_se/NAME and forecast/NAME; efficiency, the judge's gain over its forecast; angle, degrees between what
        training moved (r inside prompts) and the judge, 0 if all of it goes the judge's way; mean_ratio, the mean of
        exp(r), with mean_ratio_se: 1 for rows that pi0 sampled and training has not seen.
    log_ratio : (N,) of the last evaluation

    Warns, once each, where the judge's gain is above 0 and a value's below 0 by two errors each though its forecast is
    not, and where the mean ratio is not 1. Cost: a pass over the responses at the start of training and at every
    evaluation. Errors: ValueError for a name that the dump has not. Dropout is off meanwhile and no random number is
    drawn, so that training goes as it would without.

    Examples
    --------
    ::

        callback = ForecastCallback("runs/heldout", "judge/kind", ["helpful", "-harm"], trainer=trainer)
        trainer.add_callback(callback)
        trainer.train()
        callback.history[-1]["efficiency"]
    """

    def __init__(
        self, dump: Any, judge: str, values: Sequence[str], *, trainer: Any = None, tokenizer: Any = None,
        texts: Any = None, prefix: str = "forecast", token_budget: int = 8192,
    ) -> None:  # fmt: skip
        self.dump = open_dump(dump)
        given = self.dump.texts if texts is None else texts
        if given is None or len(given) != self.dump.n_rows:
            held = "no texts" if given is None else f"{len(given)} texts"
            raise ValueError(
                f"dump has {held}; a prompt and a response for each of its {self.dump.n_rows} rows are wanted"
            )
        self.texts: Any = given
        self.judge, self.values = judge, [values] if isinstance(values, str) else list(values)
        self._check_columns()
        self.trainer, self.tokenizer, self.prefix, self.token_budget = trainer, tokenizer, prefix, int(token_budget)
        self.history: list[dict[str, float]] = []
        self.log_ratio: Floats | None = None
        self._start: Floats | None = None
        self._said: set[str] = set()

    def _check_columns(self) -> None:
        """Refuse names that the dump has not, before training."""
        with listening():
            tilt(self.dump, [self.judge], [1.0], [self.judge, *self.values], pareto_k=False)

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """The policy as it is now is pi0."""
        self._start = self._log_probabilities(model, kwargs)

    def on_evaluate(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Measure, warn and log."""
        if self._start is None:
            return  # evaluated without training: there is no pi0 to compare with
        self.log_ratio = self._log_probabilities(model, kwargs) - self._start
        found = self.measured(self.log_ratio)
        self.history.append({"step": float(state.global_step), **found})
        self._warn(found)
        if self.trainer is not None:
            self.trainer.log({f"{self.prefix}/{name}": value for name, value in found.items() if np.isfinite(value)})

    def measured(self, log_ratio: Any) -> dict[str, float]:
        """The numbers of `history` for log pi - log pi0 of every row, (N,) in nats."""
        r = np.asarray(log_ratio, np.float64)
        ids = np.zeros(len(r), np.int64) if self.dump.prompt_ids is None else self.dump.prompt_ids
        names = [self.judge, *self.values]
        moved = bool(np.ptp(r) > 0)
        with listening():
            own = tilt(self.dump, Scores(r[:, None], prompt_ids=ids), [1.0], names, pareto_k=False)
            kl = float(own.kl[0, 0])
            forecast = tilt(self.dump, [self.judge], values=names, kl=kl, pareto_k=False) if kl > 0 else None
        out = {"kl": kl}
        for j, name in enumerate(names):
            out[f"gain/{name}"], out[f"gain_se/{name}"] = float(own.gain[0, 0, j]), float(own.gain_se[0, 0, j])
            out[f"forecast/{name}"] = 0.0 if forecast is None else float(forecast.gain[0, 0, j])
        expected = out[f"forecast/{self.judge}"]
        out["efficiency"] = out[f"gain/{self.judge}"] / expected if expected else float("nan")
        out["angle"] = _angle(r, self.dump.column(self.judge), ids) if moved else float("nan")
        return out | _mean_ratio(r, ids)

    def _log_probabilities(self, model: Any, given: Mapping[str, Any]) -> Floats:
        """log pi(y | x) of every row, (N,), by one teacher-forced pass."""
        tokenizer = self.tokenizer or given.get("processing_class") or given.get("tokenizer")
        if tokenizer is None:
            raise ValueError("tokenizer is None and the trainer has none; a tokenizer is wanted")
        lm = LanguageModel(model, tokenizer, "policy")
        chat = _chat(self.dump)
        prompts = [lm.prompt_tokens(entry.get("messages") or entry["prompt"], chat=chat) for entry in self.texts]
        responses = [self._response(lm, row) for row in range(len(prompts))]
        out = np.zeros(len(responses))
        for scored in lm.forward(prompts, responses, token_budget=self.token_budget):
            out[scored.index] = scored.logprobs.sum()
        return out

    def _response(self, lm: LanguageModel, row: int) -> list[int]:
        """The tokens that were sampled where the dump has them, else those of the text, with its end where it ended."""
        entry = self.texts[row]
        if "tokens" in entry:
            return list(entry["tokens"])
        ended = not self.dump.has_column("ended") or bool(self.dump.column("ended")[row])
        chat = True if entry.get("messages") else _chat(self.dump)
        return lm.response_tokens(entry["response"], end=ended, chat=chat)

    def _warn(self, found: Mapping[str, float]) -> None:
        proxy, proxy_se = found[f"gain/{self.judge}"], found[f"gain_se/{self.judge}"]
        for name in self.values:
            gain, se, forecast = (found[f"{what}/{name}"] for what in ("gain", "gain_se", "forecast"))
            if proxy > PARTED * proxy_se and gain < -PARTED * se and forecast >= 0:
                self._say(
                    name,
                    f"{self.judge} gains {proxy:+.3g} but {name} {gain:+.3g} +- {se:.2g} at KL {found['kl']:.3g}; "
                    f"{forecast:+.3g} was forecast: proxy and value part",
                )
        if abs(found["mean_ratio"] - 1) > PARTED * found["mean_ratio_se"] + 1e-3:
            self._say(
                "mean_ratio",
                f"the mean of exp(log ratio) is {found['mean_ratio']:.3f} +- {found['mean_ratio_se']:.3f} and not 1: "
                "the rows were trained on, or the policy before training did not sample them: gains are theirs alone",
            )

    def _say(self, what: str, message: str) -> None:
        if what not in self._said:
            self._said.add(what)
            warnings.warn(message, UserWarning, stacklevel=3)


def _chat(dump: Any) -> bool | None:
    """Whether text prompts of a dump stand for a message of the user; None: it does not say."""
    return {"chat": True, "plain": False}.get(dump.source.get("prompt_format"))


def _angle(r: Floats, judge: Any, ids: NDArray[Any]) -> float:
    """Angle in degrees between two scores inside prompts: the arc cosine of their correlation."""
    _, at = np.unique(ids, return_inverse=True)
    count = np.bincount(at)
    a, b = (x - (np.bincount(at, x) / count)[at] for x in (r, np.asarray(judge, np.float64)))
    scale = np.sqrt((a @ a) * (b @ b))
    return float(np.degrees(np.arccos(np.clip(a @ b / scale, -1, 1)))) if scale > 0 else float("nan")


def _mean_ratio(r: Floats, ids: NDArray[Any]) -> dict[str, float]:
    _, at = np.unique(ids, return_inverse=True)
    ratio = np.exp(r)
    mean = ratio.mean()
    sums = np.bincount(at, ratio - mean)
    units = len(sums)
    se = np.sqrt(units / (units - 1) * (sums @ sums)) / len(r) if units > 1 else np.inf
    return {"mean_ratio": float(mean), "mean_ratio_se": float(se)}


@dataclass(frozen=True)
class Preferences:
    """Rows and pairs of a preference dataset: N distinct responses, P pairs.

    Attributes
    ----------
    prompts : list of G distinct prompts, text or messages, by first appearance
    prompt_ids : (N,) int64, index into prompts; rows of a prompt are adjacent
    texts : list of N {"prompt", "response"}, with "messages" where the prompt is several
    responses : list of G lists, the responses to each prompt, for ``capture(..., responses=)``
    pairs : (P, 2) row numbers, chosen first; `prob` is 1 for all of them
    columns : mapping of name to (N,) float64: "score", "ref_logps" where the dataset has them; NaN: not this row
    """

    prompts: list[Any]
    prompt_ids: NDArray[np.int64]
    texts: list[dict[str, Any]]
    pairs: NDArray[np.int64]
    columns: dict[str, Floats]

    @property
    def responses(self) -> list[list[str]]:
        """The responses to each prompt, G lists, for ``capture(..., responses=)``."""
        out: list[list[str]] = [[] for _ in self.prompts]
        for prompt, text in zip(self.prompt_ids.tolist(), self.texts, strict=True):
            out[prompt].append(text["response"])
        return out


_ENDS = ("chosen", "rejected")


def preferences(dataset: Any) -> Preferences:
    """Rows and pairs from TRL's columns prompt, chosen and rejected, plain or conversational.

    Parameters
    ----------
    dataset : a Dataset of Hugging Face, a list of mappings, or a mapping of columns
        score_chosen, score_rejected, ref_chosen_logps and ref_rejected_logps are taken along. Where chosen and rejected
        are whole conversations, all but their last messages is the prompt, which must be the same.

    Returns
    -------
    Preferences, for ``capture(held.prompts, responses=held.responses)``, whose rows come in the same order, and for
    ``write_dump(texts=, pairs=, columns=)``

    Cost: one look at each entry, O(P) memory. Errors: ValueError for an entry without two responses to one prompt.

    >>> from clinometer.trl import preferences
    >>> held = preferences({"prompt": ["q", "q"], "chosen": ["a", "c"], "rejected": ["b", "a"]})
    >>> held.pairs.tolist(), [t["response"] for t in held.texts]
    ([[0, 1], [2, 0]], ['a', 'b', 'c'])
    """
    entries = _entries(dataset)
    prompts: dict[str, Any] = {}
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    ends = []
    for number, entry in enumerate(entries):
        prompt, said = _split(entry, number)
        key = repr(prompt)
        prompts.setdefault(key, prompt)
        pair = []
        for end, response in zip(_ENDS, said, strict=True):
            at = key, response
            row = rows.setdefault(at, {})
            row |= {
                n: entry[c] for n, c in (("score", f"score_{end}"), ("ref_logps", f"ref_{end}_logps")) if c in entry
            }
            pair.append(at)
        ends.append(pair)
    of_prompt = {key: i for i, key in enumerate(prompts)}
    order = sorted(rows, key=lambda at: of_prompt[at[0]])  # stable: first appearance inside a prompt
    place = {at: i for i, at in enumerate(order)}
    columns = {
        name: np.array([np.nan if rows[at].get(name) is None else rows[at][name] for at in order], np.float64)
        for name in ("score", "ref_logps") if any(name in row for row in rows.values())
    }  # fmt: skip
    return Preferences(
        list(prompts.values()), np.array([of_prompt[at[0]] for at in order], np.int64),
        [_asked(prompts[at[0]]) | {"response": at[1]} for at in order],
        np.array([[place[at] for at in pair] for pair in ends], np.int64).reshape(-1, 2), columns,
    )  # fmt: skip


def _entries(dataset: Any) -> list[Mapping[str, Any]]:
    if isinstance(dataset, Mapping):
        lengths = {len(column) for column in dataset.values()}
        if len(lengths) > 1:
            raise ValueError(f"dataset has columns of {sorted(lengths)} entries; equal ones are wanted")
        return [dict(zip(dataset, row, strict=True)) for row in zip(*dataset.values(), strict=True)]
    return list(dataset)


def _split(entry: Mapping[str, Any], number: int) -> tuple[Any, list[str]]:
    """The prompt and the two responses. Whole conversations begin with their prompt, whatever stands beside them."""
    missing = [c for c in _ENDS if entry.get(c) is None]
    ends: list[Any] = [entry.get(c) for c in _ENDS]
    whole = all(_messages(end) and len(end) > 1 for end in ends)
    prompt = ends[0][:-1] if whole else entry.get("prompt")
    if missing or prompt is None:
        what = ", ".join([*["prompt"][: prompt is None], *missing])
        raise ValueError(f"dataset[{number}] has no {what}; prompt, chosen and rejected are wanted")
    if whole and ends[1][:-1] != prompt:
        raise ValueError(f"dataset[{number}] has chosen and rejected of different prompts; one prompt is wanted")
    return prompt, [_response(end[-1:] if whole else end, number, c) for end, c in zip(ends, _ENDS, strict=True)]


def _messages(given: Any) -> bool:
    return isinstance(given, Sequence) and bool(given) and all(isinstance(m, Mapping) for m in given)


def _response(given: Any, number: int, end: str) -> str:
    if isinstance(given, str):
        return given
    if _messages(given) and len(given) == 1 and given[0].get("role", "assistant") == "assistant":
        return str(given[0]["content"])
    raise ValueError(
        f"dataset[{number}][{end!r}] is {given!r:.80}; a text, a message of the assistant or a conversation that ends "
        "in one is wanted"
    )


def _asked(prompt: Any) -> dict[str, Any]:
    """A prompt as texts of a dump hold it."""
    return {"prompt": prompt} if isinstance(prompt, str) else {"prompt": prompt[-1]["content"], "messages": prompt}


def preference_columns(
    dump: Any, judge: str, *, logprobs: str | None = "logprob", random_state: int | None = None
) -> dict[str, list[Any]]:  # fmt: skip
    """TRL's columns from a judged dump: a row a pair, for ``Dataset.from_dict`` and its trainers.

    Parameters
    ----------
    dump : Dump or path with texts and pairs
    judge : a judge column; the dump's prob of that judge decides, else its scores
    logprobs : column of log pi0 for ref_chosen_logps and ref_rejected_logps; None, or no such column: left out. The
        trainer counts what its chat template puts behind the end token too. TRL 1.16 ignores these columns, and with
        precompute_ref_log_probs refuses a dataset that has them: pass None there
    random_state : None: the better response is chosen. A seed: chosen is drawn with the pair's probability, whose
        optimum under DPO is the judge's tilt (`trainer_beta`)

    Returns
    -------
    dict of lists: prompt, chosen, rejected, score_chosen, score_rejected, and the ref_*_logps. Prompts are messages
    where they were, and where the texts went through a chat template (as `capture` does and says in the dump's source):
    trainers put it on messages alone. Pairs of probability 1/2 are left out unless they are drawn.

    Cost: O(P). Errors: ValueError for a dump without texts or pairs, or without that judge.

    ::

        Dataset.from_dict(preference_columns("judged", "judge/kind"))
    """
    opened = open_dump(dump)
    if opened.texts is None or not opened.pairs:
        raise ValueError(
            f"{opened.name} has no {'texts' if opened.texts is None else 'pairs'}; a judged dump is wanted"
        )
    scores = np.asarray(opened.column(judge), np.float64)
    ends = np.stack([opened.pairs["chosen"], opened.pairs["rejected"]], axis=1)
    prob = _prob(opened, judge, scores, ends)
    if random_state is None:
        flip, kept = prob < 0.5, prob != 0.5
    else:
        flip = np.random.default_rng(random_state).random(len(prob)) >= prob
        kept = ~np.isnan(prob)
    ends = np.where(flip[:, None], ends[:, ::-1], ends)[kept]
    said = {row: _conversation(opened.texts[row], _chat(opened)) for row in np.unique(ends).tolist()}
    out: dict[str, list[Any]] = {"prompt": [said[a][0] for a in ends[:, 0].tolist()]}
    for k, end in enumerate(_ENDS):
        out[end] = [said[row][1] for row in ends[:, k].tolist()]
    for k, end in enumerate(_ENDS):
        out[f"score_{end}"] = scores[ends[:, k]].tolist()
        if logprobs is not None and opened.has_column(logprobs):
            out[f"ref_{end}_logps"] = np.asarray(opened.column(logprobs), np.float64)[ends[:, k]].tolist()
    return out


def _prob(dump: Any, judge: str, scores: Floats, ends: NDArray[np.int64]) -> Floats:
    """Probability that the first row of each pair is the better, from the pairs' own where the judge made them."""
    names = list(dump.source.get("judge", {}).get("constitutions", {}))
    held = dump.pairs.get("prob")
    name = dump.resolve_column(judge).removeprefix("judge/")
    if held is not None and name in names and held.ndim == 2 and held.shape[1] == len(names):
        return np.asarray(held[:, names.index(name)], np.float64)
    difference = scores[ends[:, 0]] - scores[ends[:, 1]]
    return np.asarray(1 / (1 + np.exp(-np.clip(difference, -700, 700))))


def _conversation(entry: Mapping[str, Any], chat: bool | None) -> tuple[Any, Any]:
    """Prompt and response of a row, both as text or both as messages."""
    prompt, response = entry.get("messages") or entry["prompt"], entry["response"]
    if isinstance(prompt, str) and not chat:
        return prompt, response
    asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return asked, [{"role": "assistant", "content": response}]
