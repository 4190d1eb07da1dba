# SPDX-License-Identifier: Apache-2.0
"""Files, columns and types of the layout."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.data.spaces import Part, Spec

VERSION = "v3.0"
INFO, STATS, TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
OURS, FINAL = "meta/erl_vlm_ros.json", "meta/erl_vlm_ros_final.parquet"  # what LeRobot has no place for
OURS_VERSION = 1
FILES_A_CHUNK, DATA_MB, VIDEO_MB = 1000, 100, 200

OBSERVATION, ACTION = "observation.state", "action"
IMAGES, ONE_CAMERA = "observation.images.", "camera"  # before a camera's name; of one that has none
REWARD, DONE, TRUNCATED, SUCCESS = "next.reward", "next.done", "next.truncated", "next.success"
STAMP, DRIVEN = "complementary_info.stamp_ns", "complementary_info.is_intervention"
RATING, EXTRAS = "complementary_info.rating", "complementary_info.extras"
INDICES = ("frame_index", "episode_index", "index", "task_index")


def module(name: str = "pyarrow") -> Any:
    """pyarrow, a module of it, or PyAV (``av``). ConfigError: it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.split(".")[0]
        remedy = "pip install 'erl_vlm_ros[lerobot]'"
        text = f"LeRobot datasets need the package {package}: {remedy}"
        raise ConfigError(text, code=Code.MISSING_PACKAGE, remedy=remedy) from None


def camera_key(name: str) -> str:
    """The feature of a camera."""
    return IMAGES + (name or ONE_CAMERA)


def feature(dtype: str, *shape: int, names: Any = None) -> dict[str, Any]:
    """A feature as info.json has it."""
    return {"dtype": dtype, "shape": list(shape), "names": names}


def column_names(spec: Spec) -> list[str]:
    """A name for each number of a vector: ``joints.elbow``, ``linear.0``."""
    return [f"{part.name}.{label}" for part in spec.vector for label in _labels(part)]


def _labels(part: Part) -> list[str]:
    if part.labels:
        return list(part.labels)
    return (
        ["x", "y", "z"] if part.size == 3 and part.unit in ("m", "m/s", "rad/s") else [str(i) for i in range(part.size)]
    )


def arrow_type(of: dict[str, Any]) -> Any:
    """A feature's type in a Parquet file."""
    pa = module()
    if of["dtype"] == "image":
        return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    kind = {"bool": pa.bool_(), "string": pa.string()}.get(of["dtype"]) or getattr(pa, of["dtype"])()
    return kind if list(of["shape"]) == [1] else pa.list_(kind, of["shape"][0])


def read_json(path: Path) -> Any:
    """ConfigError: it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", code=Code.UNREADABLE, file=str(path)) from error


def as_index(table: Any, index: str) -> Any:
    """A table whose column ``index`` pandas takes as its index: LeRobot looks tasks up by it."""
    pa = module()
    columns = [
        {"name": field.name, "field_name": field.name, "metadata": None,
         "pandas_type": "unicode" if pa.types.is_string(field.type) else str(field.type),
         "numpy_type": "object" if pa.types.is_string(field.type) else str(field.type)}
        for field in table.schema
    ]  # fmt: skip
    about = {
        "index_columns": [index], "columns": columns, "pandas_version": "2.0.0", "column_indexes": [],
        "creator": {"library": "pyarrow", "version": pa.__version__},
    }  # fmt: skip
    return table.replace_schema_metadata({b"pandas": json.dumps(about).encode()})
