# SPDX-License-Identifier: Apache-2.0
"""Paid ratings go further: replay without a network, export, import, another parser."""

from __future__ import annotations

import csv
import json
import sqlite3

import numpy as np
import pytest
from refusals import refused

from erl_vlm_ros.cli import main
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.query import Query, QueryBatch
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.feedback.kinds import RATING, rating
from erl_vlm_ros.feedback.ledger import reparse
from erl_vlm_ros.feedback.ledger.ledger import Answer, Ledger
from erl_vlm_ros.feedback.ledger.replay import LedgerReplay
from erl_vlm_ros.feedback.ledger.share import export_ledger, import_ledger
from erl_vlm_ros.feedback.vlm import parsing

NAMES = ["Bad", "Average", "Good"]
TEXTS = ["Bad", '{"rating": "Good"}', 'Good or "Bad",\nwho\r\nknows \u2603', "Average", "Splendid"]


def make_segment(i, h=2):
    rng = np.random.default_rng(i)
    extras = rng.normal(size=(h, 2)) if i % 2 else None
    return Segment(
        f"e0_t{i}_h{h}", [b"\xff\xd8" + bytes([i, k]) * 9 for k in range(h)], rng.normal(size=(h, 10)),
        rng.normal(size=(h, 3)), np.arange(h) * 10**8 + i, extras, ("wrench_fx", "wrench_fy") if i % 2 else (),
    )  # fmt: skip


def fill(path, texts=TEXTS, rate=True):
    with Ledger(path) as ledger:
        for i, text in enumerate(texts):
            digest, segment = f"{i:064x}", make_segment(i)
            query = ledger.add_query(
                digest, Query(segment), i // 3, "endpoint", "drawer_open", 3, "m", {"t": 0.1}, {"rating": "?"}, NAMES
            ).result()
            attempt = ledger.add_attempt(digest, "rating", 100, 0.1, "USD").result()
            answer = Answer(text, "", "m-1", 70, 3, 1 / 3, 0.07, "USD")
            ledger.add_answer(digest, "rating", answer, attempt, 73).result()
            if rate:
                (value,), reason = reparse.outcome(RATING, text, "", NAMES, 1)
                ledger.add_rating(query, value, reason, 1).result()
    return path


def ask(path, segments, **options):
    with Ledger(path) as ledger:
        replay = LedgerReplay(load_task("drawer_open"), ledger, 3, **options)
        rated = replay.label_batch(QueryBatch.of(1, segments)).labels
        assert [r.segment.id for r in rated] == [s.id for s in segments]
        return [(r.value, r.reason) for r in rated], replay.stats()


OUTCOMES = [(0, ""), (2, ""), (-1, "unreadable"), (1, ""), (-1, "out_of_class")]


def test_replay_gives_the_same_ratings_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.socket", None)  # no network at all
    path = fill(tmp_path / "l.sqlite")
    segments = [make_segment(i) for i in range(5)] + [make_segment(77), make_segment(1, h=3)]
    rated, stats = ask(path, segments)
    assert rated == [*OUTCOMES, (-1, "not_in_ledger"), (-1, "not_in_ledger")]
    assert (stats["requested"], stats["valid"], stats["reason_not_in_ledger"], stats["from_ledger"]) == (7, 3, 2, 5)
    moved = make_segment(1)  # the same images under another name, of another round
    moved.id = "e9_t9_h2"
    assert ask(path, [moved])[0] == [(2, "")]
    assert ask(path, [moved], model="another")[0] == [(-1, "not_in_ledger")]
    with Ledger(path) as ledger, pytest.raises(ConfigError):
        LedgerReplay(load_task("drawer_open"), ledger, 6)


