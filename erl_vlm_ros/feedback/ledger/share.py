# SPDX-License-Identifier: Apache-2.0
"""A ledger as a folder of images and CSV files, and back: to look at, to keep, to share cached ratings.

Folder: ``ledger.json`` (format and counts), ``images/HASH.jpg``, ``ratings.csv`` (a line for each query with its
outcome) and ``answers.csv`` (a line for each answer of the endpoint). What was spent stays at home: the answers tell
tokens and cost, but an imported answer does not count against the importer's budget.
"""

from __future__ import annotations

import csv
import json
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError, file_fault
from erl_vlm_ros.data.views import NAMES
from erl_vlm_ros.feedback.kinds import RATING
from erl_vlm_ros.feedback.ledger.file import NAME_KINDS, content_hash, image_hash, open_file
from erl_vlm_ros.feedback.ledger.ledger import Ledger

FORMAT, VERSION = "erl_vlm_ros ledger", 2
_OLD = 1  # without the kind of feedback
_ARRAYS = {"proprio": np.float32, "actions": np.float32, "extras": np.float32, "stamps": np.int64}
_QUERY = (
    "hash", "segment_id", "round", "kind", "source", "task", "n_classes", "classes", "model", "params", "prompts",
    "images", "shapes", *_ARRAYS, "created",
)  # fmt: skip
_RATING = ("rating", "reason", "attempts", "parser_version", "rated")
_ANSWER = (
    "hash", "stage", "text", "problem", "model", "tokens_in", "tokens_out", "latency_s", "cost", "currency", "created",
)  # fmt: skip
_NUMBERS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("round", "n_classes", "rating", "attempts", "parser_version", "tokens_in", "tokens_out"), int),
    **dict.fromkeys(("created", "rated", "latency_s", "cost"), float),
}
_JSON = ("classes", "params", "prompts", "images", "shapes")
_HASH = re.compile(r"[0-9a-f]{64}")


