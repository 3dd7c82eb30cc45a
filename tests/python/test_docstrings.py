"""What the docstrings of the public names say is there and true, and their examples run.

A function says shapes, units, errors, cost, source and an example; a result says of every field what it is, with its
shape. `BROKEN` holds calls with one wrong argument: what they raise must be named in the function's docstring.
"""

from __future__ import annotations

import builtins
import dataclasses
import doctest
import functools
import importlib
import importlib.util
import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_tabular import _classes

import clinometer as cm
from clinometer.common.results import Result

MODULES = (
    "clinometer", "theory", "lp", "inference", "fit", "stat", "plot", "values", "reference", "errors", "trl", "sklearn",
)  # fmt: skip
NEEDS = {"trl": "trl", "sklearn": "sklearn", "plot": "matplotlib"}


def _module(name: str) -> Any:
    where = {"clinometer": "clinometer", "stat": "clinometer.engine.stat"}.get(name, f"clinometer.{name}")
    return importlib.import_module(where)


def _public() -> dict[str, Any]:
    """Every public name by its shortest path, modules and types of annotations left out."""
    found: dict[str, Any] = {}
    for module in MODULES:
        if importlib.util.find_spec(NEEDS.get(module, "numpy")) is None:
            continue
        home = _module(module)
        prefix = "" if module == "clinometer" else f"{module}."
        more = ("covariance_projection", "cross_covariance") if module == "clinometer" else ()
        for name in (*home.__all__, *more):
            what = getattr(home, name)
            if inspect.isroutine(what) or inspect.isclass(what):
                found[prefix + name] = what
    del found["errors.bad"]  # readers of formats raise with it
    return found


PUBLIC = _public()
RESULTS = {**_classes(), **{n.split(".")[-1]: c for n, c in PUBLIC.items() if dataclasses.is_dataclass(c)}}
TOOLS = {"Adjust", "Directions", "Dump", "DumpWriter", "Fold", "ForecastCallback", "Scores", "ValueProbe"}
CALLED = {
    n: f for n, f in PUBLIC.items()
    if inspect.isroutine(f) or n.split(".")[-1] in TOOLS or (n.startswith("stat.") and not issubclass(f, Result))
}  # fmt: skip
del CALLED["stat.Statistic"]  # the base of the others

# what a docstring says, how it shows, and whom it does not concern
NUMBERS = "values.names values.tokens values.register"
TEXTS = f"{NUMBERS} theory.toy_example theory.wendel_probability values.text_function "
TEXTS += "values.found_in_texts values.probability trl.trainer_beta trl.policy_beta"
FILES = "Dump Directions Scores DumpWriter Fold open_dump write_dump merge scan capture judge"
SAYS = {
    "shapes": (
        r"^(?! *>>>| *\.\.\.).*\((?:[A-Z]|[dnmk]|\.\.\.)(?:, ?\w+)*,?\)",
        f"compare merge Fold DumpWriter plot. {TEXTS} theory.pooled_versus_within",
    ),
    "units": (
        r"\bnats?\b|\bsd\b|\bunits?\b|correlation|log-prob|bytes|float(16|32|64)|share|chance|radians|\bshares?\b|"
        r"[Pp]robabilit|cosine|fraction|number|1/beta|angle|R\^2|rank",
        f"compare values.found_in_texts inference.Adjust theory.classify theory.pooled_versus_within lp.pareto_front "
        f"trl.preferences "
        f"reference. {NUMBERS}",
    ),
    "errors": (
        r"\b[A-Z]\w*(Error|Failed)\b",
        "reference. theory.toy_example values.names Dump",
    ),
    "cost": (r"(?i)\bcosts?\b|memory", "reference. plot."),
    "source": (r"[Tt]heory \d|\b(19|20)\d\d\b", f"{FILES} values. trl. sklearn. lp.solve inference.Adjust"),
    "example": (r">>>|::\n", ""),
}


@pytest.mark.parametrize("name", CALLED)
@pytest.mark.parametrize("what", SAYS)
def test_the_docstring_says(name: str, what: str) -> None:
    shows, others = SAYS[what]
    spared = any(name == o or (o.endswith(".") and name.startswith(o)) for o in others.split())
    assert spared or re.search(shows, inspect.getdoc(CALLED[name]) or "", re.M)