def test_replay_prefers_the_segments_own_rating_then_a_rating_before_none(tmp_path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        for i, (name, round_, rating, reason) in enumerate(
            [("x", 0, -1, "timeout"), ("y", 0, 2, ""), ("e0_t0_h2", 1, 1, ""), ("e0_t0_h2", 0, 0, "")]
        ):
            segment = make_segment(0)
            segment.id = name
            row = (f"{i}", Query(segment), round_, "endpoint", "drawer_open", 3, "m", {}, {}, NAMES)
            query = ledger.add_query(*row).result()
            ledger.add_rating(query, rating, reason).result()
    other = make_segment(0)
    other.id = "other"
    assert ask(tmp_path / "l.sqlite", [make_segment(0), other])[0] == [(1, ""), (1, "")]


def test_an_answer_that_nobody_parsed_is_not_lost(tmp_path):
    """The process died between the answer and its rating."""
    path = fill(tmp_path / "l.sqlite", rate=False)
    assert ask(path, [make_segment(i) for i in range(5)])[0] == OUTCOMES
    with Ledger(path) as ledger:
        assert [(r.value, r.reason) for _, r in ledger.labels()] == OUTCOMES


def test_a_newer_parser_costs_nothing(tmp_path, monkeypatch, capsys):
    path = fill(tmp_path / "l.sqlite")
    monkeypatch.setattr(reparse, "PARSER_VERSION", parsing.PARSER_VERSION + 1)
    monkeypatch.setattr(rating, "parse_rating", lambda text, names: 2 if text == "Splendid" else 0)
    assert main(["ledger", "reparse", str(path)]) == 0
    assert "5 answers parsed again, 4 ratings changed" in capsys.readouterr().out
    with Ledger(path) as ledger:
        assert [r.value for _, r in ledger.labels()] == [0, 0, 0, 0, 2]
        assert reparse.reparse(ledger) == (0, 0)
        assert ledger.spending.queries == 5


def same(a, b):
    for (round_a, x), (round_b, y) in zip(a, b, strict=True):
        assert (round_a, x.value, x.reason, x.segment.id) == (round_b, y.value, y.reason, y.segment.id)
        assert x.segment.jpegs == y.segment.jpegs and x.segment.extra_names == y.segment.extra_names
        for name in ("proprio", "actions", "extras", "stamps"):
            np.testing.assert_array_equal(getattr(x.segment, name), getattr(y.segment, name))


def test_out_and_back_again(tmp_path, capsys):
    path = fill(tmp_path / "l.sqlite")
    assert main(["ledger", "export", str(path), str(tmp_path / "out")]) == 0
    assert "10 images, 5 queries, 5 answers" in capsys.readouterr().out
    with open(tmp_path / "out" / "ratings.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == ["Bad", "Good", "", "Average", ""]
    image = json.loads(rows[0]["images"])[0]
    assert (tmp_path / "out" / "images" / f"{image}.jpg").read_bytes() == make_segment(0).jpegs[0]
    assert main(["ledger", "import", str(tmp_path / "out"), str(tmp_path / "b" / "l2.sqlite")]) == 0
    with Ledger(path) as ledger, Ledger(tmp_path / "b" / "l2.sqlite") as copy:
        same(ledger.labels(), copy.labels())
        assert copy.find(f"{2:064x}").result().answers == ledger.find(f"{2:064x}").result().answers
        assert ledger.spending.queries == 5 and copy.spending.queries == 0  # somebody else paid
    export_ledger(tmp_path / "b" / "l2.sqlite", tmp_path / "again")
    for name in ("ratings.csv", "answers.csv", "ledger.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes(), name
    # importing once more, or into the ledger it came from, changes nothing
    assert import_ledger(tmp_path / "out", path) == {"images": 0, "queries": 0, "answers": 0}
    assert ask(tmp_path / "b" / "l2.sqlite", [make_segment(i) for i in range(5)])[0] == OUTCOMES


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("ledger.json", '"version": 2', '"version": 9', "ledger.json: field version is 9"),
        ("ledger.json", "{", "[", "ledger.json: is not JSON"),
        ("ledger.json", "erl_vlm_ros ledger", "holiday photos", "field format"),
        ("ratings.csv", "class,hash", "hash,class", "ratings.csv:1: the columns must be"),
        ("ratings.csv", "drawer_open,3", "drawer_open,three", "ratings.csv:2: field n_classes"),
        ("ratings.csv", "drawer_open,3", "drawer_open,4", "ratings.csv:2: field classes: expected 4 names"),
        ("ratings.csv", "Bad,000", "Bad,00", "ratings.csv:2: field hash"),
        ("ratings.csv", "endpoint,", "", "ratings.csv:2: 23 fields, expected 24"),
        ("ratings.csv", "[100000000", "[1", "field proprio"),
        ("ratings.csv", "[0, 100000000]", "[0]", "ratings.csv:2: field stamps"),
        ("answers.csv", ",70,", ",lots,", "answers.csv:2: field tokens_in"),
    ],
)
def test_a_wrong_folder_is_refused_by_file_line_and_field(tmp_path, name, old, new, words):
    path = fill(tmp_path / "l.sqlite")
    export_ledger(path, tmp_path / "out")
    text = (tmp_path / "out" / name).read_bytes().decode()
    if old == "[100000000":
        text = text.replace('""proprio"": [2, 10]', '""proprio"": [2, 11]', 1)
    else:
        assert old in text
        text = text.replace(old, new, 1)
    (tmp_path / "out" / name).write_bytes(text.encode())
    with pytest.raises(ConfigError) as caught:
        import_ledger(tmp_path / "out", tmp_path / "new.sqlite")
    assert words in str(caught.value) and str(tmp_path / "out") in str(caught.value)
    assert not (tmp_path / "new.sqlite").exists()  # all or nothing


def test_images_that_are_gone_or_changed_are_refused(tmp_path):
    export_ledger(fill(tmp_path / "l.sqlite"), tmp_path / "out")
    image = next(iter(sorted((tmp_path / "out" / "images").iterdir())))
    image.write_bytes(b"another")
    with refused(ConfigError, code=Code.DOES_NOT_FIT, file=image):
        import_ledger(tmp_path / "out", tmp_path / "new.sqlite")
    image.unlink()
    with refused(ConfigError, code=Code.MISSING_FILE, file=image):
        import_ledger(tmp_path / "out", tmp_path / "new.sqlite")


def test_show_tells_what_was_paid_for(tmp_path, capsys):
    path = fill(tmp_path / "l.sqlite")
    with Ledger(path) as ledger:  # a ledger in use can be looked at
        ledger.add_attempt("f" * 64, "rating", 50, 0.5, "USD").result()
        assert main(["ledger", "show", str(path)]) == 0
        words = capsys.readouterr().out
        assert main(["ledger", "show", str(path), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert "drawer_open by m:" in words and "no rating: unreadable 1" in words and "0.8500 USD" in words
    assert figures["ratings"][0]["counts"]["Good"] == 1 and figures["requests"] == {"answered": 5, "open": 1}
    assert figures["spent"] == [{"currency": "USD", "requests": 6, "tokens": 5 * 73 + 50, "money": pytest.approx(0.85)}]


@pytest.mark.parametrize("action", ["show", "export", "reparse"])
def test_what_is_no_ledger_is_refused(tmp_path, capsys, action):
    folder = [str(tmp_path / "out")] if action == "export" else []
    assert main(["ledger", action, str(tmp_path / "none.sqlite"), *folder]) == 2
    assert "there is no ledger" in capsys.readouterr().err and not (tmp_path / "none.sqlite").exists()
    with sqlite3.connect(tmp_path / "x.sqlite") as db:
        db.execute("CREATE TABLE x (a)")
    assert main(["ledger", action, str(tmp_path / "x.sqlite"), *folder]) == 2
    assert "not a rating ledger" in capsys.readouterr().err


def test_export_overwrites_nothing(tmp_path):
    path = fill(tmp_path / "l.sqlite")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with refused(ConfigError, code=Code.EXISTS, file=tmp_path / "out"):
        export_ledger(path, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", ["../../outside", "/tmp/erl_outside", "..", "a/b", "0" * 64, 7, b"x", None])
def test_a_foreign_ledger_writes_nothing_outside_its_folder(tmp_path, name):
    path = fill(tmp_path / "home" / "ledger.sqlite")
    db = sqlite3.connect(path)
    db.execute("PRAGMA ignore_check_constraints=ON")
    jpeg = b"evil" if name is not None else "a text"
    db.execute("INSERT OR REPLACE INTO images VALUES (?, ?)", ("f" * 64 if name is None else name, jpeg))
    db.commit()
    db.close()
    folder = tmp_path / "deep" / "er" / "out"
    before = set(tmp_path.rglob("*.jpg"))
    with pytest.raises(ConfigError) as caught:
        export_ledger(path, folder)
    assert str(path) in str(caught.value)
    new = set(tmp_path.rglob("*.jpg")) - before
    assert all((folder / "images") in p.parents for p in new) and not any(p.read_bytes() == b"evil" for p in new)


@pytest.mark.parametrize(
    ("column", "value"),
    [("classes", "["), ("classes", "9" * 5000), ("proprio", b"abc"), ("classes", b"\xff"), ("stamps", "text")],
)
def test_a_damaged_row_of_a_foreign_ledger_is_refused(tmp_path, column, value):
    path = fill(tmp_path / "ledger.sqlite")
    db = sqlite3.connect(path)
    db.execute(f"UPDATE queries SET {column} = ? WHERE id = 2", (value,))
    db.commit()
    db.close()
    with pytest.raises(ConfigError) as caught:
        export_ledger(path, tmp_path / "out")
    assert str(path) in str(caught.value)