def export_ledger(path: str | Path, folder: str | Path) -> dict[str, int]:
    """Write a ledger as a folder; returns how many images, queries and answers.

    Raises:
        ConfigError: there is no such ledger, a row of it is damaged, or the folder is there and not empty.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(
            f"{folder} is there already; give a folder that is new or empty", code=Code.EXISTS, file=str(folder)
        )
    db = open_file(Path(path), create=False)
    try:
        db.execute("BEGIN")  # one moment of a ledger that may be in use
        (folder / "images").mkdir(parents=True)
        counts = {"images": 0}
        for name, jpeg in db.execute("SELECT hash, jpeg FROM images"):
            # The name becomes that of a file, and the ledger may come from another user.
            if not isinstance(jpeg, bytes) or image_hash(jpeg) != name:
                text = f"ledger {path}: an image is not what its name says; the file is damaged"
                raise ConfigError(text, code=Code.UNREADABLE, file=str(path))
            (folder / "images" / f"{name}.jpg").write_bytes(jpeg)
            counts["images"] += 1
        ratings = ", ".join(f"ratings.{'created' if name == 'rated' else name}" for name in _RATING)
        queries = ", ".join(f"queries.{name}" for name in _QUERY)
        sql = f"SELECT {queries}, {ratings} FROM queries LEFT JOIN ratings ON query = id ORDER BY id"
        columns = (*_QUERY, *_RATING)
        counts["queries"] = _write(folder / "ratings.csv", ("class", *columns), map(_query_line, db.execute(sql)))
        sql = f"SELECT {', '.join(_ANSWER)} FROM answers ORDER BY created, hash, stage"
        counts["answers"] = _write(folder / "answers.csv", _ANSWER, db.execute(sql))
        (folder / "ledger.json").write_text(json.dumps({"format": FORMAT, "version": VERSION, **counts}, indent=2))
        return counts
    except (ValueError, TypeError, LookupError, sqlite3.DatabaseError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"ledger {path}: a row is damaged ({type(error).__name__}: {error})", code=Code.UNREADABLE, file=str(path)
        ) from error
    finally:
        db.close()


def import_ledger(folder: str | Path, path: str | Path) -> dict[str, int]:
    """Add an exported folder to a ledger, which is made where there is none; returns how much was new.

    All of it or nothing: what is here already stays as it is.

    Raises:
        ConfigError: a file is missing or wrong; names file, line and field.
    """
    folder = Path(folder)
    version = _version(folder / "ledger.json")
    columns = tuple(name for name in _QUERY if version > _OLD or name != "kind")
    answers = list(_read(folder / "answers.csv", _ANSWER))
    queries = list(_read(folder / "ratings.csv", ("class", *columns, *_RATING)))
    images = {name for line in queries for name in line["images"]}
    jpegs = [(name, _read_image(folder / "images" / f"{name}.jpg", name)) for name in sorted(images)]
    with Ledger(path) as ledger:
        return ledger.run(lambda db: _insert(db, jpegs, [{"kind": RATING.name} | q for q in queries], answers))


def _query_line(row: tuple) -> list[Any]:
    line = dict(zip((*_QUERY, *_RATING), row))
    for name, kind in _ARRAYS.items():
        line[name] = json.dumps(np.frombuffer(line[name], kind).tolist())
    names, rating = json.loads(line["classes"]), line["rating"]
    word = names[rating] if rating is not None and 0 <= rating < len(names) else ""
    return [word, *("" if value is None else value for value in line.values())]


def _write(path: Path, columns: tuple[str, ...], rows: Any) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in rows:
            # floats keep all their digits, so that they come back as they were
            writer.writerow([repr(v) if isinstance(v, float) else v for v in row])
            count += 1
    return count


def _version(path: Path) -> int:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        text = f"{path}: {error.strerror}; give a folder that `erl-vlm ledger export` wrote"
        raise ConfigError(text, code=file_fault(error), file=str(path)) from error
    except ValueError as error:
        raise ConfigError(f"{path}: is not JSON: {error}", code=Code.UNREADABLE, file=str(path)) from error
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise ConfigError(
            f"{path}: field format is not '{FORMAT}'", code=Code.UNREADABLE, parameter="format", file=str(path)
        )
    version = told.get("version")
    if version not in (_OLD, VERSION):
        text = f"{path}: field version is {version}, this program reads {_OLD} and {VERSION}"
        raise ConfigError(text, code=Code.OTHER_VERSION, parameter="version", file=str(path))
    return version


def _read(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            if next(reader, None) != list(columns):
                raise ConfigError(
                    f"{path}:1: the columns must be {','.join(columns)}", code=Code.UNREADABLE, file=f"{path}:1"
                )
            for cells in reader:
                if len(cells) != len(columns):
                    text = f"{path}:{reader.line_num}: {len(cells)} fields, expected {len(columns)}"
                    raise ConfigError(text, code=Code.UNREADABLE, file=f"{path}:{reader.line_num}")
                yield _line(dict(zip(columns, cells)), f"{path}:{reader.line_num}")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", code=file_fault(error), file=str(path)) from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: is not a CSV file in UTF-8: {error}", code=Code.UNREADABLE, file=str(path)
        ) from error


def _line(line: dict[str, str], where: str) -> dict[str, Any]:
    """The fields as they are stored."""
    out: dict[str, Any] = dict(line)
    for name, text in line.items():
        try:
            if name in _RATING and not line["rating"]:
                out[name] = None
            elif name in _NUMBERS:
                out[name] = _NUMBERS[name](text)
            elif name in _ARRAYS:
                out[name] = np.array(json.loads(text), _ARRAYS[name]).tobytes()
            elif name in _JSON:
                out[name] = json.loads(text)
        except (ValueError, TypeError, OverflowError) as error:
            raise ConfigError(
                f"{where}: field {name}: {error}", code=Code.UNREADABLE, parameter=name, file=where
            ) from error
    if not _HASH.fullmatch(out["hash"]):
        raise ConfigError(
            f"{where}: field hash: expected 64 hexadecimal digits", code=Code.UNREADABLE, parameter="hash", file=where
        )
    if "images" in out:
        _check_query(out, where)
    return out


def _check_query(line: dict[str, Any], where: str) -> None:
    images, shapes = line["images"], line["shapes"]
    if not isinstance(images, list) or not images or not all(isinstance(i, str) and _HASH.fullmatch(i) for i in images):
        text = f"{where}: field images: expected a list of image names"
        raise ConfigError(text, code=Code.UNREADABLE, parameter="images", file=where)
    for name in _ARRAYS:
        try:
            frames = len(images) // max(1, len(shapes.get(NAMES, ())))
            shape = [frames] if name == "stamps" else list(shapes[name])
            fits = shape[0] == frames and len(line[name]) == int(np.prod(shape)) * np.dtype(_ARRAYS[name]).itemsize
        except (KeyError, TypeError, IndexError, ValueError):
            fits = False
        if not fits:
            text = f"{where}: field {name}: does not have the shape that field shapes gives"
            raise ConfigError(text, code=Code.UNREADABLE, parameter=name, file=where)
    n, names, rating = line["n_classes"], line["classes"], line["rating"]
    if not isinstance(names, list) or len(names) not in (0, n):
        raise ConfigError(
            f"{where}: field classes: expected {n} names", code=Code.UNREADABLE, parameter="classes", file=where
        )
    if rating is not None and not -1 <= rating < n:
        text = f"{where}: field rating: {rating} is none of {n} classes"
        raise ConfigError(text, code=Code.UNREADABLE, parameter="rating", file=where)


def _read_image(path: Path, name: str) -> bytes:
    try:
        jpeg = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", code=file_fault(error), file=str(path)) from error
    if image_hash(jpeg) != name:
        raise ConfigError(
            f"{path}: is not the image that was exported under this name", code=Code.DOES_NOT_FIT, file=str(path)
        )
    return jpeg


def _insert(db: sqlite3.Connection, jpegs: list, queries: list[dict], answers: list[dict]) -> dict[str, int]:
    before = db.total_changes
    db.executemany("INSERT OR IGNORE INTO images VALUES (?,?)", jpegs)
    new = {"images": db.total_changes - before, "queries": 0, "answers": 0}
    columns = ("content", *_QUERY)
    sql = f"INSERT OR IGNORE INTO queries ({', '.join(columns)}) VALUES ({','.join('?' * len(columns))})"
    for line in queries:
        line["content"] = content_hash(line["images"])
        done = db.execute(sql, [json.dumps(line[c]) if c in _JSON else line[c] for c in columns])
        if done.rowcount and line["rating"] is not None:
            row = (done.lastrowid, *(line[name] for name in _RATING))
            db.execute("INSERT INTO ratings VALUES (?,?,?,?,?,?)", row)
        new["queries"] += done.rowcount
    db.execute(NAME_KINDS)
    sql = f"INSERT OR IGNORE INTO answers VALUES ({','.join('?' * len(_ANSWER))})"
    for line in answers:
        new["answers"] += db.execute(sql, [line[name] for name in _ANSWER]).rowcount
    return new