def test_no_public_module_is_left_out() -> None:
    """`distributed` has functions of the top level under their names, and says what those say; two names are old."""
    home = Path(cm.__file__).parent
    files = {p.stem for p in home.glob("*.py") if not p.stem.startswith("_")} - {"distributed", "passes", "foldfile"}
    rooms = {name for name in cm.__all__ if inspect.ismodule(getattr(cm, name))} - {"distributed"}
    assert (files | rooms) - set(MODULES) == set()
    spread = _module("distributed")
    for name in spread.__all__:
        assert inspect.getdoc(PUBLIC[name]) in (inspect.getdoc(getattr(spread, name)) or "")


def test_every_public_method_says_what_it_does() -> None:
    classes = {**{n: c for n, c in PUBLIC.items() if inspect.isclass(c)}, **RESULTS}
    methods = {
        f"{n}.{m}": getattr(c, m)
        for n, c in classes.items()
        for m, what in vars(c).items()
        if not m.startswith("_") and (inspect.isroutine(what) or isinstance(what, property | functools.cached_property))
    }
    assert len(methods) > 100
    assert [name for name, what in methods.items() if len(inspect.getdoc(what) or "") < 2] == []


def test_no_exception_outlives_its_reason() -> None:
    spare = [
        f"{what}: {name}"
        for what, (shows, others) in SAYS.items()
        for name in others.split()
        if name in CALLED and re.search(shows, inspect.getdoc(CALLED[name]) or "", re.M)
    ]
    assert spare == []


def test_every_parameter_is_described() -> None:
    """By its name; `dump` and the options of passes are described once, and a first argument by its shape."""
    from clinometer.common.options import PASS_OPTIONS

    shared = {*PASS_OPTIONS, "self", "dump", "options", "policy", "args", "kwargs", "ax", "phi"}
    missing = []
    for name, what in CALLED.items():
        text = inspect.getdoc(what) or ""
        of_base = {"directions", "values"} if name.startswith("stat.") else set()
        for p in () if name == "Dump" or name.startswith("reference.") else inspect.signature(what).parameters:
            if p not in shared | of_base and not re.search(rf"\b{p}\b", text) and not p.startswith("_"):
                missing.append(f"{name}({p})")
    assert missing == []


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_says_what_each_field_is_and_its_shape(name: str) -> None:
    text = inspect.getdoc(RESULTS[name]) or ""
    common = set(re.findall(r"\w+", " ".join(re.findall(r"^([\w, ]+) :", inspect.getdoc(Result) or "", re.M))))
    assert {"betas", "n_rows", "fit_status"} <= common
    fields = {f.name for f in dataclasses.fields(RESULTS[name]) if not f.name.startswith("_")} - common
    if name.startswith(("Dump", "Scores")) or RESULTS[name].__module__.endswith("engine.stat"):
        fields -= {"directions", "values", "labels", "grid", "candidates", "tensor", "truth", "texts"}
    assert [f for f in sorted(fields) if not re.search(rf"\b{f}\b", text)] == []
    shapes = re.findall(r"\(((?:\w+|\.\.\.)(?:, ?\w+)*,?)\)", text.replace("min(n, d)", "q"))
    ranks = {len([axis for axis in shape.split(",") if axis.strip()]) for shape in shapes}
    axes: dict[str, str] = getattr(RESULTS[name], "axes", {})
    needed = {dims: len(dims.replace("problem? ", "").replace("problem?", "").split()) for dims in axes}
    assert [dims for dims, n in needed.items() if n not in ranks | {0} and set(axes[dims].split()) - common] == []


def test_the_errors_that_docstrings_name_exist() -> None:
    named = {e for what in PUBLIC.values() for e in re.findall(r"\b[A-Z]\w+Error\b", inspect.getdoc(what) or "")}
    assert {e for e in named if not hasattr(builtins, e) and not hasattr(cm.errors, e)} <= {"NotFittedError"}


