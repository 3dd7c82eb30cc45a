"""Arrays of every kind mean the same in every argument, missing is one thing, and order is proved or refused."""

from __future__ import annotations

import importlib.util
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from carriers import CARRIERS, available, made
from hypothesis import given, settings
from hypothesis import strategies as st

import clinometer as cm
from clinometer import lp, theory
from clinometer.sources.found import Lazy

G, M, D = 6, 4, 3
N = G * M
RNG = np.random.default_rng(0)
HALF = RNG.normal(size=(N, 6)).astype(np.float32).view(np.uint32) & 0xFFFF0000  # numbers that bfloat16 holds
NUMBERS = HALF.view(np.float32).copy()
PHI, Y, LOGS = NUMBERS[:, :D].copy(), NUMBERS[:, 3].copy(), NUMBERS[:, 4].copy()
U = NUMBERS[:2, :D].copy()
PROMPTS = np.array([40, 7, 19, 3, 88, 21])  # not sorted
IDS = np.repeat(PROMPTS, M)
TEXT = np.char.add("p", IDS.astype(str))
PAIRS = np.stack([M * np.arange(G), M * np.arange(G) + 1], axis=1)
PROB = np.array([0.25, 0.75, 0.5, 0.125, 1.0, 0.375], np.float32)
WEIGHTS = np.array([1.0, 2.0, 0.5, 1.5, 3.0, 0.25], np.float32)
CLUSTERS = np.array([0, 1, 1, 0, 2, 2])
COUNTS = (1.0 + np.arange(N) % 3).astype(np.float32)
DUMP = cm.open_dump(PHI, prompt_ids=IDS, columns={"y": Y})


def fold(phi: Any = PHI, ids: Any = IDS, y: Any = Y) -> Any:
    """Gains by a Fold that is fed everything at once."""
    one = cm.Fold(cm.stat.Tilt(U, "y", betas=[1.0]), dim=D)
    one.absorb(phi, ids, y=y)
    return one.finish()[0].gain


def tilt(**given_: Any) -> Any:
    return cm.tilt(**({"dump": DUMP, "directions": U, "betas": [1.0], "values": Y} | given_)).gain_se


def fitted(**given_: Any) -> Any:
    return cm.fit_preference_direction(
        **({"dump": DUMP, "pairs": PAIRS, "prob": PROB, "folds": 2, "alpha": 0.5} | given_)
    ).vectors


def reported(**given_: Any) -> Any:
    return cm.report(DUMP, constitutions=U, values=["y"], kl=[0.05], sections=(), **given_)


def shown() -> Any:
    return cm.examples(DUMP, "y", n=2, texts=list(TEXT))


def written(phi: Any, **given_: Any) -> Any:
    """A dump that was written and opened again."""
    with tempfile.TemporaryDirectory() as folder:
        cm.write_dump(f"{folder}/d", phi, **given_)
        dump = cm.open_dump(f"{folder}/d")
        held = {n: np.array(c) for n, c in dump.columns.items()}
        return dump.with_options(columns=Lazy({n: (lambda n=n: held[n]) for n in held}))


def of_groups(groups: Any) -> Any:
    """Gains of subgroups, at most one of whose sizes is that of another."""
    found = reported(groups=groups).groups[0]
    assert np.isfinite(found.gain).any()
    return np.append(found.gain, found.n_prompts)


# argument: (the array, what takes it)
ARGUMENTS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "rows": (PHI, lambda x: tilt(dump=x, prompt_ids=IDS)),
    "directions": (U, lambda x: tilt(directions=x)),
    "values": (Y, lambda x: tilt(values=x)),
    "`Scores`": (Y, lambda x: tilt(directions=cm.Scores(x))),
    "labels of fits": (Y, lambda x: cm.fit_value_direction(DUMP, x, folds=2).vectors),
    "logprobs": (LOGS, lambda x: cm.tilt(DUMP, U, [1.0], Y, base="logprob", logprobs=x).gain),
    "counts": (COUNTS, lambda x: tilt(base="counts", counts=x)),
    "prompt ids": (IDS, lambda x: tilt(dump=PHI, prompt_ids=x)),
    "text ids": (TEXT, lambda x: tilt(dump=PHI, prompt_ids=x)),
    "prompt weights": (WEIGHTS, lambda x: tilt(prompt_weights=x)),
    "clusters": (CLUSTERS, lambda x: tilt(clusters=x)),
    "groups": (CLUSTERS, lambda x: of_groups({"g": x})),
    "gold": (LOGS, lambda x: reported(gold=x).gain),
    "pairs": (PAIRS, lambda x: fitted(pairs=x)),
    "prob": (PROB, lambda x: fitted(prob=x)),
    "columns": (Y, lambda x: tilt(dump=cm.open_dump(PHI, prompt_ids=IDS, columns={"v": x}), values="v")),
    "`Fold` rows": (PHI, lambda x: fold(phi=x)),
    "`Fold` ids": (IDS, lambda x: fold(ids=x)),
    "`Fold` columns": (Y, lambda x: fold(y=x)),
    "betas": (np.array([0.5, 1.0, 2.0], np.float32), lambda x: cm.tilt(DUMP, U, x, Y).gain),
    "kl": (np.array([0.0625, 0.125, 0.25], np.float32), lambda x: cm.tilt(DUMP, U, values=Y, kl=x).gain),
    "proposal": (LOGS, lambda x: cm.tilt(DUMP, U, [1.0], Y, base="reweight", logprobs=-NUMBERS[:, 5] ** 2,
                                         proposal_logprobs=x).gain),
    "adjust": (LOGS, lambda x: tilt(adjust=x)),
    "texts": (TEXT, lambda x: np.append(cm.examples(DUMP, "y", n=2, texts=x).responses == TEXT[shown().row], True)),
    "`u_gen`": (U[0].copy(), lambda x: cm.report(DUMP, constitutions=U, values=["y"], kl=[0.05], sections=(), u_gen=x)
                .generation_correlation),
    "written rows": (PHI, lambda x: written(x).read(0, N)),
    "written ids": (IDS, lambda x: written(PHI, prompt_ids=x).prompt_ids),
    "written columns": (Y, lambda x: written(PHI, columns={"y": x}).columns["y"]),
    "`lp.prompt`": (Y, lambda x: lp.prompt(x, prompt_ids=IDS).margin),
    "theory": (U[:, :2].copy(), lambda x: theory.pareto_fraction(np.eye(2)) + 0 * lp.pareto_front(x).sum()
               + theory.score_correlation(x, U[:, :2])),
}  # fmt: skip
KEYED = {"prompt weights", "clusters", "groups"}  # where a mapping and a frame go by prompt id
ALL = [(a, c) for a in ARGUMENTS for c in CARRIERS]


@cache
def outcome(argument: str, carrier: str) -> str:
    """Yes, no (refused by a typed error), - (the carrier does not hold such an array), or what is wrong."""
    array, call = ARGUMENTS[argument]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            given_ = made(carrier, array)
    except (TypeError, ValueError, NotImplementedError, OverflowError) as error:
        return "-" if isinstance(error, TypeError) else f"{type(error).__name__}: {error}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = call(array)
        try:
            got = call(given_)
        except (TypeError, ValueError) as error:
            return "no" if len(str(error)) > 20 else f"poor message: {error}"
    return "yes" if np.allclose(got, want, rtol=1e-6, atol=1e-9, equal_nan=True) else "another number"


@pytest.mark.parametrize(("argument", "carrier"), ALL)
def test_every_carrier_means_the_same_in_every_argument(argument: str, carrier: str) -> None:
    if carrier not in set(available()):
        pytest.skip("its library is not installed")
    assert outcome(argument, carrier) in ("yes", "no", "-")


def table(carriers: list[str]) -> list[str]:
    """Lines of the table in docs/sources.md, one a carrier."""
    lines = ["| carrier | " + " | ".join(ARGUMENTS) + " |", "| --- " * (len(ARGUMENTS) + 1) + "|"]
    return lines + [f"| {c} | " + " | ".join(outcome(a, c) for a in ARGUMENTS) + " |" for c in carriers]


def test_the_table_in_the_documentation_is_what_happens() -> None:
    here = list(available())
    made_lines = table(here)
    print("\n".join(made_lines))
    held = (Path(__file__).parents[2] / "docs" / "sources.md").read_text().splitlines()
    missing = [line for line in made_lines if line not in held]
    assert not missing, "docs/sources.md lacks:\n" + "\n".join(made_lines)
    assert sum(line.startswith(tuple(f"| {c} |" for c in CARRIERS)) for line in held) == len(CARRIERS)


# missing is missing


def gaps(array: Any, row: int) -> dict[str, Any]:
    """A column with a missing entry, as each library says it."""
    whole = array.dtype.kind
    objects = array.astype(object)
    objects[row] = None
    nan = objects.copy()
    nan[row] = float("nan")
    mask = np.arange(len(array)) == row
    out: dict[str, Any] = {
        "None": objects,
        "NaN": nan,
        "list": objects.tolist(),
        "masked": np.ma.array(array, mask=mask),
    }
    if whole == "U":
        held = array.astype(np.dtypes.StringDType(na_object=None))
        held[row] = None
        out["StringDType"] = held
    for name, make in {
        "pandas": lambda m: m.Series(objects.tolist()),
        "pandas NA": lambda m: m.Series(objects.tolist()).convert_dtypes(),
        "pandas NaT": lambda m: np.where(mask, m.NaT, array.astype(object)),
        "polars": lambda m: m.Series(objects.tolist(), strict=False),
        "pyarrow": lambda m: m.array(objects.tolist()),
        "pyarrow dictionary": lambda m: m.array(objects.tolist()).dictionary_encode(),
    }.items():
        if importlib.util.find_spec(name.split()[0]) is not None:
            out[name] = make(importlib.import_module(name.split()[0]))
    return out


