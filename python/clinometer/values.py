"""Values from texts: a function of a response to a number is a value, and a registry has some by name."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.common.visible import did_you_mean, quote
from clinometer.dump import Dump, open_dump

__all__ = [
    "TextFunction", "found_in_texts", "names", "probability", "register", "text_function", "text_values", "tokens",
]  # fmt: skip

TextFunction = Callable[[str], float]

_WORD = re.compile(r"\w+(?:['\u2019\-]\w+)*")
_SENTENCE_END = re.compile(r"[.!?\u2026\u3002\uff01\uff1f]+[\"'\u201d\u2019)\]]*(?=\s|$)")
_HEDGES = (
    "about almost apparently approximately around could generally guess likely may maybe might mostly often perhaps "
    "possible possibly probable probably roughly seem seems sometimes somewhat suggest suggests suppose typically "
    "unclear unlikely unsure usually"
)
_COURTESY = (
    "apologies apologise apologize appreciate glad grateful kind kindly pardon please pleased pleasure regards "
    "respectfully sincerely sorry thank thanks welcome"
)
_BATCH = 64
_PATTERN = "regex:"


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


def _share(words: str) -> TextFunction:
    lexicon = frozenset(words.split())

    def share(text: str) -> float:
        found = _words(text.lower())
        return sum(word in lexicon for word in found) / len(found) if found else 0.0

    return share


def _sentences(text: str) -> float:
    """Runs of final marks, and what stands unfinished behind the last of them."""
    ends = [m.end() for m in _SENTENCE_END.finditer(text)]
    return float(len(ends) + bool(_WORD.search(text, ends[-1] if ends else 0)))


_REGISTRY: dict[str, TextFunction] = {
    "characters": lambda text: float(len(text)),
    "words": lambda text: float(len(_words(text))),
    "sentences": _sentences,
    "questions": lambda text: float(len(re.findall(r"[?\uff1f]+", text))),
    "hedges": _share(_HEDGES),
    "courtesy": _share(_COURTESY),
}


def names() -> tuple[str, ...]:
    """Names of the registry, beside ``regex:PATTERN``.

    Cost: none.

    >>> from clinometer import values
    >>> values.names()[:3]
    ('characters', 'words', 'sentences')
    """
    return tuple(_REGISTRY)


def register(name: str, function: TextFunction) -> TextFunction:
    """Give a function of a text a name, which `text_values`, `cm.report` and ``--value`` then take.

    Errors: ValueError for a name that is empty or begins with '-' or 'regex:', TypeError for no function. Cost: none.

    >>> from clinometer import values
    >>> _ = values.register("digits", lambda text: sum(c.isdigit() for c in text))
    >>> values.text_function("digits")("7 of 10")
    3
    """
    if not isinstance(name, str) or not name or name.startswith(("-", _PATTERN)):
        raise ValueError(f"name is {name!r}; a string is wanted that does not begin with '-' or '{_PATTERN}'")
    if not callable(function):
        raise TypeError(f"function is a {type(function).__name__}; a function of a text is wanted")
    _REGISTRY[name] = function
    return function


def text_function(value: str | TextFunction) -> TextFunction:
    """The function behind a name, ``regex:PATTERN`` (how often it matches), or the value itself if it is a function.

    Errors: ValueError for another name, TypeError for what is neither.

    By name: "characters", "words", "sentences", "questions" (runs of question marks), and the shares of a text's
    words that hedge ("hedges": perhaps, likely, ...) or are words of courtesy ("courtesy": please, sorry, ...).

    Cost of each function: O(length of the text).

    >>> from clinometer import values
    >>> [values.text_function(v)("Perhaps. Or not?") for v in ("words", "sentences", "hedges", "regex:o")]
    [3.0, 2.0, 0.3333333333333333, 1.0]
    """
    if callable(value):
        return value
    if not isinstance(value, str):
        raise TypeError(f"a value is a {type(value).__name__}; a name or a function of a text is wanted")
    if value.startswith(_PATTERN):
        try:
            pattern = re.compile(value[len(_PATTERN) :])
        except re.error as error:
            raise ValueError(f"{quote(value)} is no regular expression: {error}") from None
        return lambda text: float(sum(1 for _ in pattern.finditer(text)))
    if value in _REGISTRY:
        return _REGISTRY[value]
    known = f"there are {', '.join(_REGISTRY)} and {_PATTERN}PATTERN"
    raise ValueError(f"there is no value {quote(value)} of texts{did_you_mean(value, _REGISTRY)}; {known}")


def found_in_texts(dump: Dump, values: Any) -> tuple[Dump, Any]:
    """The dump with columns for those of the listed values that it has not and texts give, and all values by name.

    A minus before a name stays with it; what is no list of names and functions comes back as it is.

    Cost: a call of each function for each response. Errors: ValueError and TypeError as `text_values`.

    >>> import numpy as np
    >>> from clinometer import open_dump, values
    >>> dump, called = values.found_in_texts(open_dump(np.zeros((1, 1))), ["judge", "helpful"])
    >>> called  # nothing here is a value of texts
    ['judge', 'helpful']
    """
    listed = [values] if isinstance(values, str) or callable(values) else values
    if not isinstance(listed, (list, tuple)) or not all(isinstance(v, str) or callable(v) for v in listed):
        return dump, values
    wanted: dict[str, TextFunction] = {}
    called = []
    for value in listed:
        name = value if isinstance(value, str) else getattr(value, "__name__", type(value).__name__)
        plain = name if dump.has_column(name) else name.removeprefix("-")
        known = callable(value) or plain in _REGISTRY or plain.startswith(_PATTERN)
        if known and not (isinstance(value, str) and dump.has_column(plain)):
            wanted[plain] = text_function(plain if isinstance(value, str) else value)
        called.append(name)
    return (text_values(dump, wanted) if wanted else dump), called


def text_values(dump: Any, values: Any, *, texts: Any = None) -> Dump:
    """The dump with a column (N,) float64 for each value of its responses' texts.

    Parameters
    ----------
    dump : Dump or path, with texts; or anything `open_dump` takes, beside `texts`
    values : names (`text_function`), functions, or a mapping of name to either
        A function goes by its __name__. One with an attribute ``batch`` (list of texts -> numbers) is called with
        64 texts at a time.
    texts : sequence (N,) of strings or of {"response": ..}, default the dump's own

    Returns
    -------
    Dump
        In memory: rows are not copied, `write_dump` keeps the columns. A text that is None, and a number that is NaN,
        is unlabelled. Cost: a call a response.

    Errors: ValueError for an unknown name, a dump without texts, or texts of another length; TypeError for a
    function that gives something else than numbers, with the row.

    >>> import numpy as np
    >>> from clinometer import values
    >>> dump = values.text_values(np.zeros((2, 1)), ["words", "regex:no"], texts=["no, no", "well"])
    >>> dump.column("words").tolist(), dump.column("regex:no").tolist()
    ([2.0, 1.0], [2.0, 0.0])
    """
    opened = open_dump(dump)
    held = opened.texts if texts is None else texts
    if held is None:
        raise ValueError(f"{opened.name} has no texts; texts= takes one for each of its {opened.n_rows} rows")
    if len(held) != opened.n_rows:
        raise ValueError(f"texts has {len(held)} entries; {opened.n_rows} are wanted, one per row of the dump")
    wanted = _named(values)
    responses = [_response(entry, row) for row, entry in enumerate(held)]
    columns = {name: _column(name, function, responses) for name, function in wanted.items()}
    return opened.with_options(columns=opened.columns.merged(columns))


def _named(values: Any) -> dict[str, TextFunction]:
    if isinstance(values, Mapping):
        return {str(name): text_function(value) for name, value in values.items()}
    listed = [values] if isinstance(values, str) or callable(values) else list(values)
    out = {v if isinstance(v, str) else getattr(v, "__name__", type(v).__name__): text_function(v) for v in listed}
    if len(out) < len(listed) or not out:
        raise ValueError("values: wanted one or more, each under a name of its own; a mapping of name to function does")
    return out


def _response(entry: Any, row: int) -> str | None:
    text = entry.get("response") if isinstance(entry, Mapping) else entry
    if text is not None and not isinstance(text, str):
        raise TypeError(f"texts[{row}] is a {type(text).__name__}; a string or a mapping with 'response' is wanted")
    return text


def _column(name: str, function: TextFunction, responses: Sequence[str | None]) -> NDArray[np.float64]:
    out = np.full(len(responses), np.nan)
    rows = [row for row, text in enumerate(responses) if text is not None]
    for part in _parts(rows):
        texts = [responses[row] or "" for row in part]
        found = function.batch(texts) if hasattr(function, "batch") else [function(text) for text in texts]
        if len(found) != len(part):
            raise ValueError(f"value {quote(name)} gives {len(found)} numbers for {len(part)} texts")
        for row, number in zip(part, found, strict=True):
            try:
                out[row] = float(number)
            except (TypeError, ValueError):
                raise TypeError(f"value {quote(name)} gives {number!r} for row {row}; a number is wanted") from None
            if math.isinf(out[row]):
                raise ValueError(f"value {quote(name)} is infinite at row {row}")
    return out


def _parts(rows: list[int]) -> Iterator[list[int]]:
    return (rows[at : at + _BATCH] for at in range(0, len(rows), _BATCH))


def tokens(tokenizer: Any) -> TextFunction:
    """Length in tokens of a tokenizer of Hugging Face, without special tokens.

    Cost: a call of the tokenizer for each text. Errors: the tokenizer's; TypeError for what cannot be called.

    >>> from clinometer import values
    >>> values.tokens(lambda text, **_: {"input_ids": text.split()})("one two")
    2.0
    """

    def n_tokens(text: str) -> float:
        return float(len(tokenizer(text, add_special_tokens=False)["input_ids"]))

    return n_tokens


class _Probability:
    """Probability of a label; `batch` asks the classifier for many texts at once."""

    def __init__(self, label: Any, ask: Callable[[list[str]], Iterable[float]]) -> None:
        self.__name__ = str(label)
        self._ask = ask

    def batch(self, texts: list[str]) -> list[float]:
        return [float(p) for p in self._ask(texts)]

    def __call__(self, text: str) -> float:
        return self.batch([text])[0]


def probability(classifier: Any, label: Any) -> TextFunction:
    """Probability that a classifier gives a label.

    Parameters
    ----------
    classifier : a fitted estimator of scikit-learn that takes texts (extra ``sklearn``); a text-classification pipeline
        of transformers, or the name or folder of such a model (extra ``torch``)
    label : one of the classifier's labels

    Errors: ValueError for a label that the classifier does not have, when it is first asked.

    Cost: one call of the classifier for 64 texts.

    >>> from sklearn.feature_extraction.text import CountVectorizer
    >>> from sklearn.naive_bayes import MultinomialNB
    >>> from sklearn.pipeline import make_pipeline
    >>> from clinometer import values
    >>> seen = make_pipeline(CountVectorizer(), MultinomialNB()).fit(["good", "bad"], ["up", "down"])
    >>> round(values.probability(seen, "up")("good"), 3)
    0.667
    """
    if hasattr(classifier, "predict_proba"):
        labels = np.asarray(classifier.classes_).tolist()
        if label not in labels:
            raise ValueError(f"label is {label!r}; the classifier has {labels}")
        return _Probability(label, lambda texts: classifier.predict_proba(texts)[:, labels.index(label)])
    if isinstance(classifier, str):
        classifier = _pipeline(classifier)

    def ask(texts: list[str]) -> list[float]:
        out = []
        for found in classifier(texts, top_k=None, truncation=True):
            by_label = {entry["label"]: entry["score"] for entry in found}
            if label not in by_label:
                raise ValueError(f"label is {label!r}; the classifier has {sorted(by_label)}")
            out.append(by_label[label])
        return out

    return _Probability(label, ask)


def _pipeline(name: str) -> Any:
    try:
        from transformers import pipeline
    except ImportError as error:
        raise ImportError("a classifier by name needs transformers: pip install 'clinometer[torch]'") from error
    return pipeline("text-classification", model=name)