# one wrong argument each; W is a simulated dump of 60 prompts of 8 responses, of 4 dimensions
BROKEN = """
inference.to_arviz(W, 'judge/c0', 1.0, kl=0.1)
theory.best_of_n(0, 0.5, 1.0)
theory.best_of_n(2, 1.5, 1.0)
theory.best_of_n(W, 'judge/c0', 's')
theory.ceiling_by_layer(W, 's')
theory.class_probabilities([1.0, 2.0], [[1.0]])
theory.class_probabilities([1.0, 2.0], [[1.0, 2], [2, 1]])
theory.classify([nan])
theory.classify([1.0], se=[-1.0])
theory.complementarity([1.0, 2], [1.0], [1.0, 2])
theory.complementarity('judge/c0', 'judge/c1', 's')
theory.complementarity('nope', 'judge/c1', 's', dump=W)
theory.cumulants(W, 'judge/c0', 's', q=0)
theory.cumulants(W, 'judge/c0', 'nope')
theory.drifting_projection([-1], step=0.1)
theory.drifting_projection([1.5], step=0.1)
theory.effective_rank([1.0, -1.0])
theory.effective_rank([1.0], threshold=0)
theory.ensembles(W, ['judge/c0', 'judge/c1'], [0.5, 0.6], 's')
theory.ensembles(W, ['judge/c0', 'judge/c1'], [0.5], 's')
theory.expected_max_normal(0)
theory.expected_max_normal(1.5)
theory.gain_kl_frontier(W, 'judge/c0', 's', kl=[-1])
theory.gain_kl_frontier(W, 'judge/c0', 's', z=-1)
theory.gaussian_tilt([1.0], None, [1.0], 0.0)
theory.gaussian_tilt([1.0], None, [1.0, 2.0], 1.0)
theory.generation_judgment_gap([1.0, 0], [1.0], [1.0, 0])
theory.generation_judgment_gap('s', 'judge/c0', 'logprob')
theory.generation_share(W, 's', level=1.5)
theory.generation_share(W, 's', 'nope')
theory.iterate(W, 'judge/c0', 0, 's')
theory.iterate(W, ['judge/c0', 'judge/c1'], 1.0, 's', rounds=3)
theory.judge_ceiling(W, 'judge/c0', 's', beta=0)
theory.judge_ceiling(W, 'nope', 's')
theory.judge_drift([W], 'judge/c0', 's')
theory.judge_drift([W, W], 'judge/c0', 's', fits={'nope': 1})
theory.labeler_scaling({'a': W}, 'judge/c0', 's')
theory.learning_curve(W, [[0, 8]], [1.0], 's')
theory.learning_curve(W, [[0, 1]], [2.0], 's')
theory.nonlinear_encoding(W, 's', folds=2)
theory.nonlinear_encoding(W, 's', features='nope')
theory.optimal_direction([[1.0, 0]], None, [1.0, 2.0])
theory.optimal_direction([[1.0, 0]], None, [1.0], metric='nope')
theory.orthonormal_alpha(['a'])
theory.pareto_fraction([[1.0, 2.0, 3.0]])
theory.pareto_fraction([[1.0, 2.0], [0, 1.0]])
theory.pareto_fraction([[1.0]], n_points=0)
theory.value_concentration([1.0, 0], [[1.0, 0], [0, 1]], 1, draws=0)
theory.learning_curve(W, np.arange(480).reshape(-1, 2), np.ones(240), 's', ridge=-1)
theory.policy_direction([1.0], [1.0, 2.0], 1.0)
theory.policy_direction([1.0], [1.0], 0.0)
theory.pooled_versus_within(n_prompts=1)
theory.quadratic_tilt([1.0], 1.0, 0.0, None, [1.0], [0.0])
theory.quadratic_tilt([1.0, 2.0], 1.0, 0.0, None, [1.0], [1.0])
theory.randomised_spectrum(lambda u: u, 4)
theory.randomised_spectrum(W, 0)
theory.robustness_radius([1.0], [1.0, 2.0])
theory.robustness_radius([1.0], [1.0], metric='nope')
theory.scalarise([1.0, 2.0], kind='nope')
theory.scalarise([1.0, 2.0], weights=[1.0])
theory.scalarise([1.0, 2.0], kind='constrained')
theory.score_correlation([1.0], [1.0, 2.0])
theory.score_correlation([1.0], [1.0], [[1.0, 2.0]])
theory.screen(W, np.ones((3, 4)), 's', fdr=0)
theory.screen(W, np.ones((3, 5)), 's')
theory.shift_rank([[1.0]], [[1.0], [2.0]])
theory.shift_rank(np.ones((4, 2)), np.zeros((4, 2)), threshold=0)
theory.shift_rank(np.full((4, 2), nan), np.zeros((4, 2)))
theory.tradeoff_profile([1.0], None, [1.0, 2.0])
theory.tradeoff_profile([nan], None, [1.0])
theory.value_angles([1.0, 2.0], [[1.0]])
theory.value_concentration([1.0], [[1.0, 0], [0, 1]])
theory.value_concentration([1.0, 0], [[1.0, 0], [0, 1]], 3)
theory.wendel_probability(0, 1)
theory.wendel_probability(1, 0)
theory.worst_direction([1.0], None, [[1.0, 2.0]])
theory.worst_direction([1.0], metric='nope')
lp.cone([1.0])
lp.cone([[nan]])
lp.constrained([[1.0]], [1.0, 2.0], [0.0])
lp.constrained([[1.0]], [nan], [0.0])
lp.ensemble([[nan]])
lp.ensemble([[1.0]], scale_rows=[0.0])
lp.game(W, np.ones((3, 5)), 's')
lp.game(W, np.ones((3, 4)), 's', scale='nope')
lp.gram_cone([[1.0, 2.0]])
lp.gram_cone([[nan]])
lp.pareto(W, ['judge/c0'], 's', splits=0)
lp.pareto(W, ['judge/c0'], 'nope')
lp.pareto_front([1.0])
lp.pareto_front([[nan]])
lp.prompt([[1.0]], ratio_cap=0.5)
lp.prompt([[1.0]], kl=-1)
inference.Adjust('n_tokens', method='nope')
inference.baselines(W, ['nope'], 's')
inference.baselines(W, ['judge/c0'], 's', folds=1)
inference.benjamini_hochberg([2.0])
inference.holm([2.0])
inference.gain_intervals(W, 'judge/c0', [1.0], 's', kl=[0.1])
inference.gain_intervals(W, 'judge/c0', [1.0], 's', level=0)
inference.null_band(W, 's', draws=0)
inference.null_band(W, 's', kl=[-1])
inference.ppi_gain(W, 'judge/c0', values='s', gold=np.ones(3))
inference.ppi_gain(W, 'judge/c0', values='s', gold='nope')
inference.recommend(W, ['judge/c0'], 's', splits=0)
inference.recommend(W, ['judge/c0'], 's', weights=[-1])
cm.fit_value_direction(W, 's', method='nope')
cm.fit_value_direction(W, 's', alpha=-1)
cm.fit_generation_direction(W, 'logprob', folds=1)
cm.fit_generation_direction(W, 'nope')
cm.fit_preference_direction(W, [[0, 8]], [1.0])
cm.fit_preference_direction(W, [[0, 1]], [2.0])
cm.scan(W, stat.Tilt('judge/c0'))
cm.scan(W, stat.Tilt('judge/c0', betas=[-1.0]))
cm.Directions(['a'], [[1.0], [2.0]])
cm.Directions(['a', 'a'], [[1.0], [2.0]])
cm.Scores([['a']])
cm.Scores([1.0], names=['a', 'b'])
cm.Fold(dim=1)
cm.Fold(cm.stat.Moments(), dim=0)
cm.Fold(cm.stat.Moments(), dim=1, start_row=5)
cm.merge()
cm.merge(b'x')
cm.open_dump('nowhere')
cm.open_dump(W, layer=3)
cm.open_dump(np.ones((2, 2)), prompt_ids=[1])
cm.open_dump(1)
cm.compare(W, W, 'nope')
cm.compare(W, cm.simulate(3, 4, 4), 's')
cm.examples(W, ['judge/c0', 'judge/c1'])
cm.examples(W, 'judge/c0', n=0)
cm.examples(NANX, [[1.0]], prompt_ids=[0, 0])
cm.report(W, values='nope')
cm.report(W, values=['s'], kl=[-1])
cm.report(NANX, values=[1.0, 2.0], prompt_ids=[0, 0])
cm.simulate(0)
cm.simulate(rho2=2)
cm.pareto_cone([[1.0]], metric='nope')
cm.pareto_cone([[nan]])
cm.pareto_cone()
cm.cross_covariance(W, 'judge/c0', 'nope')
cm.cross_covariance(W, 'judge/c0', 's', ddof=3)
cm.covariance_projection(W, np.ones((1, 5)))
cm.covariance_projection(W, np.ones((1, 4)), ddof=2)
cm.judge('m', None, W, {'a': 'b'})
cm.write_dump('x', np.ones((1, 1)), dtype='nope')
cm.write_dump('x', np.full((1, 1), 1000000.0), dtype='float16')
cm.DumpWriter('x', dim=0, dtype='float32')
cm.DumpWriter('x', dim=1, dtype='float32', part=(3, 2))
cm.moments(W, ddof=3)
cm.moments(NANX, prompt_ids=[0, 0])
cm.score(W, np.ones((1, 5)))
cm.tilt(W, 'judge/c0', [1.0], 's', kl=[0.1])
cm.tilted_mean(W, 'judge/c0', [-1.0])
cm.scan(W, 1)
cm.capture('m', None, ['a'], layers=1, out='x')
cm.scan(W, stat.CovarianceProjection())
cm.scan(W, stat.CovarianceProjection('judge/c0'))
cm.scan(W, stat.CrossCovariance('judge/c0', 'nope'))
cm.scan(W, stat.Moments(ddof=2))
cm.scan(W, stat.Pairs(np.ones((1, 4)), pairs=[[0, 8]], prob=[1.0]))
cm.Fold(stat.Scores([[1.0]]), dim=1)
lp.solve([1.0], [[1.0, 2.0]])
plot.cone(1)
plot.cone(cm.pareto_cone([[1.0, 0.0], [0.0, 1.0]]), values=['a'])
plot.frontier(1)
plot.frontier(cm.tilt(W, 'judge/c0', [1.0], 's'), value='nope')
plot.iterate(1)
plot.layers(1)
plot.prompts(1)
plot.spectrum('a')
plot.spectrum([0.0])
plot.tradeoffs('a')
plot.tradeoffs([[1.0]], values=['a', 'b'])
values.found_in_texts(W, ['words'])
values.register('', len)
values.register('a', 1)
values.text_function('nope')
values.text_function(1)
values.text_values(W, ['words'])
values.text_values(np.zeros((1, 1)), [lambda t: 'x'], texts=['a'])
values.tokens(1)('a')
"""