@settings(max_examples=6, deadline=None, derandomize=True)
@given(st.integers(0, N - 1), st.sampled_from(["ids", "text"]))
def test_a_missing_id_is_an_error_that_names_its_row(row: int, kind: str) -> None:
    ids = IDS if kind == "ids" else TEXT
    for carrier, given_ in gaps(ids, row).items():
        for what, call in {
            "tilt": lambda x: tilt(dump=PHI, prompt_ids=x),
            "moments": lambda x: cm.moments(PHI, prompt_ids=x),
            "open_dump": lambda x: cm.open_dump(PHI, prompt_ids=x),
            "column": lambda x: cm.open_dump(PHI, columns={"prompt_id": x}),
            "Scores": lambda x: cm.Scores(Y, prompt_ids=x),
            "Fold": lambda x: fold(ids=x),
            "game": lambda x: lp.prompt(NUMBERS[:, :2], prompt_ids=x),
            "fit": lambda x: cm.fit_value_direction(PHI, Y, folds=2, prompt_ids=x),
        }.items():
            with pytest.raises((ValueError, TypeError)) as error:
                call(given_)
            assert f"row {row}" in str(error.value), (carrier, what, str(error.value))


@settings(max_examples=6, deadline=None, derandomize=True)
@given(st.integers(0, N - 1))
def test_a_missing_number_is_nan_in_every_carrier(row: int) -> None:
    y = Y.astype(float)
    holed = np.where(np.arange(N) == row, np.nan, y)
    want = tilt(values=holed)
    fit = cm.fit_value_direction(DUMP, holed, folds=2).vectors
    for carrier, given_ in gaps(y, row).items():
        assert np.allclose(tilt(values=given_), want), carrier
        assert cm.tilt(DUMP, U, [1.0], given_).n_unlabelled.tolist() == [1], carrier
        assert np.allclose(fold(y=given_), fold(y=holed)), carrier
        assert np.allclose(cm.fit_value_direction(DUMP, given_, folds=2).vectors, fit), carrier
        for call in (
            lambda x: tilt(directions=cm.Scores(x)),
            lambda x: tilt(base="counts", counts=x),
            lambda x: tilt(base="logprob", logprobs=x),
        ):
            with pytest.raises(cm.DumpError, match=f"row {row}"):
                call(given_)


@settings(max_examples=4, deadline=None, derandomize=True)
@given(st.integers(0, G - 1))
def test_a_prompt_without_a_weight_or_cluster_is_named(at: int) -> None:
    for name, array in (
        ("prompt_weights", WEIGHTS.astype(float)), ("clusters", CLUSTERS), ("clusters", TEXT[::M]),
        ("groups", CLUSTERS),
    ):  # fmt: skip
        for given_ in gaps(array, at).values():
            with pytest.raises((ValueError, TypeError), match=str(PROMPTS[at])):
                by_prompt(name, given_)
        by_id = {int(p): x for p, x in zip(PROMPTS, array.tolist(), strict=True)}
        with pytest.raises(ValueError, match=str(PROMPTS[at])):
            by_prompt(name, {p: x for p, x in by_id.items() if p != PROMPTS[at]})
        np.testing.assert_allclose(by_prompt(name, by_id), by_prompt(name, array), err_msg=name)


def by_prompt(name: str, given_: Any) -> Any:
    """What comes of weights, clusters or subgroups of the prompts."""
    return of_groups({"g": given_}) if name == "groups" else tilt(**{name: given_})


@pytest.mark.parametrize("take", [lambda x: tilt(dump=PHI, prompt_ids=x), lambda x: fold(ids=x)])
def test_ids_that_floats_no_longer_tell_apart_are_refused(take: Callable[[Any], Any]) -> None:
    hashes = 2**60 + 16 * (np.arange(N) // M)
    assert np.isfinite(take(hashes)).all()
    with pytest.raises(ValueError, match="row 0"):
        take(hashes.astype(float))


def test_text_and_numbers_do_not_mix() -> None:
    with pytest.raises(TypeError, match="row 1"):
        cm.moments(PHI[:3], prompt_ids=[1, "1", 1])
    one = cm.Fold(cm.stat.Moments(), dim=D)
    one.absorb(PHI[:4], IDS[:4])
    with pytest.raises(TypeError, match="text and numbers"):
        one.absorb(PHI[4:8], TEXT[4:8])


# order is proved


@pytest.mark.parametrize("end", ["text", "bytes", "fixed_size_binary"])
@pytest.mark.parametrize("take", [list, "object", "arrow", "parquet"])
def test_ids_that_differ_in_zero_bytes_at_the_end_do_not_become_one(end: str, take: Any, tmp_path: Path) -> None:
    raw = [b"digest-0", b"digest-\0", b"digest--"]
    ids = [x.decode() if end == "text" else x for x in np.repeat(np.array(raw, object), 2)]
    phi = PHI[: len(ids)]
    with pytest.raises((ValueError, cm.DumpError), match="row 2: zero bytes at the end"):
        if take in (list, "object"):
            cm.open_dump(phi, prompt_ids=ids if take is list else np.array(ids, object))
        else:
            pa = pytest.importorskip("pyarrow")
            parquet = pytest.importorskip("pyarrow.parquet")
            column = pa.array(ids, pa.binary(8) if end == "fixed_size_binary" else None)
            rows = pa.FixedSizeListArray.from_arrays(pa.array(phi.ravel()), D)
            table = pa.table({"prompt_id": column, "phi": rows})
            parquet.write_table(table, tmp_path / "ids.parquet")
            cm.open_dump(table if take == "arrow" else tmp_path / "ids.parquet")


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.permutations(range(N)))
def test_what_carries_ids_in_another_order_is_refused(order: list[int]) -> None:
    moved = np.array(order)
    same = bool((IDS[moved] == IDS).all())
    carried: dict[str, Callable[[Any], Any]] = {
        "Scores": lambda k: tilt(directions=cm.Scores(Y[k], prompt_ids=IDS[k])),
        "structured": lambda k: tilt(values=_structured(k)),
        "mapping": lambda k: tilt(values={"prompt_id": IDS[k], "y": Y[k]}),
    }
    if importlib.util.find_spec("pandas") is not None:
        import pandas as pd

        carried |= {
            "index of ids": lambda k: tilt(values=pd.Series(Y[k], index=pd.Index(IDS[k], name="prompt_id"))),
            "unnamed ids": lambda k: tilt(values=pd.Series(Y[k], index=IDS[k])),
            "frame": lambda k: tilt(values=pd.DataFrame({"prompt_id": IDS[k], "y": Y[k]})),
            "columns": lambda k: cm.open_dump(
                PHI, prompt_ids=IDS, columns={"v": pd.Series(Y[k], index=IDS[k])}
            ).columns["v"],
            "logprobs": lambda k: (
                cm.tilt(DUMP, U, [1.0], Y, base="logprob", logprobs=pd.Series(LOGS[k], index=IDS[k])).gain
            ),
        }
    if importlib.util.find_spec("polars") is not None:
        import polars as pl

        carried["polars"] = lambda k: tilt(values=pl.DataFrame({"prompt_id": IDS[k], "y": Y[k]}))
    for name, call in carried.items():
        assert np.isfinite(call(np.arange(N))).all(), name
        if not same:
            with pytest.raises(ValueError, match=r"prompt_id|index"):
                call(moved)


def _structured(k: Any) -> Any:
    out = np.empty(N, [("prompt_id", np.int64), ("y", np.float32)])
    out["prompt_id"], out["y"] = IDS[k], Y[k]
    return out


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.permutations(range(G)))
def test_what_is_keyed_by_prompt_is_looked_up(order: list[int]) -> None:
    k = np.array(order)
    for name, array in (("prompt_weights", WEIGHTS), ("clusters", CLUSTERS), ("groups", CLUSTERS)):
        want = by_prompt(name, array)
        forms: dict[str, Any] = {
            "mapping": dict(zip(PROMPTS[k].tolist(), array[k].tolist(), strict=True)),
            "by row": np.repeat(array, M),
        }
        if importlib.util.find_spec("pandas") is not None:
            import pandas as pd

            forms["Series"] = pd.Series(array[k], index=PROMPTS[k])
            forms["frame"] = pd.DataFrame({"prompt_id": PROMPTS[k], "x": array[k]})
        for form, given_ in forms.items():
            np.testing.assert_allclose(by_prompt(name, given_), want, err_msg=f"{name} {form}")


def test_a_series_by_row_is_no_series_by_prompt_where_ids_look_like_row_numbers() -> None:
    pd = pytest.importorskip("pandas")
    ids = np.repeat(np.arange(G), M)
    given_: Any = {"dump": PHI, "prompt_ids": ids}
    for name, array in (("prompt_weights", WEIGHTS), ("clusters", CLUSTERS)):
        rows, want = pd.Series(np.repeat(array, M)), tilt(**given_, **{name: array})
        assert np.allclose(tilt(**given_, **{name: rows}), want), name
        assert np.allclose(tilt(**given_, **{name: pd.Series(array)}), want), name
        for moved in (rows.sample(frac=1.0, random_state=2), rows.iloc[::-1]):
            with pytest.raises(ValueError, match="row numbers"):
                tilt(**given_, **{name: moved})


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.permutations(range(N)))
def test_gold_and_texts_in_another_order_are_refused(order: list[int]) -> None:
    moved, texts = np.array(order), np.char.add("text ", np.arange(N).astype(str))
    pd = pytest.importorskip("pandas")
    found = reported(texts=pd.Series(texts)).examples
    assert found and all(e["text"] == f"text {e['row']}" for e in found)
    same, still = bool((IDS[moved] == IDS).all()), bool((moved == np.arange(N)).all())
    for call, fine in (
        (lambda: reported(gold=pd.DataFrame({"prompt_id": IDS[moved], "y": LOGS[moved]})), same),
        (lambda: reported(gold=pd.Series(LOGS[moved], index=moved)), still),
        (lambda: reported(texts=pd.Series(texts[moved], index=moved)), still),
    ):  # fmt: skip
        if not fine:
            with pytest.raises(ValueError, match=r"prompt_id|index"):
                call()


