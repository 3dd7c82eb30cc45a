"""What an open dump brings with its rows when it is written again: all it holds, and what is left out is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from clinometer.arrays.carriers import carried, is_array
from clinometer.arrays.coerce import as_ids
from clinometer.common.notices import tell
from clinometer.common.visible import quote

from .aligned import check_features, check_labels, same_ids
from .dump import Dump
from .opening import open_dump
from .schema import as_site

_KEPT = ("sampling", "preprocessing", "pairs", "directions", "texts", "policy")


def brought(phi: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `write_dump` with those of the dumps among `phi` where none are given; dumps must agree."""
    dumps = [d for d in (phi.values() if isinstance(phi, Mapping) else [phi]) if isinstance(d, Dump)]
    out = dict(given)
    if not dumps:
        return out
    ids = [d.prompt_ids for d in dumps if d.prompt_ids is not None]
    for other in ids[1:]:
        same_ids("phi", other, ids[0])
    if out["prompt_ids"] is None and ids:
        out["prompt_ids"] = ids[0]
    columns: dict[str, Any] = {}
    for dump in dumps:
        for name in dump.columns:
            if name in columns and not _equal(columns[name], dump.columns[name]):
                raise ValueError(f"phi holds dumps with different columns {quote(name)}; columns= says which is meant")
            columns[name] = dump.columns[name]
    own = dict(out["columns"] or {})
    out["columns"] = own | {n: c for n, c in columns.items() if n != "prompt_id" and n not in own}
    for name in _KEPT:
        held = [v for v in (getattr(d, name) for d in dumps) if v is not None]
        if out[name] is None and held:
            out[name] = {k: v for k, v in held[0].items() if k != "policy"} if name == "sampling" else held[0]
    if out["source"] is None:
        origins = [dict(d.source or {}) for d in dumps]  # the layer is told by the name of the tensor
        alike = {k: v for k, v in origins[0].items() if all(o.get(k) == v for o in origins)}
        out["source"] = alike or None
    elif (names := {d.features for d in dumps}) != {None} and len(names) == 1:
        out["source"] = {"features": list(names.pop() or ()), **out["source"]}
    written = {as_site(key, 1, "float32").name for key in phi} if isinstance(phi, Mapping) else set()
    left = sorted({n for d in dumps for n in (*d.extras, *d.left_out)} - written)
    if left:
        tell(
            f"phi: {', '.join(map(quote, left[:8]))}{' and others' if len(left) > 8 else ''} of the dump are not rows "
            "or columns and are left out; clinometer convert keeps every tensor that can be rows",
            stacklevel=3,
        )
    return out


def check_order(phi: Any, n_rows: int, prompt_ids: Any, columns: Mapping[str, Any], pairs: Any = None) -> None:
    """Refuse ids and columns, and tensors, with another index than the rows beside them, and pairs of other prompts."""
    dumps = [d for d in (phi.values() if isinstance(phi, Mapping) else [phi]) if isinstance(d, Dump)]
    labels = [d.labels for d in dumps if d.labels is not None]
    for other in labels[1:]:
        same_ids("phi", other, labels[0], "label in its index")
    rows, ids = Dump((), n_rows, 1, "float32", name="phi", labels=labels[0] if labels else None), None
    if prompt_ids is not None:
        check_labels("prompt_ids", held := carried(prompt_ids, "prompt_ids"), rows, None)
        ids = as_ids(held, "prompt_ids", n_rows)
    for name, value in columns.items():
        check_labels(called := f"columns[{quote(name)}]", carried(value, called), rows, ids)
    given = carried(pairs, "pairs").columns if isinstance(pairs, Mapping) or is_array(pairs) else None
    if ids is not None and given and {"prompt_id", "chosen"} <= set(given) and given["chosen"].dtype.kind in "iu":
        at = given["chosen"] % max(n_rows, 1)  # those outside are refused where pairs are written
        same_ids("pairs", as_ids(given["prompt_id"], "pairs, column 'prompt_id'", len(at)), ids[at])


def check_responses(phi: Any, columns: Mapping[str, Any], n_rows: int) -> None:
    """Refuse a table of columns whose responses are not those of the rows; a mapping may give others on purpose."""
    if isinstance(phi, Dump) and "response_id" in columns and phi.has_column("response_id"):
        own = as_ids(columns["response_id"], "columns['response_id']", n_rows)
        same_ids("columns", own, phi.column("response_id"), "response_id")


def opened(phi: Any) -> Any:
    """A frame as a dump of its rows, ids and columns: stacked as it is, its ids would be features."""
    kind = type(phi).__module__.partition(".")[0]
    if isinstance(phi, Mapping):
        return {key: opened(rows) for key, rows in phi.items()}
    if (kind == "numpy" and phi.dtype.names is None) or kind == "torch" or isinstance(phi, Dump):
        return phi
    return open_dump(phi) if is_array(phi) and carried(phi, "phi").columns is not None else phi


def rows_of(phi: Any) -> Any:
    """Rows to be written, under the name of their tensor where it tells the layer."""
    told = isinstance(phi, Dump) and phi.tensor is not None and phi.candidates[phi.tensor].layer is not None
    return {phi.tensor: phi} if told else phi


def with_batch(phi: Any, prompt_ids: Any, texts: Any, columns: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """Ids, texts and columns of a batch, with those of a dump given as its rows."""
    given = {"prompt_ids": prompt_ids, "columns": columns, "texts": texts, "source": {}}
    out = brought(phi, given | {name: False for name in _KEPT if name != "texts"})
    return out["prompt_ids"], out["texts"], out["columns"]


def check_said(phi: Any, said: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse a dump whose model, position or policy the writer, whose word is kept, does not say too."""
    if not isinstance(phi, Dump):
        return
    check_features(phi.features, said["source"].get("features"), "phi")
    theirs = {**said["source"], "policy": said["sampling"].get("policy")}
    for key, own in {**phi.origin, "policy": phi.policy}.items():
        if own is None or key not in ("model", "position", "policy"):
            continue
        if theirs.get(key) is None:
            raise ValueError(f"phi is a dump of {key} {quote(own)}, which the writer would lose: say it to DumpWriter")
        if str(theirs[key]) != str(own):
            raise ValueError(f"phi is a dump of {key} {quote(own)} but the writer's is {quote(theirs[key])}")


def _equal(a: Any, b: Any) -> bool:
    floats = a.dtype.kind == "f" and b.dtype.kind == "f"
    return bool(np.array_equal(a, b, equal_nan=True) if floats else np.array_equal(a, b))
