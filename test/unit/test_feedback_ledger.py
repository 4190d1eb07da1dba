# SPDX-License-Identifier: Apache-2.0
"""The ledger keeps what was asked and answered, opens only its own files, and counts the budget."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.data.query import Query
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.feedback.ledger.file import lock_file
from erl_vlm_ros.feedback.ledger.ledger import Answer, Ledger, LedgerError


def make_segment(name="e0_t1_h2", h=2):
    rng = np.random.default_rng(h)
    return Segment(
        id=name,
        jpegs=[bytes([65 + i]) * (i + 3) for i in range(h)],
        proprio=rng.normal(size=(h, 10)).astype(np.float32),
        actions=rng.normal(size=(h, 3)).astype(np.float32),
        stamps=np.arange(h) * 10**8,
    )


def add(ledger, digest, segment, round_=0, source="endpoint", task="drawer_open", n=3):
    params, prompts, names = {"t": 0}, {"rating": "?"}, ["Bad", "Average", "Good"]
    return ledger.add_query(digest, Query(segment), round_, source, task, n, "m", params, prompts, names).result()


def test_rated_segments_come_back_whole(tmp_path):
    segments = [make_segment(f"s{i}", h=1 + i) for i in range(3)]
    segments[2].extras, segments[2].extra_names = np.ones((3, 2), np.float32), ("wrench_fx", "wrench_fy")
    with Ledger(tmp_path / "run" / "ledger.sqlite") as ledger:
        for i, segment in enumerate(segments):
            query = add(ledger, f"h{i}", segment, round_=i)
            ledger.add_rating(query, i - 1, "refusal" if i == 0 else "", 2).result()
        add(ledger, "open", make_segment("cut_off"))
    with Ledger(tmp_path / "run" / "ledger.sqlite") as ledger:
        back = ledger.labels()
        assert [(r, s.value, s.reason) for r, s in back] == [(0, -1, "refusal"), (1, 0, ""), (2, 1, "")]
        for (_, rated), segment in zip(back, segments):
            assert rated.segment.id == segment.id
            assert rated.segment.jpegs == segment.jpegs
            assert rated.segment.extra_names == segment.extra_names
            for name in ("proprio", "actions", "extras", "stamps"):
                value = getattr(rated.segment, name)
                np.testing.assert_array_equal(value, getattr(segment, name))
                assert value.dtype == getattr(segment, name).dtype
        assert len(ledger.labels(task="drawer_open", n_classes=3)) == 3
        assert ledger.labels(task="other") == []
        assert sorted(ledger.outcomes("drawer_open", 3)) == [(-1, "refusal", 1), (0, "", 1), (1, "", 1)]


def test_an_image_is_kept_once(tmp_path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        for i in range(5):
            add(ledger, f"h{i}", make_segment(f"s{i}", h=2), round_=i)
        assert ledger.run(lambda db: db.execute("SELECT COUNT(*) FROM images").fetchone()[0]) == 2


def test_budget_counts_what_may_have_been_paid(tmp_path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        paid = ledger.add_attempt("a", "rating", 1000, 0.5, "USD").result()
        ledger.add_answer("a", "rating", Answer("Good", "", "m", 90, 10, 0.1, 0.02, "USD"), paid, 100).result()
        refused = ledger.add_attempt("b", "rating", 1000, 0.5, "USD").result()
        ledger.end_attempt(refused, "http_500", False).result()
        timeout = ledger.add_attempt("c", "rating", 1000, 0.5, "USD").result()
        ledger.end_attempt(timeout, "timeout", True, "no word").result()
        for stage in ("analysis", "rating"):
            ledger.add_attempt("d", stage, 500, 0.25, "EUR").result()  # cut off before their end
        assert [ledger.find(h).result().counted for h in "abcde"] == [True, False, True, True, False]
    with Ledger(tmp_path / "l.sqlite") as ledger:
        assert ledger.spending.queries == 3 and ledger.spending.tokens == 100 + 1000 + 500 + 500
        assert ledger.spending.money == pytest.approx({"USD": 0.52, "EUR": 0.5})
        assert ledger.lost == 2
        ages = ledger.recent_attempts(60.0)
        assert [tokens for _, tokens in ages] == [100, 1000, 1000, 500, 500] and 0 <= ages[0][0] < 60
        assert ledger.recent_attempts(0.0) == []


def test_the_same_query_of_a_round_keeps_its_row(tmp_path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        first = add(ledger, "a", make_segment("a"))
        assert add(ledger, "a", make_segment("a")) == first != add(ledger, "a", make_segment("a"), round_=1)


def test_answers_by_content(tmp_path):
    answer = Answer("some text", "", "model-x", 10, 20, 0.5, 0.001, "USD")
    with Ledger(tmp_path / "l.sqlite") as ledger:
        assert ledger.find("h").result().answers == {}
        ledger.add_answer("h", "analysis", answer).result()
        ledger.add_answer("h", "rating", Answer("", "refusal")).result()
        assert ledger.find("h").result().answers == {"analysis": answer, "rating": Answer("", "refusal")}
        ledger.add_answer("h", "analysis", Answer("another")).result()  # what was used stays
        assert ledger.find("h").result().answers["analysis"] == answer


def test_facts_are_remembered(tmp_path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        assert ledger.fact("x") is None
        ledger.remember("x", "1"), ledger.remember("x", "2")
    with Ledger(tmp_path / "l.sqlite") as ledger:
        assert ledger.fact("x") == "2"


def test_one_process_at_a_time(tmp_path, monkeypatch):
    with Ledger(tmp_path / "l.sqlite"), refused(ConfigError, code=Code.IN_USE, file=tmp_path / "l.sqlite"):
        lock_file(tmp_path / "l.sqlite", patience_s=0.1)
    Ledger(tmp_path / "l.sqlite").close()


def test_an_empty_file_is_a_new_ledger(tmp_path):
    """What is left when a process dies between making the file and filling it."""
    (tmp_path / "l.sqlite").touch()
    with Ledger(tmp_path / "l.sqlite") as ledger:
        assert ledger.spending.queries == 0


@pytest.mark.parametrize("content", [b"this is not a database, but long enough to look at" * 20, None])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "l.sqlite"
    if content is None:
        sqlite3.connect(path).execute("CREATE TABLE x (a)").connection.commit()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with refused(ConfigError, code=Code.UNREADABLE, file=path):
        Ledger(path)
    assert path.read_bytes() == before


def test_another_schema_version_is_refused(tmp_path):
    Ledger(tmp_path / "l.sqlite").close()
    with sqlite3.connect(tmp_path / "l.sqlite") as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    with refused(ConfigError, code=Code.OTHER_VERSION, file=tmp_path / "l.sqlite"):
        Ledger(tmp_path / "l.sqlite")


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with refused(ConfigError, code=Code.NOT_WRITTEN, file=tmp_path / "file" / "l.sqlite"):
        Ledger(tmp_path / "file" / "l.sqlite")


def test_failed_writes_are_told_and_closed_ledgers_refuse(tmp_path):
    ledger = Ledger(tmp_path / "l.sqlite")
    add(ledger, "a", make_segment())
    other = sqlite3.connect(tmp_path / "l.sqlite")
    other.execute("DROP TABLE answers")
    other.commit()
    other.close()
    with refused(LedgerError, code=Code.NOT_WRITTEN, file=tmp_path / "l.sqlite"):
        ledger.add_answer("a", "rating", Answer("x")).result()
    assert ledger.labels() == []  # it goes on where it can
    ledger.close()
    ledger.close()
    with refused(LedgerError, code=Code.OTHER, file=tmp_path / "l.sqlite"):
        ledger.flush()


def test_commits_are_shared(tmp_path):
    """Many waiting operations cost few commits: 500 answers take far less than 500 disk syncs."""
    with Ledger(tmp_path / "l.sqlite") as ledger:
        futures = [ledger.add_answer(f"h{i}", "rating", Answer("x" * 2000)) for i in range(500)]
        start = time.monotonic()
        for future in futures:
            future.result()
        assert time.monotonic() - start < 5.0
        assert ledger.find("h499").result().answers


def test_a_resolved_future_survives_kill_9(tmp_path):
    code = f"""
import sys
from erl_vlm_ros.feedback.ledger.ledger import Answer, Ledger
ledger = Ledger({str(tmp_path / "l.sqlite")!r})
for i in range(100_000):
    ledger.add_answer(f"h{{i}}", "rating", Answer("x")).result()
    print(i, flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    last = -1
    for line in process.stdout:
        last = int(line)
        if last >= 50:
            os.kill(process.pid, signal.SIGKILL)
            break
    process.wait()
    with Ledger(tmp_path / "l.sqlite") as ledger:
        assert all(ledger.find(f"h{i}").result().answers for i in range(last + 1))