def test_gold_under_the_name_of_another_value_or_sign_is_refused() -> None:
    dump = cm.open_dump(PHI, prompt_ids=IDS, columns={"a": Y, "b": LOGS})

    def gain(values: list[str], gold: Any) -> Any:
        return cm.report(dump, constitutions=U, values=values, kl=[0.05], sections=(), gold=gold).gain

    right = gain(["a", "-b"], np.stack([LOGS, -Y], axis=1))
    np.testing.assert_allclose(gain(["a", "-b"], {"a": LOGS, "-b": -Y}), right)
    np.testing.assert_allclose(gain(["a", "-b"], {"gold 1": LOGS, "gold 2": -Y}), right)
    with pytest.raises(ValueError, match="'-b' stands where 'a' is wanted"):
        gain(["a", "-b"], {"-b": -Y, "a": LOGS})
    with pytest.raises(ValueError, match="negate"):
        gain(["a", "-b"], {"a": LOGS, "b": Y})


def test_a_value_without_any_label_is_named_and_a_fit_to_it_refused() -> None:
    none = np.full(N, np.nan)
    dump = cm.open_dump(PHI, prompt_ids=IDS, columns={"y": Y, "none": none})
    with pytest.raises(ValueError, match="'none' has no label in any row"):
        cm.fit_value_direction(dump, ["y", "none"], folds=2)
    with pytest.raises(ValueError, match="'none' has no label"):
        cm.fit_value_direction(dump, ["none"], folds=2, prompt_weights=WEIGHTS)
    says = "values: no row that counts has a label of none"
    calls: list[Callable[[], Any]] = [
        lambda: cm.tilt(dump, U, [1.0], ["y", "none"]).gain,
        lambda: cm.inference.gain_intervals(dump, U, [1.0], ["y", "none"]).gain,
        lambda: cm.scan(dump, cm.stat.Tilt(U, ["y", "none"], betas=[1.0]))[0].gain,
        lambda: fold_of_none(),
    ]
    for call in calls:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = call()
        assert np.isnan(found[..., 1]).all() and np.isfinite(found[..., 0]).all()
        assert [str(w.message).startswith(says) for w in said] == [True]
    made_ = cm.report(dump, constitutions=U, values=["y", "none"], kl=[0.05])
    assert "none does not vary" not in " ".join(made_.notes)
    assert sum(note.startswith(says) for note in made_.notes) == 1
    assert any("no encoding: none has no label in any row" in note for note in made_.notes)


