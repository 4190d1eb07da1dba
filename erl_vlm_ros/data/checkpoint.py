# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: a nested structure in one safetensors file, written so that a crash leaves the old file or the
new one, never half of either."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from erl_vlm_ros.common.errors import Code, StateError

SCHEMA = 1
_CODES = {
    np.dtype(name): code
    for code, name in {
        "BOOL": "?", "U8": "u1", "I8": "i1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4",
        "I64": "<i8", "U64": "<u8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
    }.items()
}  # fmt: skip


class CheckpointError(StateError):
    """A checkpoint that cannot be written or read; ``code`` and ``file`` say which and why, the message the way out."""


def save_state(path: str | Path, state: Any, kind: str) -> None:
    """Write ``state`` to ``path``, replacing what is there in one step once everything is on disk.

    ``state`` is built of dicts (keys str or int), lists, tuples, tensors, numpy arrays, bytes, str, int,
    float, bool and None. Arrays are streamed, so no second copy of a large buffer is made.

    Raises:
        CheckpointError: the disk is full or the place is not writable; the previous file is left as it was.
        TypeError: a value of another type.
    """
    path = Path(path)
    arrays: list[np.ndarray] = []
    structure = _flatten(state, arrays, "state")
    metadata = {"kind": kind, "schema": str(SCHEMA), "structure": json.dumps(structure)}
    metadata["crc32"] = str(_crc(metadata["structure"], arrays))
    temporary = path.with_name(f".{path.name}.tmp")  # one name, so that a killed run leaves at most one behind
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.writelines(_parts(arrays, metadata))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_directory(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise CheckpointError(
            f"could not write checkpoint {path}: {error.strerror or error}; "
            "the previous one, if any, is unchanged. Free some disk space or choose another run directory",
            code=Code.NOT_WRITTEN,
            file=str(path),
        ) from error


def load_state(path: str | Path, kind: str) -> Any:
    """Read what save_state wrote: tensors come back as tensors, arrays as arrays, both in fresh memory.

    Raises:
        CheckpointError: no such file, damaged, another kind, or a schema this version does not read.
    """
    path = Path(path)
    if not path.is_file():
        text = f"checkpoint {path} does not exist: restore it from a copy or start a new run"
        raise CheckpointError(text, code=Code.MISSING_FILE, file=str(path))
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if "structure" not in metadata or "kind" not in metadata:
                text = f"{path} is a safetensors file but not a checkpoint of erl_vlm_ros"
                raise CheckpointError(text, code=Code.UNREADABLE, parameter="structure", file=str(path))
            if metadata.get("schema") != str(SCHEMA):
                text = (
                    f"checkpoint {path} has schema {metadata.get('schema')}, this version reads {SCHEMA}; continue it "
                    "with the version that wrote it"
                )
                raise CheckpointError(text, code=Code.OTHER_VERSION, file=str(path))
            if metadata["kind"] != kind:
                text = f"checkpoint {path} is of kind '{metadata['kind']}', expected '{kind}'"
                raise CheckpointError(text, code=Code.DOES_NOT_FIT, parameter="kind", file=str(path))
            arrays = [file.get_tensor(str(i)) for i in range(len(file.keys()))]
        if str(_crc(metadata["structure"], arrays)) != metadata.get("crc32"):
            raise ValueError("its contents do not match its checksum")
        return _rebuild(json.loads(metadata["structure"]), arrays)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, IndexError) as error:
        text = (
            f"checkpoint {path} is damaged ({type(error).__name__}: {error}); restore it from a copy or start a new run"
        )
        raise CheckpointError(text, code=Code.UNREADABLE, file=str(path)) from error


def rng_state(generator: np.random.Generator) -> dict[str, Any]:
    """State of a numpy generator, for save_state."""
    return generator.bit_generator.state


def restore_rng(generator: np.random.Generator, state: dict[str, Any]) -> None:
    """Set a generator to a state from rng_state. Raises ValueError when it is of another algorithm."""
    generator.bit_generator.state = state


def _flatten(value: Any, arrays: list[np.ndarray], where: str) -> Any:
    """Replace arrays by references and mark what JSON does not know: {"$": what, "v": content}."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value)
    if isinstance(value, dict):
        for key in value:
            if type(key) not in (str, int):
                raise TypeError(f"{where}: a key is {type(key).__name__}, only str and int can be saved")
        return {"$": "dict", "v": [[k, _flatten(v, arrays, f"{where}.{k}")] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        items = [_flatten(v, arrays, f"{where}[{i}]") for i, v in enumerate(value)]
        return items if isinstance(value, list) else {"$": "tuple", "v": items}
    torch = sys.modules.get("torch")  # the robot side keeps checkpoints too, and never loads it
    if torch is not None and isinstance(value, torch.Tensor):
        array, mark = value.detach().cpu().numpy(), "tensor"
    elif isinstance(value, np.ndarray):
        array, mark = value, "array"
    elif isinstance(value, (bytes, bytearray)):
        array, mark = np.frombuffer(value, np.uint8), "bytes"
    else:
        raise TypeError(f"{where}: cannot save a {type(value).__name__}")
    if array.dtype not in _CODES:
        raise TypeError(f"{where}: cannot save an array of {array.dtype}")
    arrays.append(array)
    return {"$": mark, "v": len(arrays) - 1}


def _rebuild(node: Any, arrays: list[np.ndarray]) -> Any:
    if isinstance(node, list):
        return [_rebuild(n, arrays) for n in node]
    if not isinstance(node, dict):
        return node
    mark, content = node["$"], node["v"]
    if mark == "dict":
        return {key: _rebuild(v, arrays) for key, v in content}
    if mark == "tuple":
        return tuple(_rebuild(v, arrays) for v in content)
    array = arrays[content]
    if mark == "tensor":
        import torch

        return torch.from_numpy(array)
    if mark == "bytes":
        return array.tobytes()
    if mark == "array":
        return array
    raise ValueError(f"unknown mark {mark!r}")


def _parts(arrays: list[np.ndarray], metadata: dict[str, str]) -> Iterator[Any]:
    """The safetensors file piece by piece: header length, JSON header, array data (little-endian, C order).

    safetensors' own writer would need the whole file in memory, or report a full disk in its own error type.
    """
    header: dict[str, Any] = {"__metadata__": metadata}
    at = 0
    for i, array in enumerate(arrays):
        header[str(i)] = {
            "dtype": _CODES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [at, at + array.nbytes],
        }
        at += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little")
    yield text
    yield from map(_bytes, arrays)


def _bytes(array: np.ndarray) -> memoryview:
    # Flat first: a scalar array cannot be viewed as bytes.
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _crc(structure: str, arrays: list[np.ndarray]) -> int:
    """safetensors notices a cut file but not a flipped bit."""
    value = zlib.crc32(structure.encode())
    for array in arrays:
        value = zlib.crc32(_bytes(array), value)
    return value


def _sync_directory(directory: Path) -> None:
    """Make the rename itself durable."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
