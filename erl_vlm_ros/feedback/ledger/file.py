# SPDX-License-Identifier: Apache-2.0
"""The ledger's file: schema, migration, opening with its checks, one writing process at a time."""

from __future__ import annotations

import fcntl
import hashlib
import sqlite3
import time
from pathlib import Path
from typing import TextIO

from erl_vlm_ros.common.errors import Code, ConfigError

SCHEMA_VERSION = 3
AUDIT = "audit"  # source of ratings that an auditor gave in place of the teacher
PART = "part"  # source of a row whose answer stands with the query that it is a part of
_APPLICATION_ID = 0x45524C56  # "ERLV": tells our files from other SQLite files

_SCHEMA = """
CREATE TABLE images (hash TEXT PRIMARY KEY, jpeg BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE queries (
  id INTEGER PRIMARY KEY, hash TEXT NOT NULL, content TEXT NOT NULL, segment_id TEXT NOT NULL, round INTEGER NOT NULL,
  kind TEXT NOT NULL, source TEXT NOT NULL, task TEXT NOT NULL, n_classes INTEGER NOT NULL, classes TEXT NOT NULL,
  model TEXT NOT NULL, params TEXT NOT NULL, prompts TEXT NOT NULL, images TEXT NOT NULL, shapes TEXT NOT NULL,
  proprio BLOB NOT NULL, actions BLOB NOT NULL, extras BLOB NOT NULL, stamps BLOB NOT NULL,
  created REAL NOT NULL, UNIQUE (hash, segment_id, round));
CREATE TABLE attempts (
  id INTEGER PRIMARY KEY, hash TEXT NOT NULL, stage TEXT NOT NULL, state TEXT NOT NULL, charged INTEGER NOT NULL,
  tokens INTEGER NOT NULL, money REAL NOT NULL, currency TEXT NOT NULL, detail TEXT NOT NULL, sent REAL NOT NULL,
  ended REAL);
CREATE TABLE answers (
  hash TEXT NOT NULL, stage TEXT NOT NULL, text TEXT NOT NULL, problem TEXT NOT NULL, model TEXT NOT NULL,
  tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, latency_s REAL NOT NULL, cost REAL NOT NULL,
  currency TEXT NOT NULL, created REAL NOT NULL, PRIMARY KEY (hash, stage));
CREATE TABLE ratings (
  query INTEGER PRIMARY KEY REFERENCES queries (id), rating INTEGER NOT NULL, reason TEXT NOT NULL,
  attempts INTEGER NOT NULL, parser_version INTEGER NOT NULL, created REAL NOT NULL);
CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX queries_content ON queries (content);
CREATE INDEX attempts_charged ON attempts (hash) WHERE charged = 1;
"""

#: version 2 (release 0.1) knew ratings, and transitions as rows without classes that others are parts of
NAME_KINDS = """
UPDATE queries SET kind = 'transitions',
  classes = (SELECT part.classes FROM queries AS part WHERE part.hash = queries.hash || '.1' LIMIT 1)
  WHERE classes = '[]' AND EXISTS (
    SELECT 1 FROM queries AS part WHERE part.hash = queries.hash || '.1' AND part.source = 'transition')
"""
# version -> statements that make it the next one
_MIGRATIONS = {2: ("ALTER TABLE queries ADD COLUMN kind TEXT NOT NULL DEFAULT 'rating'", NAME_KINDS)}


def open_file(path: Path, create: bool = True) -> sqlite3.Connection:
    """Open or create a ledger; an empty file is a new one (a process may be killed between making and filling it).

    A ledger of an older release is brought to this schema in one transaction; what it holds stays as it is.

    Raises:
        ConfigError: not a ledger, of a newer schema version, damaged, or out of reach.
    """
    try:
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        elif not path.is_file():
            raise ConfigError(f"there is no ledger {path}", code=Code.MISSING_FILE, file=str(path))
        db = sqlite3.connect(path, isolation_level=None, timeout=10.0)
        db.execute("PRAGMA trusted_schema=OFF")  # the file may come from another user
        tables = db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
        application = db.execute("PRAGMA application_id").fetchone()[0]
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if tables and application != _APPLICATION_ID:
            text = f"{path} is an SQLite file but not a rating ledger; choose another ledger path"
            raise ConfigError(text, code=Code.UNREADABLE, file=str(path))
        if tables and version != SCHEMA_VERSION and version not in _MIGRATIONS:
            text = (
                f"ledger {path} has schema version {version}, this program reads version {SCHEMA_VERSION};"
                " use the version of erl_vlm_ros that wrote it, or start with a new ledger file"
            )
            raise ConfigError(text, code=Code.OTHER_VERSION, file=str(path))
        if not tables and not create:
            raise ConfigError(f"ledger {path} is empty", code=Code.UNREADABLE, file=str(path))
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")  # a commit is on disk, not only with the kernel
        if tables:
            _migrate(db)
        else:
            db.executescript(
                f"BEGIN; {_SCHEMA} PRAGMA application_id={_APPLICATION_ID};"
                f" PRAGMA user_version={SCHEMA_VERSION}; COMMIT;"
            )
        return db
    except sqlite3.DatabaseError as error:
        text = f"ledger {path} cannot be opened: {error}; choose another ledger path or repair the file"
        raise ConfigError(text, code=Code.UNREADABLE, file=str(path)) from error
    except OSError as error:
        text = f"ledger {path} cannot be created: {error.strerror}; choose a folder that can be written"
        raise ConfigError(text, code=Code.NOT_WRITTEN, file=str(path)) from error


def _migrate(db: sqlite3.Connection) -> None:
    """Step by step to this schema. Another process may do so at the same time: the version is read under its lock."""
    while db.execute("PRAGMA user_version").fetchone()[0] in _MIGRATIONS:
        db.execute("BEGIN IMMEDIATE")
        try:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version in _MIGRATIONS:
                for statement in _MIGRATIONS[version]:
                    db.execute(statement)
                db.execute(f"PRAGMA user_version={version + 1}")
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise


def lock_file(path: Path, patience_s: float = 5.0) -> TextIO:
    """Hold ``path``.lock until it is closed; it goes with the process.

    Two processes that write one ledger would each spend the whole budget.

    Raises:
        ConfigError: another process holds it, or it cannot be made.
    """
    deadline = time.monotonic() + patience_s
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(f"{path}.lock", "a")  # noqa: SIM115
    except OSError as error:
        text = f"ledger {path} cannot be created: {error.strerror}; choose a folder that can be written"
        raise ConfigError(text, code=Code.NOT_WRITTEN, file=str(path)) from error
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except OSError:
            if time.monotonic() > deadline:
                file.close()
                text = f"ledger {path} is in use by another process; stop it, or choose another ledger path"
                raise ConfigError(text, code=Code.IN_USE, file=str(path)) from None
            time.sleep(0.1)


def image_hash(jpeg: bytes) -> str:
    """Name of an image's content."""
    return hashlib.sha256(jpeg).hexdigest()


def content_hash(images: list[str]) -> str:
    """Name of a query's images, from their hashes; what replay looks for when prompt or model differ."""
    return hashlib.sha256(" ".join(images).encode()).hexdigest()
