# SPDX-License-Identifier: Apache-2.0
"""Tensor bundles: the safetensors bytes that carry bulk learning data between nodes.

A bundle has a kind, named arrays and a JSON-able ``meta``. What arrives is checked against the table SPECS
before it is used: kind, schema, names, dtypes, shapes (dimensions of one name agree), and total size.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from safetensors.numpy import save

from erl_vlm_ros.common.errors import DataError

SCHEMA = 1
MAX_HEADER = 1 << 20  # bytes
MAX_TOTAL = 256 << 20  # bytes
MAX_ARRAYS = 256
RUN = "run"  # key of meta: the id of the run that a bundle belongs to
_DTYPES = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8"), "U8": np.dtype("u1")}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}

_FRAMES = {"jpeg": ("U8", ("B",)), "jpeg_offsets": ("I64", ("N*H+1",))}
_SEGMENTS = {
    **_FRAMES,
    "proprio": ("F32", ("N", "H", "P")),
    "actions": ("F32", ("N", "H", "A")),
    "stamps": ("I64", ("N", "H")),
}
_EXTRAS = {"extras": ("F32", ("N", "H", "K"))}
_VIEWS = {"views": ("U8", ("V",)), "views_offsets": ("I64", ("W",))}  # of further cameras: data.views
# kind -> array name -> (dtype, dimensions); a dimension is a name, or products and sums of names and numbers.
# None: names are free and every array is float32 or int64 (network weights).
SPECS: dict[str, dict[str, tuple[str, tuple[str, ...]]] | None] = {
    "episode": {
        "observations": ("F32", ("T+1", "O")),
        "actions": ("F32", ("T", "A")),
        "stamps": ("I64", ("T+1",)),
        "jpeg": ("U8", ("B",)),
        "jpeg_offsets": ("I64", ("T+2",)),
        "intervention": ("U8", ("T",)),
        "extras": ("F32", ("T+1", "K")),
    },
    "queries": _SEGMENTS,  # N segments, of all queries one after the other
    "labels": {**_SEGMENTS, "labels": ("I64", ("M",))},  # M queries
    "segments": _SEGMENTS,  # what version 0.1 called queries: in its checkpoints
    "notes": {},
    "actor": None,
    "reward_model": None,
}
# kind -> arrays that may be left out
OPTIONAL: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {
    "episode": _VIEWS,
    "queries": {**_EXTRAS, **_VIEWS},
    "labels": {**_EXTRAS, **_VIEWS, "probabilities": ("F32", ("M", "C")), "audited": ("U8", ("M",))},
    "segments": _EXTRAS,
    "notes": {"rewards": ("F32", ("T",)), "ratings": ("I64", ("F",))},
}


class BundleError(DataError):
    """Bytes or arrays that are not the bundle they should be; ``field`` is for instance ``episode.actions``."""


@dataclass
class Bundle:
    """Named arrays (float32, int64 or uint8) with JSON-able meta. ``kind`` is a key of SPECS."""

    kind: str
    arrays: dict[str, np.ndarray]
    meta: dict[str, Any] = field(default_factory=dict)


def encode(bundle: Bundle) -> bytes:
    """Serialise. BundleError when the bundle breaks its own spec, so a sender never sends a bad one."""
    arrays = {name: np.ascontiguousarray(array) for name, array in bundle.arrays.items()}
    for name, array in arrays.items():
        if array.dtype not in _CODES:
            raise BundleError(
                f"{bundle.kind}.{name}: dtype {array.dtype} is not one of float32, int64, uint8",
                field=f"{bundle.kind}.{name}.dtype",
            )
    _check(bundle.kind, {name: (_CODES[a.dtype], a.shape) for name, a in arrays.items()})
    total = sum(a.nbytes for a in arrays.values())
    if total > MAX_TOTAL:
        raise BundleError(
            f"{bundle.kind}: {total} bytes is above the limit of {MAX_TOTAL}", field=f"{bundle.kind}.size"
        )
    metadata = {"kind": bundle.kind, "schema": str(SCHEMA), "meta": json.dumps(bundle.meta, sort_keys=True)}
    data = save(arrays, metadata=metadata)
    if int.from_bytes(data[:8], "little") > MAX_HEADER:
        raise BundleError(
            f"{bundle.kind}: names and meta need more than {MAX_HEADER} bytes", field=f"{bundle.kind}.meta"
        )
    return data


def decode(data: Any, kind: str) -> Bundle:
    """Read bytes (any buffer) as a bundle of ``kind``. The arrays are copies, writable, in C order.

    Raises:
        BundleError: not safetensors, another kind or schema, or anything that SPECS does not allow.
    """
    view = memoryview(data).cast("B")
    size = len(view)
    if size > MAX_TOTAL + MAX_HEADER + 8:
        raise BundleError(f"{kind}: {size} bytes is above the limit of {MAX_TOTAL}", field=f"{kind}.size")
    if size < 8:
        raise BundleError(f"{kind}: {size} bytes is too short for a tensor bundle", field=f"{kind}.size")
    header_size = int.from_bytes(view[:8], "little")
    if header_size > MAX_HEADER or header_size > size - 8:
        raise BundleError(
            f"{kind}: header length {header_size} does not fit {size} bytes (limit {MAX_HEADER})",
            field=f"{kind}.header.length",
        )
    try:
        header = json.loads(bytes(view[8 : 8 + header_size]))
        metadata = header.pop("__metadata__")
        found, schema, meta = metadata["kind"], metadata["schema"], _meta(metadata["meta"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(
            f"{kind}: unreadable header: {type(error).__name__}: {error}", field=f"{kind}.header"
        ) from error
    if found != kind:
        raise BundleError(f"expected a bundle of kind '{kind}', got '{str(found)[:40]}'", field="kind")
    if schema != str(SCHEMA):
        raise BundleError(
            f"{kind}: schema {str(schema)[:20]}, this package reads schema {SCHEMA}; update the older machine",
            field=f"{kind}.schema",
        )
    if not isinstance(meta, dict):
        raise BundleError(f"{kind}: meta is not a mapping", field=f"{kind}.meta")
    layout = _layout(kind, header, size - 8 - header_size)
    _check(kind, {name: (code, shape) for name, (code, shape, _) in layout.items()})
    body = view[8 + header_size :]
    arrays = {}
    for name, (code, shape, begin) in layout.items():
        count = math.prod(shape)
        arrays[name] = (
            np.frombuffer(body, _DTYPES[code], count, begin).reshape(shape).copy()
            if count
            else np.empty(shape, _DTYPES[code])
        )
    return Bundle(kind, arrays, meta)


def _meta(text: str) -> Any:
    """JSON whose numbers fit 64 bits and whose texts are Unicode: no NaN, no lone surrogates. Raises ValueError."""
    meta = json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=_finite)
    json.dumps(meta, ensure_ascii=False).encode()
    return meta


def _whole(text: str) -> int:
    value = int(text) if len(text) <= 20 else 1 << 64
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"the whole number {text[:24]} does not fit 64 bits")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:24]} is not finite")
    return value


def with_run(bundle: Bundle, run_id: str) -> Bundle:
    """The bundle with the id of the run that it belongs to; an empty id says nothing."""
    return Bundle(bundle.kind, bundle.arrays, bundle.meta | {RUN: run_id}) if run_id else bundle


def check_run(bundle: Bundle, run_id: str) -> None:
    """BundleError for a bundle of another run than ``run_id``; where either is not known, it passes."""
    other = bundle.meta.get(RUN, "")
    if run_id and other and other != run_id:
        raise BundleError(
            f"{bundle.kind}: of another run ({str(other)[:40]}), this is {run_id}; give each its own domain",
            field=f"{bundle.kind}.{RUN}",
        )


def _layout(kind: str, header: dict[str, Any], body_size: int) -> dict[str, tuple[str, tuple[int, ...], int]]:
    """Check the header; returns name -> (dtype code, shape, first byte). Entries must tile the body."""
    if len(header) > MAX_ARRAYS:
        raise BundleError(f"{kind}: {len(header)} arrays is above the limit of {MAX_ARRAYS}", field=f"{kind}.arrays")
    layout, spans = {}, []
    for name, entry in header.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise BundleError(f"{kind}.{name[:64]}: malformed header entry", field=f"{kind}.{name[:64]}")
        code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(code, str) or code not in _DTYPES:
            raise BundleError(
                f"{kind}.{name[:64]}: dtype {str(code)[:20]} is not one of {', '.join(_DTYPES)}",
                field=f"{kind}.{name[:64]}.dtype",
            )
        if not _sizes(shape, 6) or not _sizes(offsets, 2) or len(offsets) != 2:
            raise BundleError(
                f"{kind}.{name[:64]}: shape and offsets must be short lists of whole numbers >= 0",
                field=f"{kind}.{name[:64]}.shape",
            )
        if math.prod(shape) * _DTYPES[code].itemsize != offsets[1] - offsets[0]:
            raise BundleError(
                f"{kind}.{name[:64]}: shape {shape} of {code} does not fill bytes {offsets}",
                field=f"{kind}.{name[:64]}.data_offsets",
            )
        spans.append(tuple(offsets))
        layout[name] = (code, tuple(shape), offsets[0])
    at = 0
    for begin, end in sorted(spans):
        if begin != at:
            raise BundleError(f"{kind}: array data overlap or leave a gap at byte {at}", field=f"{kind}.offsets")
        at = end
    if at != body_size:
        raise BundleError(f"{kind}: arrays cover {at} of {body_size} bytes", field=f"{kind}.body")
    return layout


def _sizes(values: Any, longest: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) <= longest
        and all(type(v) is int and 0 <= v <= MAX_TOTAL for v in values)
    )


def _check(kind: str, found: dict[str, tuple[str, tuple[int, ...]]]) -> None:
    """Compare names, dtypes and shapes with the kind's spec."""
    if kind not in SPECS:
        raise BundleError(f"unknown bundle kind '{str(kind)[:40]}'; known: {', '.join(SPECS)}", field="kind")
    spec = SPECS[kind]
    if spec is None:
        for name, (code, _) in found.items():
            if code == "U8" or not name.isascii() or not 0 < len(name) <= 64:
                raise BundleError(
                    f"{kind}.{name[:64]}: weights are float32 or int64 under an ASCII name of 1-64 letters",
                    field=f"{kind}.{name[:64]}",
                )
        return
    spec = spec | {name: entry for name, entry in OPTIONAL.get(kind, {}).items() if name in found}
    if set(found) != set(spec):
        missing, unknown = set(spec) - set(found), set(found) - set(spec)
        raise BundleError(
            f"{kind}: missing arrays {sorted(missing)}, unknown arrays {sorted(n[:64] for n in unknown)}",
            field=f"{kind}.{min(missing | unknown)[:64]}",
        )
    sizes: dict[str, int] = {}
    for name, (code, dims) in spec.items():
        got_code, shape = found[name]
        if got_code != code or len(shape) != len(dims):
            raise BundleError(
                f"{kind}.{name}: expected {code} [{', '.join(dims)}], got {got_code} {list(shape)}",
                field=f"{kind}.{name}",
            )
        sizes.update({d: n for d, n in zip(dims, shape) if d.isalpha() and d not in sizes})
    for name, (_, dims) in spec.items():
        want = tuple(_evaluate(d, sizes) for d in dims)
        if found[name][1] != want:
            raise BundleError(
                f"{kind}.{name}: shape {list(found[name][1])} should be [{', '.join(dims)}] = {list(want)}",
                field=f"{kind}.{name}.shape",
            )


def _evaluate(expression: str, sizes: dict[str, int]) -> int:
    """A sum of products of names and numbers, such as ``N*H+1``."""
    return sum(
        math.prod(int(f) if f.isdigit() else sizes[f] for f in term.split("*")) for term in expression.split("+")
    )