def fold_of_none() -> Any:
    """A Fold whose second half alone has no label warns of nothing; one without any says so once."""
    one = cm.Fold(cm.stat.Tilt(U, ["y", "none"], betas=[1.0]), dim=D)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for half in (slice(0, N // 2), slice(N // 2, N)):
            one.absorb(PHI[half], IDS[half], y=Y[half], none=np.full(N // 2, np.nan))
    return one.finish()[0].gain


def test_missing_row_numbers_of_pairs_are_named() -> None:
    for given_ in gaps(PAIRS[:, 0].astype(np.int64), 2).values():
        with pytest.raises((ValueError, TypeError), match="pair"):
            fitted(pairs={"chosen": given_, "rejected": PAIRS[:, 1]})
    with pytest.raises(ValueError, match=r"pair 1 .missing."):
        fitted(pairs=np.ma.masked_array(PAIRS, mask=np.arange(2 * G).reshape(G, 2) == 3))


def test_the_order_of_prompts_is_that_of_first_rows() -> None:
    assert DUMP.prompts.tolist() == PROMPTS.tolist()
    first = np.zeros(G)
    first[0] = 1.0
    only = cm.tilt(DUMP, U, [1.0], Y, prompt_weights=first)
    alone = cm.tilt(DUMP.select(prompts=[PROMPTS[0]]), U, [1.0], Y[:M])
    assert np.allclose(only.gain, alone.gain) and only.n_prompts == 1
    assert lp.prompt(DUMP, ["y"], prompt_ids=IDS).prompts.tolist() == PROMPTS.tolist()
    with pytest.warns(UserWarning, match="999"):
        tilt(prompt_weights={**dict.fromkeys(PROMPTS.tolist(), 1.0), 999: 1.0})


def test_an_index_in_another_order_than_the_rows_is_refused() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(PHI, columns=list("abc")).assign(y=Y, prompt_id=IDS)
    moved = frame.sample(frac=1.0, random_state=1)
    with pytest.raises(ValueError, match="reset_index"):
        tilt(values=moved["y"])  # of other rows than those of the dump, or of its own: nothing tells
    own = cm.open_dump(moved[["a", "b", "c"]], prompt_ids=moved["prompt_id"])
    assert np.allclose(cm.tilt(own, U, [1.0], moved["y"]).gain, cm.tilt(DUMP, U, [1.0], Y).gain, atol=1e-6)
    with pytest.raises(ValueError, match="index"):
        cm.tilt(own, U, [1.0], frame["y"])


@pytest.mark.parametrize("order", ["in order", "moved"])
@pytest.mark.parametrize("carrier", ["frame", "MultiIndex", "Scores of a frame", "Scores of a MultiIndex", "columns"])
def test_responses_moved_inside_their_prompts_are_refused(carrier: str, order: str) -> None:
    """Prompt ids are the same in every row then; only those of responses tell."""
    pd = pytest.importorskip("pandas")
    number = np.tile(np.arange(M), G)
    dump = cm.open_dump(PHI, prompt_ids=IDS, columns={"y": Y, "response_id": number})
    k = np.arange(N) if order == "in order" else M * (np.arange(N) // M) + (M - 1 - number)
    frame = pd.DataFrame({"prompt_id": IDS[k], "response_id": number[k], "v": Y[k]})
    series = frame.set_index(["prompt_id", "response_id"])["v"]
    calls: dict[str, Callable[[], Any]] = {
        "frame": lambda: cm.tilt(dump, U, [1.0], frame).gain,
        "MultiIndex": lambda: cm.tilt(dump, U, [1.0], series).gain,
        "Scores of a frame": lambda: cm.tilt(dump, cm.Scores(frame), [1.0], "y").gain,
        "Scores of a MultiIndex": lambda: cm.tilt(dump, cm.Scores(series), [1.0], "y").gain,
        "columns": lambda: cm.tilt(cm.open_dump(dump, columns=frame), U, [1.0], "v").gain,
    }
    if order == "moved":
        with pytest.raises(ValueError, match=r"another response_id than the dump's, first row 0: '3'.*'0'"):
            calls[carrier]()
        return
    judge = cm.Scores(Y) if carrier.startswith("Scores") else U
    assert np.array_equal(calls[carrier](), cm.tilt(dump, judge, [1.0], Y).gain)


@pytest.mark.parametrize("name", ["index", "sample_id", "row_nr", "id"])
def test_a_column_that_numbers_rows_is_no_value_score_or_feature(name: str) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({name: np.random.default_rng(2).permutation(N), "y": Y})
    calls: list[Callable[[Any], Any]] = [
        lambda f: tilt(values=f),
        lambda f: tilt(directions=cm.Scores(f)),
        lambda f: cm.open_dump(f),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=f"'{name}' numbers rows"):
            call(frame)
        call(frame.assign(**{name: Y.astype(int)}))


def test_labels_of_pairs_and_rows_of_two_dumps_in_another_order_are_refused() -> None:
    pd = pytest.importorskip("pandas")
    prob = pd.Series(PROB)
    assert np.array_equal(fitted(prob=prob), fitted())
    with pytest.raises(ValueError, match="prob has an index that is not in order"):
        fitted(prob=prob.iloc[::-1])
    before, after = pd.DataFrame(PHI), pd.DataFrame(PHI + Y[:, None])
    assert theory.shift_rank(after, before).n_rows == N
    with pytest.raises(ValueError, match="label in its index"):
        theory.shift_rank(after.iloc[::-1], before)
    number = np.tile(np.arange(M), G)
    one, other = (cm.open_dump(p, prompt_ids=IDS, columns={"y": Y, "response_id": r})
                  for p, r in ((PHI, number), (PHI + 1, M - 1 - number)))  # fmt: skip
    with pytest.raises(ValueError, match="response_id"):
        theory.shift_rank(other, one)
    assert not cm.compare(one, other, "y", fits={"folds": 2}).same_rows


def test_columns_of_other_prompts_than_those_given_beside_them_are_refused(tmp_path: Path) -> None:
    other = {"prompt_id": IDS[::-1].copy(), "v": Y}
    with pytest.raises(ValueError, match=r"columns: .* another prompt_id"):
        cm.open_dump(PHI, prompt_ids=IDS, columns=other)
    with pytest.raises(ValueError, match=r"columns: .* another prompt_id"):
        cm.write_dump(tmp_path / "d", PHI, prompt_ids=IDS, columns=other)
    assert cm.open_dump(DUMP, prompt_ids=IDS // 2, columns={"prompt_id": IDS, "v": Y}).n_prompts < N


def test_a_frame_written_as_a_dump_keeps_its_ids_and_has_no_feature_of_them(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(PHI, columns=list("abc")).assign(prompt_id=IDS, judge_kind=Y)
    cm.write_dump(tmp_path / "whole", frame)
    with cm.DumpWriter(tmp_path / "batches", dim=D, dtype="float32") as writer:
        for half in (slice(0, N // 2), slice(N // 2, N)):
            writer.append(frame[half])
    for name in ("whole", "batches"):
        dump = cm.open_dump(tmp_path / name)
        assert dump.dim == D and dump.prompt_ids is not None and np.array_equal(dump.prompt_ids, IDS)
        assert np.array_equal(dump.columns["judge_kind"], Y) and np.array_equal(dump.read(0, N), PHI)


@pytest.mark.parametrize("name", ["prompt_ids", "Prompt_ID", "promptId"])
def test_ids_under_nearly_their_name_do_not_make_all_rows_one_prompt(name: str) -> None:
    dump = cm.open_dump(PHI, columns={name: IDS, "y": Y})
    with pytest.raises(ValueError, match=f"no column 'prompt_id' but '{name}'"):
        cm.tilt(dump, U, [1.0], "y")
    assert np.array_equal(cm.tilt(dump, U, [1.0], "y", prompt_ids=name).gain, cm.tilt(DUMP, U, [1.0], "y").gain)


def test_integers_that_float64_does_not_tell_apart_are_no_values() -> None:
    wide = 2**60 + np.arange(N)
    for call in (lambda x: tilt(values=x), lambda x: tilt(dump=cm.open_dump(DUMP, columns={"v": x}), values="v")):
        for given_ in (wide, -wide, wide.astype(np.uint64)):
            with pytest.raises(ValueError, match=r"holds -?11529215046068\d+, which float64"):
                call(given_)
        assert np.isfinite(call(wide - 2**60)).all()


def test_a_name_with_a_minus_that_is_two_columns_is_refused() -> None:
    both, one = (cm.open_dump(PHI, prompt_ids=IDS, columns=c) for c in ({"y": Y, "-y": 2 * Y}, {"-y": 2 * Y}))
    for call in (lambda d: cm.tilt(d, U, [1.0], ["-y"]), lambda d: cm.tilt(d, "-y", [1.0], Y)):
        with pytest.raises(ValueError, match="'-y' is a column, and so is 'y'"):
            call(both)
        assert np.isfinite(call(one).gain).all()


TABLES = {
    "mapping of names", "Hugging Face Dataset", "NumPy records", "`__arrow_c_stream__` (others)", "pandas DataFrame",
    "polars DataFrame", "pyarrow Table",
}  # fmt: skip


def test_pairs_levels_and_weights_of_theory_come_in_every_carrier() -> None:
    held = np.ma.array([1.0, 2.0], mask=[False, True])
    refused: dict[str, Callable[[], Any]] = {
        "betas": lambda: cm.tilt(DUMP, U, held, "y"),
        "kl": lambda: cm.tilt(DUMP, U, None, "y", kl=held),
        "profile": lambda: theory.classify(held),
        "weights": lambda: theory.ensembles(DUMP, U, held / 1.0, "y", kl=[0.1]),
        "prob": lambda: theory.learning_curve(DUMP, PAIRS, np.ma.array(PROB, mask=PROB < 0.2), "y", repeats=1),
    }
    for name, call in refused.items():
        with pytest.raises((ValueError, TypeError), match=name):
            call()
            pytest.fail(name)
    assert np.isnan(theory.scalarise(held).value)
    for carrier in available():
        if carrier in TABLES:
            continue  # (B, 1): a strength for each direction
        try:
            levels = made(carrier, np.array([0.5, 1.0], np.float32))
        except TypeError:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert cm.tilt(DUMP, U, levels, "y").betas.tolist() == [[0.5, 1.0]] * 2, carrier
            assert cm.tilt(DUMP, U, None, "y", kl=levels).kl.shape == (2, 2), carrier


def test_log_likelihoods_of_the_wrong_sign_are_told() -> None:
    logs = -1.0 - LOGS**2
    assert np.isfinite(tilt(base="logprob", logprobs=logs)).all()
    with pytest.warns(UserWarning, match="negative log-likelihoods"):
        tilt(base="logprob", logprobs=-logs)


def test_digests_in_arrays_that_lose_zero_bytes_are_refused() -> None:
    for odd in (b"\xff\xfe", b"a\x01", b"a\0b"):
        with pytest.raises(ValueError, match=r"prompt_ids holds bytes that are no text.*hex"):
            cm.open_dump(PHI, prompt_ids=np.repeat(np.array([odd, b"plain"]), N // 2))
    assert cm.open_dump(PHI, prompt_ids=np.repeat(np.array([b"two\nlines", b"plain"]), N // 2)).n_prompts == 2


def test_tensors_that_hold_more_than_numbers_are_refused_by_name() -> None:
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that masks are a prototype
        masked = torch.masked.masked_tensor(torch.tensor(Y), torch.arange(N) != 3)
        with pytest.raises(TypeError, match="values is a MaskedTensor of torch"):
            tilt(values=masked)


# names, shapes, options


def test_names_of_frames_are_kept() -> None:
    got = cm.tilt(DUMP, {"kind": U[0], "honest": U[1]}, [1.0], {"helpful": Y, "harm": -Y})
    assert got.directions == ("kind", "honest") and got.values == ("helpful", "harm")
    assert cm.Scores({"kind": Y, "prompt_id": IDS}).names == ("kind",)
    pd = pytest.importorskip("pandas")
    got = cm.tilt(DUMP, pd.DataFrame(U, index=["kind", "honest"]), [1.0], pd.Series(Y, name="helpful"))
    assert got.directions == ("kind", "honest") and got.values == ("helpful",)


def test_prompts_by_responses() -> None:
    want = cm.tilt(PHI, U, [1.0], Y, prompt_ids=np.repeat(np.arange(G), M)).gain
    cube = PHI.reshape(G, M, D)
    assert np.allclose(cm.tilt(cube, U, [1.0], Y.reshape(G, M)).gain, want)
    assert np.allclose(
        cm.tilt(cube, U, [1.0], np.stack([Y, Y], 1).reshape(G, M, 2), prompt_ids=PROMPTS).gain[..., 1:], want
    )
    assert cm.open_dump(cube, prompt_ids=PROMPTS, columns={"v": Y.reshape(G, M)}).columns["v"].tolist() == Y.tolist()
    assert np.allclose(
        cm.tilt(cm.Scores((PHI @ U.T).reshape(G, M, 2)), None, [1.0], Y.reshape(G, M)).gain, want, atol=1e-6
    )
    with pytest.raises(ValueError, match="layers"):
        cm.open_dump(cube, prompt_ids=[0, 0, 1, 1, 2, 2])
    with pytest.raises(ValueError, match="one after the other"):
        cm.tilt(PHI, U, [1.0], Y.reshape(G, M), prompt_ids=np.tile(np.arange(G), M))


def test_a_frame_with_a_column_of_vectors_is_rows_and_columns() -> None:
    pa = pytest.importorskip("pyarrow")
    table_ = pa.table({"phi": PHI.tolist(), "prompt_id": TEXT, "judge/kind": Y, "text": TEXT})
    dump = cm.open_dump(table_)
    assert (
        dump.n_prompts == G and dump.column("kind" if dump.has_column("kind") else "judge/kind").tolist() == Y.tolist()
    )
    assert np.allclose(cm.tilt(dump, U, [1.0], "judge/kind").gain, cm.tilt(DUMP, U, [1.0], Y).gain, atol=1e-6)


def test_betas_of_a_result_are_taken_back() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the level is beyond the rows
        got = cm.tilt(DUMP, U, values=Y, kl=[0.2, 50.0])
    assert (got.betas[:, 1] == 0).all()
    again = cm.tilt(DUMP, U, got.betas, Y)
    assert np.array_equal(again.gain, got.gain) and np.array_equal(again.kl, got.kl)
    with pytest.raises(ValueError, match="betas"):
        cm.tilt(DUMP, U, [-1e-9], Y)


@pytest.mark.filterwarnings("default")
def test_what_no_tilt_moves_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="1 of 7 prompts have one response"):
        cm.tilt(np.vstack([PHI, PHI[:1]]), U, [1.0], prompt_ids=np.append(IDS, 1000))
    with pytest.warns(UserWarning, match="directions direction1 are zero"):
        cm.tilt(DUMP, np.stack([U[0], 0 * U[0]]), [1.0])


OPTIONS: dict[str, dict[str, Any]] = {
    "base": {"base": "counts", "counts": COUNTS},
    "counts alone": {"counts": COUNTS},
    "logprobs alone": {"logprobs": LOGS},
    "proposal alone": {"proposal_logprobs": LOGS},
    "prompt_weights": {"prompt_weights": WEIGHTS},
    "prompt_ids": {"prompt_ids": np.repeat(np.arange(G // 2), 2 * M)},
    "clusters": {"clusters": CLUSTERS},
    "within": {"within": False},
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "moments": lambda **o: cm.moments(DUMP, **o).covariance,
    "covariance_projection": lambda **o: cm.covariance_projection(DUMP, U, **o),
    "cross_covariance": lambda **o: cm.cross_covariance(DUMP, U, Y, **o).se,
    "tilt": lambda **o: tilt(**o),
    "tilted_mean": lambda **o: cm.tilted_mean(DUMP, U, [1.0], **o).mean,
    "examples": lambda **o: cm.examples(DUMP, "y", n=2, **o).after,
    "scan": lambda **o: cm.scan(DUMP, cm.stat.Tilt(U, Y, betas=[1.0]), **o)[0].gain_se,
    "lp.prompt": lambda **o: lp.prompt(DUMP, NUMBERS[:, 3:5], **o).margin,
    "lp.pareto": lambda **o: lp.pareto(DUMP, U, NUMBERS[:, 3:5], splits=9, **o).margin_ci,
    "lp.game": lambda **o: lp.game(DUMP, U, NUMBERS[:, 3:5], **o).scale_rows,
    "cumulants": lambda **o: theory.cumulants(DUMP, U, Y, **o).gain_se,
    "best_of_n": lambda **o: theory.best_of_n(DUMP, "y", NUMBERS[:, 4], [2], **o).gain_se,
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_option_changes_the_answer_or_is_refused(function: str, option: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = FUNCTIONS[function]()
        try:
            got = FUNCTIONS[function](**OPTIONS[option])
        except ValueError as error:
            assert next(iter(OPTIONS[option])) in str(error)
            return
    assert got.shape != plain.shape or not np.array_equal(got, plain, equal_nan=True)


def test_help_lists_the_options_with_their_types() -> None:
    import inspect

    shown = inspect.signature(cm.tilt).parameters
    assert {"base", "prompt_weights", "clusters", "within", "check_source"} <= shown.keys() and "options" not in shown
    assert "clusters" not in inspect.signature(cm.moments).parameters
    for module in (cm, theory, lp, cm.inference):
        for name in module.__all__:
            if inspect.isfunction(function := getattr(module, name)):
                kinds = [p.kind for p in inspect.signature(function).parameters.values()]
                assert inspect.Parameter.VAR_KEYWORD not in kinds, name
    with pytest.raises(TypeError, match="did you mean 'clusters'"):
        cm.tilt(DUMP, U, [1.0], cluster=CLUSTERS)


def test_frames_of_one_batch_have_one_index() -> None:
    pd = pytest.importorskip("pandas")
    at = np.arange(100, 100 + N)
    phi, ids, y = pd.DataFrame(PHI, index=at), pd.Series(IDS, index=at), pd.Series(Y, index=at)
    assert np.array_equal(fold(phi, ids, y), fold())
    with pytest.raises(ValueError, match="label in its index"):
        fold(phi, ids, y.iloc[::-1])
    scores = cm.Scores(y.iloc[::-1])
    assert scores.labels is not None
    with pytest.raises(ValueError, match="index"):
        cm.tilt(cm.Scores(y, prompt_ids=IDS), None, [1.0], y.iloc[::-1])


def test_texts_of_a_series_go_by_row_and_not_by_label() -> None:
    pd = pytest.importorskip("pandas")
    texts = pd.Series([f"text {k}" for k in range(N)], index=np.arange(N) + 5)
    found = cm.examples(DUMP, "y", n=2, texts=texts)
    assert list(found.responses) == [f"text {k}" for k in found.row]
    with pytest.raises(ValueError, match="index"):
        cm.examples(DUMP, "y", n=2, texts=texts.iloc[::-1])


@pytest.mark.parametrize("kind", ["layer", "position", "model"])
def test_directions_of_another_place_are_refused_wherever_a_dump_is(kind: str) -> None:
    origin = {"layer": 12, "position": "last", "model": "m"}
    dump = cm.open_dump(PHI, prompt_ids=IDS, columns={"y": Y}).with_options(source=origin)
    calls: dict[str, Callable[..., Any]] = {
        "tilt": lambda d, **o: cm.tilt(dump, d, [1.0], "y", **o),
        "values of a tilt": lambda d, **o: cm.tilt(dump, U, [1.0], d, **o),
        "score": lambda d, **o: cm.score(dump, d, **o),
        "tilted_mean": lambda d, **o: cm.tilted_mean(dump, d, [1.0], **o),
        "scan": lambda d, **o: cm.scan(dump, cm.stat.Tilt(d, betas=[1.0]), **o),
        "report": lambda d, **o: cm.report(dump, constitutions=d, values=["y"], kl=[0.05], sections=(), **o),
        "examples": lambda d, **o: cm.examples(dump, cm.Directions(["a"], U[:1], source=d.source), **o),
        "gain_intervals": lambda d, **o: cm.inference.gain_intervals(dump, d, [1.0], "y", **o),
        "best_of_n": lambda d, **o: theory.best_of_n(dump, d, "y", 2, **o),
        "screen": lambda d, **o: theory.screen(dump, d, "y", **o),
        "judge_ceiling": lambda d, **o: theory.judge_ceiling(dump, d, "y", **o),
        "game": lambda d, **o: lp.game(dump, d, "y", **o),
        "lp.pareto": lambda d, **o: lp.pareto(dump, d, ["y"], **o),
        "pareto_cone": lambda d, **o: cm.pareto_cone(d, dump, **o),
    }
    same, other = (cm.Directions(["a", "b"], U, source=s) for s in (origin, origin | {kind: 5}))
    for name, call in calls.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call(same)
            call(other, check_source=False)
        with pytest.raises(ValueError, match=f"{kind}.*check_source=False"):
            call(other)
            pytest.fail(name)


def test_a_label_beside_numbered_features_is_no_feature() -> None:
    """Counted among the features f0, f1, ..., a label would predict itself."""
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"f0": Y, "f1": Y**2, "prompt_id": IDS, "judge/kind": Y})
    assert cm.open_dump(frame).dim == 2
    with pytest.raises(ValueError, match="the columns 'helpful', 'reward' beside 'f0' to 'f1'"):
        cm.open_dump(frame.assign(helpful=Y, reward=-Y))
    assert cm.open_dump(pd.DataFrame({"left": Y, "right": Y**2, "up": -Y})).dim == 3


def test_response_ids_that_count_in_another_order_are_refused_where_the_dump_has_none() -> None:
    pd = pytest.importorskip("pandas")
    ids = np.repeat(np.arange(20), 6)
    rng = np.random.default_rng(0)
    phi, count = rng.normal(size=(120, 3)), np.tile(np.arange(6), 20)
    frame = pd.DataFrame({"prompt_id": ids, "response_id": count, "good": phi[:, 0]})
    moved = frame.sample(frac=1, random_state=1).sort_values("prompt_id", kind="stable").reset_index(drop=True)
    plain, known = (cm.open_dump(phi, prompt_ids=ids, columns=c) for c in (None, {"response_id": count}))
    right = cm.tilt(plain, np.eye(3)[:1], [1.0], frame).gain
    for dump in (plain, known):
        with pytest.raises(ValueError, match="response_id"):
            cm.tilt(dump, np.eye(3)[:1], [1.0], moved)
    random_ids = moved.assign(response_id=rng.permutation(120) * 7)  # say nothing of an order
    assert cm.tilt(plain, np.eye(3)[:1], [1.0], random_ids).gain.shape == right.shape


def test_options_of_files_are_refused_for_arrays() -> None:
    for option in ({"pool": "mean"}, {"prompt_tokens": {0: 1}}, {"half_bits": "float16"}):
        with pytest.raises(ValueError, match="say how files are read; source is an array"):
            cm.open_dump(PHI, **option)
    with pytest.raises(ValueError, match=r"of an array \(rows, layers, d\) source\[:, layer\]"):
        cm.open_dump(np.zeros((4, 3, 2)), layer=1)


def test_a_direction_given_as_an_array_of_values_is_told_what_to_be() -> None:
    with pytest.raises(ValueError, match=r"a direction is a value as Directions\(names, vectors\)"):
        cm.tilt(PHI, np.ones((1, PHI.shape[1])), kl=[0.1], values=np.ones((1, PHI.shape[1])), prompt_ids=IDS)


NAMES = ("q", "b", "a")  # of the columns of PHI; not sorted


def named_rows(carrier: str, names: tuple[str, ...] = NAMES) -> Any:
    """PHI as a frame with named columns, in the order of `names`."""
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(PHI, columns=list(NAMES))[list(names)]
    if carrier == "polars":
        return pytest.importorskip("polars").DataFrame({n: frame[n].to_numpy() for n in names})
    if carrier == "pyarrow":
        return pytest.importorskip("pyarrow").table({n: frame[n].to_numpy() for n in names})
    if carrier == "datasets":
        return pytest.importorskip("datasets").Dataset.from_dict({n: frame[n].tolist() for n in names})
    if carrier == "numpy":
        return frame.to_records(index=False)
    return frame


def named_directions(carrier: str, names: tuple[str, ...]) -> Any:
    """U with its entries under the names of the columns of PHI, in another order."""
    at = [NAMES.index(n) for n in names]
    if carrier == "Directions":
        return cm.Directions(["one", "two"], U[:, at], source={"features": list(names)})
    if carrier == "Series":
        return [pytest.importorskip("pandas").Series(u[at], index=list(names)) for u in U]
    if carrier == "mapping":
        return dict(zip(("one", "two"), named_directions("Series", names), strict=True))
    held = {n: np.ascontiguousarray(U[:, k]) for n, k in zip(names, at, strict=True)}
    if carrier == "numpy":
        return np.rec.fromarrays(list(held.values()), names=list(held))
    return getattr(pytest.importorskip(carrier), "table" if carrier == "pyarrow" else "DataFrame")(held)


HAVE_NAMES = ["pandas", "polars", "pyarrow", "numpy"]
VECTORS = [*HAVE_NAMES, "Directions", "Series", "mapping"]


def entered(dump: Any, directions: Any, **options: Any) -> dict[str, Any]:
    """What each way in makes of directions, as numbers to compare."""
    held = cm.open_dump(dump, prompt_ids=IDS, columns={"y": Y})
    given_ = {"score": cm.score(held, directions, **options),
              "tilt": cm.tilt(held, directions, [1.0], Y, **options).gain,
              "scan": cm.scan(held, cm.stat.CovarianceProjection(directions), **options)[0]}  # fmt: skip
    if isinstance(directions, cm.Directions):
        given_["values"] = cm.tilt(held, "y", [1.0], directions, **options).gain
    if not isinstance(directions, (list, dict)):
        given_["screen"] = theory.screen(held, directions, "y", **options).worst_gain
        given_["game"] = lp.game(held, directions, "y", **options).table
        given_["cone"] = cm.pareto_cone(directions, held, **options).margin
    return given_


@pytest.mark.parametrize("rows", [*HAVE_NAMES, "datasets"])
@pytest.mark.parametrize("vectors", VECTORS)
@pytest.mark.parametrize("order", [("a", "q", "b"), ("b", "a", "q"), NAMES])
def test_named_entries_of_directions_find_the_named_columns_of_rows(rows: str, vectors: str, order: Any) -> None:
    dump = named_rows(rows)
    want = entered(dump, cm.Directions(["one", "two"], U))
    for way, number in entered(dump, named_directions(vectors, order)).items():
        np.testing.assert_allclose(number, want[way], rtol=1e-5, atol=1e-6, err_msg=way)


@pytest.mark.parametrize("vectors", VECTORS)
def test_directions_of_other_features_are_refused_unless_told(vectors: str) -> None:
    dump = cm.open_dump(named_rows("pandas").rename(columns={"b": "c"}), prompt_ids=IDS)
    given_ = named_directions(vectors, ("a", "q", "b"))
    with pytest.raises(ValueError, match=r"'c'.*'b'.*check_source=False"):
        cm.score(dump, given_)
    order = [NAMES.index(n) for n in ("a", "q", "b")]
    assert np.allclose(cm.score(dump, given_, check_source=False), PHI @ U[:, order].T, atol=1e-5)


def test_names_without_names_to_compare_are_told_and_numbers_are_places() -> None:
    pd = pytest.importorskip("pandas")
    with pytest.warns(UserWarning, match=r"named 'q', 'b', 'a', but the columns of array have no names"):
        cm.score(PHI, pd.Series(U[0], index=NAMES), prompt_ids=IDS)
    plain = cm.score(PHI, U[0], prompt_ids=IDS)
    shuffled = pd.Series(U[0]).iloc[[2, 0, 1]]  # its labels are the places of its entries
    assert (cm.score(PHI, shuffled, prompt_ids=IDS) == plain).all()
    assert (cm.score(pd.DataFrame(PHI)[[1, 2, 0]], pd.Series(U[0]), prompt_ids=IDS) == plain).all()
    with pytest.raises(ValueError, match="no entry for '0'"):
        cm.score(PHI, pd.Series(U[0], index=[3, 2, 1]), prompt_ids=IDS)
    assert cm.tilt(PHI, pd.Series(U[0], name="kind"), [1.0], Y, prompt_ids=IDS).to_dict()["directions"] == ("kind",)


@pytest.mark.parametrize("how", ["fit", "saved", "directions"])
@pytest.mark.parametrize("order", [("a", "q", "b"), NAMES])
def test_a_fit_knows_its_features_and_its_rows_in_any_order(how: str, order: Any, tmp_path: Path) -> None:
    fit = cm.fit_value_direction(cm.open_dump(named_rows("pandas"), prompt_ids=IDS), Y, folds=2, alpha=0.5)
    given_: Any = fit.directions() if how == "directions" else fit
    if how == "saved":
        fit.save(tmp_path / "fit.safetensors")
        given_ = tmp_path / "fit.safetensors"
    dump = cm.open_dump(named_rows("pandas", order), prompt_ids=IDS)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = cm.tilt(dump, given_, [1.0], Y)
        want = cm.tilt(cm.open_dump(named_rows("pandas"), prompt_ids=IDS), given_, [1.0], Y)
    assert found.fit_status == want.fit_status == ("in-sample" if how == "directions" else "cross-fitted",)
    assert len(said) == 2 * (how == "directions")
    np.testing.assert_allclose(found.gain, want.gain, rtol=1e-5)
    with pytest.raises(ValueError, match="no entry for 'c'"):
        cm.score(cm.open_dump(named_rows("pandas", order).rename(columns={"b": "c"}), prompt_ids=IDS), given_)


def test_names_of_columns_go_with_rows_into_files_and_selections(tmp_path: Path) -> None:
    frame = named_rows("pandas")
    cm.write_dump(tmp_path / "d", frame, prompt_ids=IDS, source={"model": "m"})
    cm.write_dump(tmp_path / "e", {3: frame, 4: frame}, prompt_ids=IDS)
    for dump in (cm.open_dump(tmp_path / "d"), cm.open_dump(tmp_path / "e", layer=4)):
        assert dump.features == dump.select(prompts=PROMPTS[:2]).features == NAMES
        assert np.allclose(cm.score(dump, named_directions("pandas", ("a", "q", "b"))), PHI @ U.T, atol=1e-5)
    with cm.DumpWriter(tmp_path / "w", dim=D, dtype="float32", source={"features": list(NAMES)}) as out:
        out.append(frame[:M], IDS[:M])
        with pytest.raises(ValueError, match=r"first column 0: 'a', where those have 'q'"):
            out.append(named_rows("pandas", ("a", "q", "b"))[M:].reset_index(drop=True), IDS[M:])
    assert cm.open_dump(tmp_path / "w").features == NAMES


def test_a_fold_takes_frames_of_one_order_and_its_directions_by_name(tmp_path: Path) -> None:
    frame = named_rows("pandas")
    directions, places = named_directions("pandas", ("a", "q", "b")), np.arange(M)

    def fold() -> Any:
        return cm.Fold(cm.stat.Tilt(directions, "y", betas=[1.0]), dim=D)

    one, other = fold(), fold()
    one.absorb(frame[:M], IDS[:M], y=Y[:M])
    with pytest.raises(ValueError, match="first column 0"):
        one.absorb(frame[["a", "b", "q"]].iloc[places], IDS[M : 2 * M], y=Y[:M])
    other.absorb(frame[M:].reset_index(drop=True), IDS[M:], y=Y[M:])
    other.save(tmp_path / "s")
    again = fold().load(tmp_path / "s")
    wrong = fold()
    wrong.absorb(frame[["a", "b", "q"]].iloc[places], [999] * M, y=Y[:M])
    with pytest.raises(ValueError, match="merge: other has other columns"):
        again.merge(wrong)
    want = cm.tilt(PHI, U, [1.0], Y, prompt_ids=IDS).gain
    np.testing.assert_allclose(one.merge(again).finish()[0].gain, want, rtol=1e-5)


@pytest.mark.parametrize("call", [
    lambda a, b: theory.score_correlation(a, b), lambda a, b: theory.policy_direction(a, b, 1.0),
    lambda a, b: theory.robustness_radius(a, b), lambda a, b: theory.tradeoff_profile(a, None, b),
    lambda a, b: theory.gaussian_tilt(a, None, b, 1.0), lambda a, b: theory.generation_judgment_gap(a, b, b),
])  # fmt: skip
def test_theory_refuses_directions_whose_features_stand_in_another_order(call: Any) -> None:
    pd = pytest.importorskip("pandas")
    a, b = pd.Series(U[0], index=list(NAMES)), pd.Series(U[1], index=list(NAMES))
    call(a, b), call(a, U[1])
    with pytest.raises(ValueError, match=r"has entries for .* bring both into one order"):
        call(a, b[["b", "a", "q"]])


@pytest.mark.parametrize("call", [
    lambda s: cm.report(s, values=Y), lambda s: cm.inference.gain_intervals(s, None, values=Y),
    lambda s: lp.pareto(s, s, Y),
])  # fmt: skip
def test_scores_in_place_of_a_dump_are_refused_with_what_to_do(call: Any) -> None:
    scores = cm.Scores(Y)
    with pytest.raises(TypeError, match=r"open_dump\(scores.array, prompt_ids=...\) makes rows of them"):
        call(scores)
    dump = cm.open_dump(scores.array, prompt_ids=IDS)
    want = cm.inference.gain_intervals(DUMP, scores, values=Y, kl=[0.05]).estimate
    assert np.allclose(cm.inference.gain_intervals(dump, scores, values=Y, kl=[0.05]).estimate, want)


@pytest.mark.parametrize("call", [
    lambda s, i, to: tilt(values={"y": s}), lambda s, i, to: tilt(directions=cm.Scores({"y": s})),
    lambda s, i, to: cm.fit_value_direction(DUMP, {"y": s}, folds=2, alpha=0.5),
    lambda s, i, to: reported(gold={"y": s}), lambda s, i, to: tilt(values={"y": Y, "other": s}),
    lambda s, i, to: cm.Scores(s.sort_index(), prompt_ids=i), lambda s, i, to: lp.prompt(s.sort_index(), prompt_ids=i),
    lambda s, i, to: cm.write_dump(to, PHI, prompt_ids=IDS, columns={"y": s}),
    lambda s, i, to: cm.write_dump(to, PHI, prompt_ids=IDS, columns=s.to_frame("y")),
    lambda s, i, to: cm.write_dump(to, {3: PHI, 4: PHI}, prompt_ids=i),
    lambda s, i, to: cm.DumpWriter(to, dim=D, dtype="float32").append(PHI, IDS, y=s),
])  # fmt: skip
def test_an_index_inside_a_mapping_or_beside_rows_that_are_written_is_compared(call: Any, tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    series, ids = pd.Series(Y), pd.Series(IDS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call(series, ids, tmp_path / "a")
    with pytest.raises(ValueError, match=r"index|indices"):
        call(series.iloc[::-1], ids.iloc[::-1], tmp_path / "b")


def test_indices_of_a_mapping_that_differ_are_refused() -> None:
    pd = pytest.importorskip("pandas")
    moved = pd.Series(M * np.arange(G) + 1, index=np.arange(G)[::-1])
    with pytest.raises(ValueError, match="pairs: 'rejected' and 'chosen' have other indices"):
        fitted(pairs={"chosen": pd.Series(M * np.arange(G)), "rejected": moved})


def test_frames_of_two_layers_are_written_in_one_order(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(PHI, index=np.arange(N) + 5)
    cm.write_dump(tmp_path / "a", {3: frame, 4: frame}, prompt_ids=IDS, columns={"y": pd.Series(Y, index=frame.index)})
    assert np.array_equal(cm.open_dump(tmp_path / "a", layer=4).columns["y"], Y)
    for rows, y in (({3: frame, 4: frame[::-1]}, Y), ({3: frame, 4: frame}, pd.Series(Y))):
        with pytest.raises(ValueError, match="label in its index"):
            cm.write_dump(tmp_path / "b", rows, prompt_ids=IDS, columns={"y": y})


def test_plain_arrays_beside_rows_of_a_frame_that_was_moved_are_told() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(PHI)
    moved = frame.iloc[np.r_[1, 0, 2:N]]
    with pytest.warns(UserWarning, match="values has no index and the rows come from a frame whose index is out of or"):
        got = tilt(dump=moved, prompt_ids=pd.Series(IDS, index=moved.index))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        settled = tilt(dump=moved.reset_index(drop=True), prompt_ids=IDS)
        tilt(dump=frame.set_index(np.arange(N) * 3), prompt_ids=IDS)
    assert np.array_equal(got, settled)
    for call in (lambda: fold(phi=moved), lambda: cm.Scores(pd.Series(Y).iloc[::-1], prompt_ids=IDS)):
        with pytest.warns(UserWarning, match="(prompt_ids|column 'y') has no index and (phi|array) come from a frame"):
            call()


def test_a_dataset_that_was_shuffled_is_told_beside_arrays_of_its_former_order() -> None:
    datasets = pytest.importorskip("datasets")
    held = {"phi": PHI, "prompt_id": IDS, "y": Y, "other": 2 * Y}
    whole = datasets.Dataset.from_dict(held)
    moved = whole.shuffle(seed=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        want = tilt(dump=whole)
        for values in ("y", moved["y"], moved.select_columns(["y"])):
            got = tilt(dump=moved, prompt_ids=None, values=values)
            np.testing.assert_allclose(got, want, rtol=1e-6)
        tilt(dump=moved.flatten_indices(), prompt_ids=None, values=Y)
        got = cm.tilt(moved, U, [1.0], "y", clusters=moved["prompt_id"]).gain_se
        np.testing.assert_allclose(got, cm.tilt(whole, U, [1.0], "y", clusters=IDS).gain_se, rtol=1e-6)
        report = cm.report(moved, constitutions="other", values="y", kl=[0.05])
    assert not any("index" in note for note in report.notes)
    for values in (Y, whole["y"]):
        with pytest.warns(UserWarning, match=r"\.flatten_indices\(\) of a Dataset, says that this is meant"):
            tilt(dump=moved, prompt_ids=None, values=values)
    for dump in (moved, whole, PHI):
        with pytest.raises(ValueError, match=r"another label in its index|is not the order of the dump's rows"):
            tilt(dump=dump, prompt_ids=None if dump is not PHI else IDS, values=whole.shuffle(seed=4)["y"])


def test_a_report_of_a_moved_frame_and_its_own_columns_says_nothing_of_an_index() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"phi": list(PHI), "prompt_id": IDS, "y": Y, "other": 2 * Y})
    moved = frame.iloc[::-1]
    report = cm.report(moved, constitutions="other", values="y", kl=[0.05], clusters=moved["prompt_id"])
    assert not any("index" in note for note in report.notes)


def test_an_index_of_response_ids_is_compared_with_them() -> None:
    pd = pytest.importorskip("pandas")
    names = np.array([f"{g}/{k}" for g, k in zip(IDS, np.arange(N), strict=True)])
    dump = cm.open_dump(PHI, prompt_ids=IDS, columns={"response_id": names})
    series = pd.Series(Y, index=names)
    np.testing.assert_array_equal(
        tilt(dump=dump, prompt_ids=None, values=series), tilt(values=Y, prompt_ids=IDS, dump=PHI)
    )
    with pytest.raises(ValueError, match="another response_id than the dump's, first row 0"):
        tilt(dump=dump, prompt_ids=None, values=series.iloc[::-1])


def test_a_minus_in_the_name_of_an_array_turns_nothing_round_and_says_so() -> None:
    with pytest.warns(UserWarning, match="values: -y taken as given: a minus turns a column of the dump round"):
        got = cm.tilt(PHI, U, [1.0], {"-y": Y}, prompt_ids=IDS).gain
    np.testing.assert_array_equal(got, cm.tilt(DUMP, U, [1.0], "y").gain)
    np.testing.assert_array_equal(got, -cm.tilt(DUMP, U, [1.0], "-y").gain)
    made = cm.report(PHI, constitutions=cm.Scores(2 * Y), values={"-y": Y}, prompt_ids=IDS, kl=[0.05])
    assert any("-y taken as given" in note for note in made.notes)


@pytest.mark.parametrize("take", ["append", "absorb"])
def test_columns_in_a_mapping_where_each_is_an_argument_are_refused(take: str, tmp_path: Path) -> None:
    into: Any = (
        cm.DumpWriter(tmp_path / "d", dim=3, dtype="float32") if take == "append" else cm.Fold(cm.stat.Moments(), dim=3)
    )
    with pytest.raises(TypeError, match=rf"columns is a dict; {take} takes each column by its name"):
        getattr(into, take)(PHI, IDS, columns={"y": Y})
    getattr(into, take)(PHI, IDS, columns=Y)
    assert into.n_rows == N


@pytest.mark.parametrize("bits", [np.int16, np.uint16])
def test_bits_of_halves_are_not_advised_to_be_numbers(bits: Any) -> None:
    with pytest.raises(TypeError, match=r"\.view\(ml_dtypes\.bfloat16\) or \.view\('float16'\)") as told:
        cm.open_dump(PHI.astype(bits), prompt_ids=IDS)
    assert "astype" not in str(told.value)


def test_scores_as_directions_and_options_of_dumps_say_where_they_belong() -> None:
    for given_ in (Y, Y[:, None], {"a": Y}, np.stack([Y] * 2, axis=1)):
        with pytest.raises(ValueError, match=r"a score for each row is cm\.Scores"):
            cm.report(PHI, constitutions=given_, values=Y, prompt_ids=IDS)
    for name in ("layer", "columns", "policy"):
        with pytest.raises(TypeError, match=rf"no option {name!r} here: pass open_dump"):
            cm.report(PHI, values=Y, prompt_ids=IDS, **{name: None})
        with pytest.raises(TypeError, match=rf"no option {name!r} here: pass open_dump"):
            cm.tilt(PHI, U, [1.0], prompt_ids=IDS, **{name: None})


def test_columns_of_several_lengths_are_named() -> None:
    with pytest.raises(TypeError, match=r"column 'a' has one number; columns of numbers are wanted"):
        tilt(values={"a": 1.0})
    with pytest.raises(ValueError, match=r"values has columns of several lengths: 'a' 24, 'b' 5"):
        tilt(values={"a": Y, "b": Y[:5]})


def test_rows_that_were_selected_keep_their_labels() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(PHI, index=np.arange(N) + 5)
    part, rows = cm.open_dump(frame, prompt_ids=IDS).select(prompts=PROMPTS[1:3]), np.arange(M, 3 * M)
    y = pd.Series(Y, index=frame.index).iloc[rows]
    assert np.array_equal(tilt(dump=part, values=y), tilt(dump=PHI[rows], prompt_ids=IDS[rows], values=Y[rows]))
    with pytest.raises(ValueError, match="label in its index"):
        tilt(dump=part, values=y.iloc[::-1])


def test_a_game_of_a_frame_knows_its_ids_and_names() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"prompt_id": IDS, "kind": Y, "honest": LOGS})
    want = lp.prompt(NUMBERS[:, 3:5], prompt_ids=IDS)
    got = lp.prompt(frame)
    assert got.values == ("kind", "honest") and want.values == ("value0", "value1")
    assert np.array_equal(got.margin, want.margin) and np.array_equal(got.prompts, want.prompts)
    with pytest.raises(ValueError, match="rows have another prompt_id"):
        lp.prompt(frame, prompt_ids=IDS[::-1])


@pytest.mark.parametrize("kind", ["mapping", "frame", "npz"])
def test_labels_with_ids_of_responses_leave_the_ids_of_prompts_alone(kind: str, tmp_path: Path) -> None:
    """The comparison of response ids once stood in place of reading the prompt ids: all rows became one prompt."""
    pd = pytest.importorskip("pandas")
    rows = pd.DataFrame({"prompt_id": IDS, "response_id": np.arange(N), "phi": list(PHI)})
    labels: Any = {"response_id": np.arange(N), "y": Y}
    if kind == "npz":
        np.savez(tmp_path / "labels.npz", **labels)
    given_ = {"mapping": labels, "frame": pd.DataFrame(labels), "npz": tmp_path / "labels.npz"}[kind]
    dump = cm.open_dump(rows, columns=given_)
    assert np.array_equal(dump.prompt_ids, IDS) and np.array_equal(dump.columns["y"], Y)
    assert np.allclose(cm.tilt(dump, U, [1.0], "y").gain_se, tilt())


@pytest.mark.parametrize("pair", [(" 40", "40"), ("40 ", "40"), (" 40", "40\n")])
@pytest.mark.parametrize("take", ["tilt", "Fold", "Scores"])
def test_ids_that_differ_in_spaces_alone_are_named(pair: tuple[str, str], take: str) -> None:
    ids = np.where(PROMPTS[0] == IDS, pair[0], np.where(PROMPTS[1] == IDS, pair[1], TEXT))
    calls: dict[str, Callable[[], Any]] = {
        "tilt": lambda: tilt(dump=PHI, prompt_ids=ids), "Fold": lambda: fold(ids=ids),
        "Scores": lambda: cm.tilt(cm.Scores(Y, prompt_ids=ids), None, [1.0], Y),
    }  # fmt: skip
    with pytest.warns(UserWarning, match="are two prompts, whose ids differ in spaces at their ends"):
        calls[take]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tilt(dump=PHI, prompt_ids=np.char.add(" ", TEXT))


def test_directions_as_columns_numbers_by_feature_and_fits_as_values_say_what_to_do() -> None:
    for call, error, told in (
        (lambda: tilt(directions=U.T), ValueError, r"2 columns but .* have 3: a direction is a row, so \.T"),
        (lambda: cm.score(DUMP, U[:1].T), ValueError, r"a direction is a row, so \.T of it"),
        (lambda: cm.score(DUMP, {"b": 1.0, "a": 2.0, "q": 0.5}), ValueError, r"by feature are a pandas\.Series of it"),
        (lambda: tilt(values=cm.fit_value_direction(DUMP, Y, folds=2, alpha=0.5)), TypeError,
         r"cm\.score\(dump, fit\) is its value of each row, out of fold"),
    ):  # fmt: skip
        with pytest.raises(error, match=told):
            call()


def test_what_to_do_about_an_index_out_of_order_gives_the_right_numbers() -> None:
    """The advice of every message about an index is followed and compared with arrays that need none."""
    pd = pytest.importorskip("pandas")
    order = np.random.default_rng(1).permutation(N)
    moved = pd.Series(Y, index=np.arange(N)).iloc[order]
    advice: list[tuple[Callable[[Any], Any], Callable[[Any], Any], Any]] = [
        (lambda y: tilt(values=y), lambda y: y.sort_index(), tilt()),
        (lambda y: tilt(values=y), lambda y: y.reset_index(drop=True), tilt(values=Y[order])),
        (lambda w: tilt(dump=PHI, prompt_ids=np.repeat(np.arange(G), M), clusters=w), lambda w: w.sort_index(),
         tilt(dump=PHI, prompt_ids=np.repeat(np.arange(G), M), clusters=np.repeat(CLUSTERS, M))),
        (lambda p: fitted(prob=p), lambda p: p.reset_index(drop=True), fitted(prob=PROB[::-1])),
    ]  # fmt: skip
    rows = pd.Series(np.repeat(CLUSTERS, M)).iloc[order]
    for given_, (call, advised, want) in zip((moved, moved, rows, pd.Series(PROB)[::-1]), advice, strict=True):
        with pytest.raises(ValueError, match=r"\.reset_index\(drop=True\)"):
            call(given_)
        np.testing.assert_allclose(call(advised(given_)), want, rtol=1e-6)


@pytest.mark.parametrize("keys", [(3, 4), ("phi_a", "phi_b")])
def test_frames_by_layer_keep_their_ids_and_must_agree(keys: Any, tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"prompt_id": IDS, "phi": list(PHI)})
    cm.write_dump(tmp_path / "a", dict.fromkeys(keys, frame))
    dump = cm.open_dump(tmp_path / "a", tensor=keys[1] if isinstance(keys[1], str) else "phi_L4")
    assert np.array_equal(dump.prompt_ids, IDS) and dump.dim == D
    other = frame.assign(prompt_id=IDS[::-1])
    with pytest.raises(ValueError, match="another prompt_id"):
        cm.write_dump(tmp_path / "b", {keys[0]: frame, keys[1]: other})


def test_a_carrier_of_prompts_by_responses_says_the_order_of_its_prompts() -> None:
    """Frames and DataArrays (G, n) carry an index of prompts; moved they went on in the order of the dump."""
    pd = pytest.importorskip("pandas")
    grid, order = Y.reshape(G, M), np.array([1, 0, 2, 3, 4, 5])
    forms: dict[str, Callable[[Any, Any], Any]] = {"pandas": lambda a, at: pd.DataFrame(a, index=at)}
    if importlib.util.find_spec("xarray") is not None:
        import xarray as xr

        forms["xarray"] = lambda a, at: xr.DataArray(a, dims=("prompt", "n"), coords={"prompt": at})
    for name, form in forms.items():
        for take in (
            lambda y: tilt(values=y), lambda y: tilt(values={"y": y}),
            lambda y: tilt(dump=cm.open_dump(PHI, prompt_ids=IDS, columns={"v": y}), values="v"),
        ):  # fmt: skip
            np.testing.assert_allclose(take(form(grid, PROMPTS)), tilt(), rtol=1e-6, err_msg=name)
            with pytest.raises(ValueError, match="rows have another prompt_id"):
                take(form(grid[order], PROMPTS[order]))
            with pytest.raises(ValueError, match="index"):
                take(form(grid[order], np.array(["a", "b", "c", "d", "e", "f"])[order]))


def test_an_xarray_is_an_array_with_names_and_labels_and_no_long_table() -> None:
    """xarray speaks Arrow too: a long table in which coordinates are columns, and so became values."""
    xr = pytest.importorskip("xarray")
    rows = xr.DataArray(PHI.reshape(G, M, D), dims=("prompt", "n", "d"), coords={"prompt": PROMPTS})
    assert np.array_equal(cm.open_dump(rows).prompt_ids, IDS)
    assert np.allclose(tilt(dump=rows), tilt())
    named = xr.DataArray(PHI, dims=("row", "d"), coords={"d": list(NAMES)})
    direction = xr.DataArray(U[0][[2, 0, 1]], dims="d", coords={"d": [NAMES[k] for k in (2, 0, 1)]})
    assert np.allclose(cm.score(named, direction, prompt_ids=IDS), PHI @ U[:1].T, atol=1e-5)
    two = xr.DataArray(
        NUMBERS[:, 3:5], dims=("row", "value"), coords={"value": ["kind", "honest"], "row": np.arange(N)}
    )
    assert cm.tilt(DUMP, U, [1.0], two).values == cm.Scores(two).names == ("kind", "honest")
    for moved in (two[::-1], two[::-1, 0]):
        with pytest.raises(ValueError, match="index"):
            tilt(values=moved)
        with pytest.raises(ValueError, match="index"):
            tilt(directions=cm.Scores(moved))
    whole = xr.Dataset({"phi": (("row", "d"), PHI), "y": ("row", Y)}, coords={"prompt_id": ("row", IDS)})
    assert np.allclose(cm.tilt(whole, U, [1.0], "y").gain_se, tilt())
    with pytest.raises(TypeError, match="begin with other dimensions"):
        cm.open_dump(xr.Dataset({"a": ("x", Y), "b": ("z", Y)}))
    with pytest.raises(TypeError, match="an axis of rows"):
        tilt(values=xr.DataArray(1.0))


def test_texts_of_other_columns_are_refused_and_pairs_are_prompt_and_response() -> None:
    found = cm.examples(DUMP, "y", n=2, texts=[("q", t) for t in TEXT])
    assert set(found.prompts) == {"q"} and list(found.responses) == list(TEXT[found.row])
    for wrong in ([{"prompt": "q", "completion": t} for t in TEXT], {"completion": "q", "text": "t"}):
        given_ = wrong if isinstance(wrong, list) else [wrong] * N
        with pytest.raises(ValueError, match="'response', and 'prompt' beside it, are wanted"):
            cm.examples(DUMP, "y", n=2, texts=given_)
    pd = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="'response'"):
        cm.examples(DUMP, "y", n=2, texts=pd.DataFrame({"completion": TEXT, "row": TEXT}))
    with pytest.raises(ValueError, match="index"):
        cm.examples(DUMP, "y", n=2, texts=pd.DataFrame({"response": TEXT, "prompt": TEXT})[::-1])


def test_masks_and_indices_of_columns_to_adjust_by_are_seen() -> None:
    pd = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="NaN"):
        tilt(adjust=np.ma.array(LOGS, mask=np.arange(N) == 3))
    with pytest.raises(ValueError, match="index"):
        tilt(adjust=pd.Series(LOGS)[::-1])
    assert np.allclose(tilt(adjust=[pd.Series(LOGS)]), tilt(adjust=LOGS))
    counts = np.ma.array([2, 4], mask=[True, False])
    for call in (
        lambda: theory.effective_rank(counts * 1.0), lambda: theory.expected_max_normal(counts),
        lambda: theory.best_of_n(DUMP, "y", "y", counts),
    ):  # fmt: skip
        with pytest.raises((ValueError, TypeError)):
            call()
    gap = np.ma.array([1.0, 2.0], mask=[True, False])
    for call in (lambda: theory.policy_direction(U[0], U, gap), lambda: theory.iterate(DUMP, U[:1], gap, Y)):
        with pytest.raises(ValueError, match="beta"):
            call()


def test_ids_of_prompts_and_responses_prove_an_order_that_an_index_only_tells_of() -> None:
    """Judgments that came back shuffled and were sorted by both ids have a moved index, and are in order."""
    pd = pytest.importorskip("pandas")
    dump = cm.open_dump(PHI, prompt_ids=IDS, columns={"y": Y, "response_id": np.tile(np.arange(M), G)})
    frame = pd.DataFrame({"prompt_id": IDS, "response_id": np.tile(np.arange(M), G), "y": Y})
    shuffled = frame.sample(frac=1.0, random_state=4).reset_index(drop=True)
    place = {p: k for k, p in enumerate(PROMPTS.tolist())}
    back = shuffled.sort_values("response_id").sort_values("prompt_id", key=lambda c: c.map(place), kind="stable")
    for take in (lambda f: tilt(dump=dump, values=f), lambda f: tilt(dump=dump, directions=cm.Scores(f))):
        np.testing.assert_array_equal(take(back), take(frame))
        for less in (shuffled, back.drop(columns="response_id"), back.iloc[np.r_[1, 0, 2:N]]):
            with pytest.raises(ValueError, match=r"index|prompt_id|response_id"):
                take(less)


def test_gold_of_a_part_of_the_rows_is_told_that_the_others_have_nan() -> None:
    pd = pytest.importorskip("pandas")
    part = pd.DataFrame({"prompt_id": IDS[::2], "y": LOGS[::2]})
    with pytest.raises(ValueError, match=r"a row without an entry has NaN \(a left merge, \.reindex\)"):
        reported(gold=part)


def test_directions_are_added_in_one_order_of_their_features() -> None:
    one, other = (cm.Directions(["x"], U[:1], source={"features": list(n)}) for n in (NAMES, NAMES[::-1]))
    assert np.allclose((one + one).vectors, 2 * U[:1]) and (one + cm.Directions(["y"], U[:1])).dim == D
    for call in (lambda: one + other, lambda: one - other):
        with pytest.raises(ValueError, match=r"other has entries for 'a', 'b', 'q' and these for 'q', 'b', 'a'"):
            call()


def test_pairs_that_are_written_keep_their_order_and_their_prompts(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"prompt_id": PROMPTS, "chosen": PAIRS[:, 0], "rejected": PAIRS[:, 1]})
    prob = pd.Series(PROB)
    for k, pairs in enumerate(
        ((PAIRS, prob), frame, {"chosen": frame.chosen, "rejected": frame.rejected, "prob": prob})
    ):
        cm.write_dump(tmp_path / str(k), PHI, prompt_ids=IDS, pairs=pairs)
        assert np.array_equal(cm.open_dump(tmp_path / str(k)).pairs["chosen"], PAIRS[:, 0])  # type: ignore[index]
    for wrong in (
        (frame[["chosen", "rejected"]], prob[::-1]), {"chosen": frame.chosen, "rejected": frame.rejected[::-1]},
        {"chosen": frame.chosen, "rejected": frame.rejected, "prob": prob[::-1]}, frame.assign(prompt_id=PROMPTS[::-1]),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"index|indices|prompt_id"):
            cm.write_dump(tmp_path / "wrong", PHI, prompt_ids=IDS, pairs=wrong)


def test_folds_of_text_and_of_numbers_do_not_merge() -> None:
    one, other = (cm.Fold(cm.stat.Tilt(U, "y", betas=[1.0]), dim=D) for _ in range(2))
    one.absorb(PHI[:M], IDS[:M], y=Y[:M])
    other.absorb(PHI[M:], IDS[M:].astype(str), y=Y[M:])
    with pytest.raises(ValueError, match="merge: prompt ids of one fold are text"):
        one.merge(other)
