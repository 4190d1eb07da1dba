# SPDX-License-Identifier: Apache-2.0
"""The ledger's file: schema, opening with its checks, segments as rows."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import numpy as np

from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.errors import ConfigError

SCHEMA_VERSION = 1
_APPLICATION_ID = 0x45524C56  # "ERLV": tells our files from other SQLite files

_SCHEMA = """
CREATE TABLE queries (
  id INTEGER PRIMARY KEY, hash TEXT NOT NULL, segment_id TEXT NOT NULL, round INTEGER NOT NULL,
  source TEXT NOT NULL, task TEXT NOT NULL, n_classes INTEGER NOT NULL, model TEXT NOT NULL,
  params TEXT NOT NULL, prompts TEXT NOT NULL, shapes TEXT NOT NULL,
  images BLOB NOT NULL, proprio BLOB NOT NULL, actions BLOB NOT NULL, stamps BLOB NOT NULL,
  created REAL NOT NULL, UNIQUE (hash, segment_id, round));
CREATE TABLE answers (
  hash TEXT NOT NULL, stage TEXT NOT NULL, text TEXT NOT NULL, problem TEXT NOT NULL, model TEXT NOT NULL,
  tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, latency_s REAL NOT NULL, created REAL NOT NULL,
  PRIMARY KEY (hash, stage));
CREATE TABLE ratings (
  query INTEGER PRIMARY KEY REFERENCES queries (id), rating INTEGER NOT NULL, reason TEXT NOT NULL,
  charged INTEGER NOT NULL, attempts INTEGER NOT NULL, parser_version INTEGER NOT NULL,
  created REAL NOT NULL);
CREATE INDEX queries_hash ON queries (hash);
"""


def open_file(path: Path) -> sqlite3.Connection:
    """Open or create a ledger. ConfigError: not a ledger, of another schema version, or out of reach."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(path, isolation_level=None, timeout=10.0)
        tables = db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
        application = db.execute("PRAGMA application_id").fetchone()[0]
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if tables and application != _APPLICATION_ID:
            raise ConfigError(f"{path} is an SQLite file but not a rating ledger; choose another ledger path")
        if tables and version != SCHEMA_VERSION:
            raise ConfigError(
                f"ledger {path} has schema version {version}, this program reads version {SCHEMA_VERSION};"
                " use the version of erl_vlm_ros that wrote it, or start with a new ledger file"
            )
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")  # a commit is on disk, not only with the kernel
        if not tables:
            db.executescript(
                f"BEGIN; {_SCHEMA} PRAGMA application_id={_APPLICATION_ID};"
                f" PRAGMA user_version={SCHEMA_VERSION}; COMMIT;"
            )
        return db
    except sqlite3.DatabaseError as error:
        raise ConfigError(
            f"ledger {path} cannot be opened: {error}; choose another ledger path or mend the file"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"ledger {path} cannot be created: {error.strerror}; choose a folder that can be written"
        ) from error


def to_row(segment: Segment) -> tuple[str, bytes, bytes, bytes, bytes]:
    """Columns shapes, images, proprio, actions, stamps."""
    proprio, actions = np.asarray(segment.proprio, np.float32), np.asarray(segment.actions, np.float32)
    shapes = {"images": [len(j) for j in segment.jpegs], "proprio": proprio.shape, "actions": actions.shape}
    stamps = np.asarray(segment.stamps, np.int64)
    return json.dumps(shapes), b"".join(segment.jpegs), proprio.tobytes(), actions.tobytes(), stamps.tobytes()


def from_row(id_: str, shapes: str, images: bytes, proprio: bytes, actions: bytes, stamps: bytes) -> Segment:
    """Inverse of ``to_row``."""
    shape = json.loads(shapes)
    ends = np.cumsum([0, *shape["images"]])
    return Segment(
        id=id_,
        jpegs=[images[a:b] for a, b in zip(ends[:-1], ends[1:])],
        proprio=np.frombuffer(proprio, np.float32).reshape(shape["proprio"]).copy(),
        actions=np.frombuffer(actions, np.float32).reshape(shape["actions"]).copy(),
        stamps=np.frombuffer(stamps, np.int64).copy(),
    )
