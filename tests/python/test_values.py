"""Values from texts: a function of a text to a number is a value everywhere a column is."""

from __future__ import annotations

import numpy as np
import pytest

import clinometer as cm
from clinometer import values

TEXTS = ["Please wait. It might rain!", "no", "", "Why? Because 3.5 is not 4", "Done... (“Really?”)"]


def test_counts_are_those_of_a_hand():
    found = {name: [values.text_function(name)(text) for text in TEXTS] for name in values.names()}
    assert found["characters"] == [float(len(text)) for text in TEXTS]
    assert found["words"] == [5, 1, 0, 7, 2]
    assert found["sentences"] == [2, 1, 0, 2, 2]
    assert found["questions"] == [0, 0, 0, 1, 1]
    assert found["hedges"] == [1 / 5, 0, 0, 0, 0] and found["courtesy"] == [1 / 5, 0, 0, 0, 0]


def test_a_pattern_counts_its_matches_and_a_bad_one_is_refused():
    assert values.text_function(r"regex:(?i)\bno\b")("No, no: nothing") == 2
    with pytest.raises(ValueError, match="no regular expression"):
        values.text_function("regex:(")


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'words'"):
        values.text_function("wrods")
    with pytest.raises(TypeError, match="a name or a function"):
        values.text_function(3)
    with pytest.raises(ValueError, match="name is '-x'"):
        values.register("-x", len)


def test_columns_follow_rows_and_missing_texts_are_unlabelled():
    def vowels(text):
        return sum(c in "aeiou" for c in text)

    texts = [{"prompt": "?", "response": "a bee"}, None, "xyz"]
    dump = values.text_values(np.zeros((3, 2)), [vowels, "words"], texts=texts)
    np.testing.assert_array_equal(dump.column("vowels"), [3, np.nan, 0])
    np.testing.assert_array_equal(dump.column("words"), [2, np.nan, 1])
    with pytest.raises(ValueError, match="has no texts"):
        values.text_values(np.zeros((3, 2)), "words")
    with pytest.raises(ValueError, match="2 entries; 3 are wanted"):
        values.text_values(np.zeros((3, 2)), "words", texts=["a", "b"])
    with pytest.raises(TypeError, match=r"'bad' gives None for row 0"):
        values.text_values(np.zeros((1, 2)), {"bad": lambda text: None}, texts=["a"])


def test_a_classifier_is_asked_in_batches_for_its_label():
    calls = []

    class Fitted:
        classes_ = np.array(["mean", "kind"])

        def predict_proba(self, texts):
            calls.append(len(texts))
            p = np.array([len(text) / 200 for text in texts])
            return np.column_stack([1 - p, p])

    texts = ["x" * n for n in range(131)]
    dump = values.text_values(np.zeros((131, 1)), {"kind": values.probability(Fitted(), "kind")}, texts=texts)
    np.testing.assert_allclose(dump.column("kind"), np.arange(131) / 200)
    assert calls == [64, 64, 3]
    with pytest.raises(ValueError, match="label is 'rude'"):
        values.probability(Fitted(), "rude")


def test_a_pipeline_that_lists_labels_is_read_by_label():
    def pipeline(texts, **_):
        return [[{"label": "B", "score": 0.25}, {"label": "A", "score": 0.75}] for _ in texts]

    assert values.probability(pipeline, "A")("anything") == 0.75
    with pytest.raises(ValueError, match=r"the classifier has \['A', 'B'\]"):
        values.probability(pipeline, "C")("anything")


@pytest.fixture
def written(tmp_path):
    rng = np.random.default_rng(0)
    texts = [("q", " ".join(["word"] * int(n)) + " sorry" * int(s)) for n, s in rng.integers(1, 9, (240, 2))]
    phi = rng.normal(size=(240, 3)).astype(np.float32)
    judge = np.array([len(r) for _, r in texts], float)
    cm.write_dump(
        tmp_path / "d", phi, prompt_ids=np.repeat(np.arange(30), 8), texts=texts, columns={"judge/long": judge}
    )
    return str(tmp_path / "d")


def test_a_report_takes_values_of_texts_by_name_and_by_function(written):
    def letters(text):
        return sum(c.isalpha() for c in text)

    made = cm.report(written, constitutions=["judge/long"], values=["words", "-regex:sorry", letters], kl=[0.1])
    assert made.values[:3] == ("words", "-regex:sorry", "letters")
    dump = values.text_values(written, {"w": "words", "s": "regex:sorry", "l": letters})
    wanted = cm.tilt(dump, ["judge/long"], kl=[0.1], values=["w", "-s", "l"])
    np.testing.assert_allclose(made.tilt.gain[0, 0, :3], wanted.gain[0, 0])


def test_a_name_that_is_neither_column_nor_registered_lists_the_columns(written):
    with pytest.raises(ValueError, match=r"no column 'wordz'"):
        cm.report(written, constitutions=["judge/long"], values=["wordz"], kl=[0.1])
