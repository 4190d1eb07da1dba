# SPDX-License-Identifier: Apache-2.0
"""Readable fingerprints of named arrays: of tensor bundles and of checkpoints, of any version. No ROS.

The bytes are read with safetensors alone, never with this package, so that a record outlives a move of its modules.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load

DIGITS = 16  # hex digits kept of a sha256
LONGEST = 12  # entries of a list that is shown as it is
SHOWN_LABELS = 1000  # labels of a batch that are listed one by one
# Keys that are left out wherever they stand: a machine's speed, and which run it was ("run", its own name for itself).
LEFT_OUT = ("wall_s", "steps_per_s", "train_seconds", "train_s", "run")
# Arrays that changed their name: name now -> names before.
ARRAYS = {"labels": ("ratings",)}
_CANONICAL = {old: new for new, before in ARRAYS.items() for old in before}


def digest(data: Any) -> str:
    """First 16 hex digits of the sha256 of bytes."""
    return hashlib.sha256(data).hexdigest()[:DIGITS]


def fingerprint(array: np.ndarray) -> str:
    """For instance ``float32 [51, 19] 0123456789abcdef``."""
    array = np.ascontiguousarray(array)
    return f"{array.dtype} {list(array.shape)} {digest(array.tobytes())}"


def fingerprints(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Of every array, by its name now."""
    return {_CANONICAL.get(name, name): fingerprint(array) for name, array in sorted(arrays.items())}


def together(prints: Mapping[str, str]) -> str:
    """One digest of several fingerprints, for instance of a network's weights."""
    return digest(json.dumps(dict(prints), sort_keys=True).encode())


def flat(value: Any, where: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by dots, without LEFT_OUT; long lists as their length and digest."""
    if isinstance(value, Mapping):
        rows = [flat(v, f"{where}.{k}" if where else str(k)) for k, v in value.items() if str(k) not in LEFT_OUT]
        return {key: v for row in rows for key, v in row.items()}
    if isinstance(value, (list, tuple)):
        if any(isinstance(v, Mapping) for v in value):
            return flat({str(i): v for i, v in enumerate(value)}, where)
        if len(value) > LONGEST:
            return {where: f"list [{len(value)}] {digest(json.dumps(list(value)).encode())}"}
    return {where: value}


def state(value: Any) -> dict[str, Any]:
    """Of a nested state with arrays, tensors and bytes, by the path that leads to each."""
    return flat(_printed(value))


def _printed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _printed(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_printed(v) for v in value]
    if isinstance(value, (bytes, bytearray)):
        return fingerprint(np.frombuffer(value, np.uint8))
    if hasattr(value, "detach"):  # a tensor; torch itself is not needed here
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        return fingerprint(value)
    return value.item() if isinstance(value, np.generic) else value


def bundle(data: bytes) -> dict[str, Any]:
    """What a tensor bundle holds: ``arrays`` and ``meta``; labels also one by one. ValueError: it is none."""
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        arrays = load(data)
        meta = json.loads(header["__metadata__"]["meta"])
    except Exception as error:  # safetensors has its own error type
        raise ValueError(f"not a tensor bundle: {error}") from error
    out = {"arrays": fingerprints(arrays), "meta": flat(meta)}
    for name, array in arrays.items():
        if _CANONICAL.get(name, name) in ARRAYS and array.ndim == 1 and len(array) <= SHOWN_LABELS:
            out["values"] = " ".join(map(str, array.tolist()))
    return out


def checkpoint(path: Path) -> dict[str, Any]:
    """What a checkpoint holds: every array's fingerprint and every number or text, by the path that leads to it."""
    with safe_open(path, framework="numpy") as file:
        structure = (file.metadata() or {}).get("structure")
        names = file.keys()  # the file itself is no mapping
        arrays = {name: file.get_tensor(name) for name in names}
    if structure is None:
        return fingerprints(arrays)
    return flat(_plain(json.loads(structure), arrays))


def _plain(node: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The nested structure that is written as ``{"$": what, "v": content}``, arrays as fingerprints."""
    if isinstance(node, list):
        return [_plain(n, arrays) for n in node]
    if not isinstance(node, dict):
        return node
    mark, content = node["$"], node["v"]
    if mark == "dict":
        return {str(key): _plain(value, arrays) for key, value in content}
    if mark == "tuple":
        return [_plain(n, arrays) for n in content]
    return fingerprint(arrays[str(content)])