def _whose(call: str) -> str:
    inner = re.search(r"scan\(W, (stat\.\w+)\(|Fold\((stat\.\w+)\(\[", call)
    return next(g for g in inner.groups() if g) if inner else call.split("(")[0].removeprefix("cm.")


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    world = cm.simulate(60, 8, 4, random_state=1)
    rooms = {m: _module(m) for m in MODULES[1:-2] if importlib.util.find_spec(NEEDS.get(m, "numpy"))}
    return {**rooms, "cm": cm, "np": np, "nan": float("nan"), "W": world, "NANX": np.array([[0.0], [float("nan")]])}


@pytest.mark.parametrize("call", BROKEN.strip().split("\n"))
@pytest.mark.filterwarnings("ignore")
def test_the_docstring_names_what_a_wrong_argument_raises(call: str, names: dict[str, Any], tmp_path: Any,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    if call.split(".")[0] in NEEDS and call.split(".")[0] not in names:
        pytest.skip(f"{call.split('.')[0]} needs an extra")
    with pytest.raises(Exception) as raised:
        eval(call, names)
    said = set(re.findall(r"\b[A-Z]\w+Error\b", inspect.getdoc(CALLED[_whose(call)]) or ""))
    assert {c.__name__ for c in type(raised.value).__mro__} & said, f"{raised.value!r}, said: {said}"
    assert str(raised.value).strip()


def test_every_name_that_says_its_errors_is_called_wrongly() -> None:
    tried = {_whose(call) for call in BROKEN.strip().split("\n")}
    others = (
        "fit.",
        "trl.",
        "sklearn.",
        "values.probability",
    )  # the first stand at the top level, the rest want extras
    says = {n for n, what in CALLED.items() if re.search(SAYS["errors"][0], inspect.getdoc(what) or "")}
    assert {n for n in says - tried if not n.startswith(others)} == set()


@pytest.mark.parametrize("name", [n for n in PUBLIC if not n.startswith(("trl.", "capture", "judge"))])
def test_the_example_runs(name: str) -> None:
    """Those of `trl`, `capture` and `judge` want a model; a result without one stands in its function's."""
    what = PUBLIC[name]
    held = vars(importlib.import_module(what.__module__)).copy()
    test = doctest.DocTestParser().get_doctest(inspect.getdoc(what) or "", held, name, None, 0)
    runner = doctest.DocTestRunner()
    runner.run(test)
    assert runner.failures == 0 and (runner.tries > 0 or name not in CALLED or "+SKIP" in (inspect.getdoc(what) or ""))


def test_a_result_without_an_example_is_given_by_a_function_that_has_one() -> None:
    given = {
        word
        for what in [
            *CALLED.values(),
            *(m for c in RESULTS.values() for m in vars(c).values() if inspect.isfunction(m)),
        ]
        for word in re.findall(r"\w+", f"{inspect.signature(what).return_annotation} {inspect.getdoc(what)}")
    }
    kept = {w for c in RESULTS.values() for f in dataclasses.fields(c) for w in re.findall(r"\w+", str(f.type))}
    without = {
        n for n, c in RESULTS.items() if c.__module__.count("reference") == 0 and ">>>" not in (inspect.getdoc(c) or "")
    }
    assert sorted(without - given - kept) == ["Statistic"]  # the base of the others
