# SPDX-License-Identifier: Apache-2.0
"""The rater over real HTTP: two stages, retries, faults, budget, ledger first, key never shown."""

from __future__ import annotations

import json
import logging
import threading
import time

import numpy as np
import pytest
from factories import make_queries
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.data.query import Query, QueryBatch
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.feedback.ledger.ledger import Ledger, LedgerError
from erl_vlm_ros.feedback.vlm.config import RaterConfig
from erl_vlm_ros.feedback.vlm.rater import VlmRater
from erl_vlm_ros.standin.server import FaultConfig, StandinServer


class CannedMind:
    """Answers "looks like N" to images and the class of index N mod n to such text; keeps every request."""

    def __init__(self):
        self.requests, self.lock = [], threading.Lock()
        self.hook = lambda request: None

    def answer(self, request):
        with self.lock:
            self.requests.append(request)
        forced = self.hook(request)
        if forced is not None:
            return forced
        content = request["messages"][0]["content"]
        if isinstance(content, list) and not request.get("response_format"):
            url = content[0]["image_url"]["url"]
            return f"looks like {len(url)}"
        names = request["response_format"]["json_schema"]["schema"]["properties"]["rating"]["enum"]
        return json.dumps({"rating": names[len(str(content)) % len(names)]})


def make_batch(count, round_=0, h=1, start=0):
    return make_queries(count, round_, h, start=start)


class Bench:
    """A canned endpoint, a ledger in a folder, and raters on them."""

    def __init__(self, folder):
        self.folder, self.answerer, self.open = folder, CannedMind(), []
        self.ledger = Ledger(folder / "ledger.sqlite")

    def serve(self, **options):
        server = StandinServer(self.answerer, **options)
        server.__enter__()
        self.open.append(server)
        return server

    def rater(self, server, **options):
        defaults = {"timeout_s": 5.0, "backoff_s": 0.01, "n_classes": 3, "max_queries": 10_000}
        rater = VlmRater(
            RaterConfig(base_url=server.base_url, **{**defaults, **options}),
            load_task("drawer_open"),
            self.ledger,
        )
        self.open.append(rater)
        return rater

    def close(self):
        for thing in reversed(self.open):
            thing.close()
        self.ledger.close()


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def test_two_stages_images_first_then_text_alone(bench):
    rater = bench.rater(bench.serve())
    batch = rater.label_batch(make_batch(1, round_=4, h=2))
    assert (batch.round, batch.n_classes, batch.requested) == (4, 3, 1)
    assert batch.labels[0].value in (0, 1, 2)
    first, second = bench.answerer.requests
    kinds = [part["type"] for part in first["messages"][0]["content"]]
    assert kinds == ["image_url", "image_url", "text"]
    assert first["temperature"] == 0.0
    assert "from image 1 to image 2: forward 5.0 cm" in first["messages"][0]["content"][2]["text"]
    assert "response_format" not in first
    text = second["messages"][0]["content"]
    assert isinstance(text, str)
    assert "looks like" in text
    names = second["response_format"]["json_schema"]["schema"]["properties"]["rating"]["enum"]
    assert names == ["Bad", "Average", "Good"]


def steps_answer(request):
    """A class for each step asked for: the second, then the third, ..."""
    if not request.get("response_format"):
        return None
    properties = request["response_format"]["json_schema"]["schema"]["properties"]
    return json.dumps({k: v["enum"][(i + 1) % 3] for i, (k, v) in enumerate(properties.items())})


def test_one_rating_for_each_transition(bench):
    bench.answerer.hook = steps_answer
    rater = bench.rater(bench.serve(), feedback="transitions")
    batch = rater.label_batch(make_batch(2, h=4, start=9))
    assert [(r.segment.id, r.value, len(r.segment.jpegs)) for r in batch.labels] == [
        ("e0_t7_h1", 1, 1), ("e0_t8_h1", 2, 1), ("e0_t9_h1", 0, 1),
        ("e0_t8_h1", 1, 1), ("e0_t9_h1", 2, 1), ("e0_t10_h1", 0, 1),
    ]  # fmt: skip
    assert batch.requested == 6 and batch.teacher == "vlm"
    assert len(bench.answerer.requests) == 4  # two stages for each segment
    assert (rater.stats()["spent_queries"], rater.stats()["valid"]) == (2, 6)
    recorded = bench.ledger.labels("drawer_open", 3)
    assert sorted(r.value for _, r in recorded) == [0, 0, 1, 1, 2, 2]
    assert all(len(r.segment.jpegs) == 1 for _, r in recorded)
    again = bench.rater(bench.serve(), feedback="transitions")
    assert [r.value for r in again.label_batch(make_batch(2, h=4, start=9)).labels] == [1, 2, 0, 1, 2, 0]
    assert len(bench.answerer.requests) == 4 and again.stats()["spent_queries"] == 2


def test_an_unclear_step_and_a_failed_request_leave_all_its_transitions_unrated(bench):
    bench.answerer.hook = lambda request: "step 1: Bad" if request.get("response_format") else None
    rater = bench.rater(bench.serve(), feedback="transitions")
    batch = rater.label_batch(make_batch(1, h=3))
    assert [(r.value, r.reason) for r in batch.labels] == [(-1, "unreadable")] * 2
    single = rater.label_batch(make_batch(1, h=1))
    assert [(r.value, r.reason) for r in single.labels] == [(-1, "too_short")]
    assert "segment_length" in rater.texts()["query_error"]


def image(size):
    return encode_jpeg(np.full((*size, 3), 128, np.uint8))


def test_a_strip_is_one_image_and_frames_of_unequal_size_are_refused_unpaid(bench):
    rater = bench.rater(bench.serve(), frames="strip", two_stage=False)
    whole, odd = make_batch(2, h=2).segments
    whole.jpegs, odd.jpegs = [image((32, 32))] * 2, [image((32, 32)), image((32, 48))]
    batch = rater.label_batch(QueryBatch.of(0, [whole, odd]))
    assert [r.reason for r in batch.labels] == ["", "bad_image"]
    assert "differ in size: 32x32, 48x32" in rater.texts()["query_error"]
    (request,) = bench.answerer.requests
    assert [part["type"] for part in request["messages"][0]["content"]] == ["image_url", "text"]
    assert "side by side" in request["messages"][0]["content"][1]["text"]
    assert rater.stats()["spent_queries"] == 1


def test_measurements_go_into_the_prompt_as_words_or_as_a_plot(bench):
    server = bench.serve()
    for form in ("text", "plot"):
        rater = bench.rater(server, modalities=["gripper"], modality_form=form)
        assert rater.label_batch(make_batch(1, h=2)).valid
    words, plot = (r["messages"][0]["content"] for r in bench.answerer.requests[::2])
    assert "- gripper opening: 0.0, 0.0 cm" in words[-1]["text"] and len(words) == 3
    assert "The last picture is a chart" in plot[-1]["text"] and len(plot) == 4
    assert len({r.segment.id for _, r in bench.ledger.labels()}) == 1
    with refused(ConfigError, parameter="vlm_rater.modalities"):
        bench.rater(server, modalities=["smell"])


def test_one_stage_by_option(bench):
    rater = bench.rater(bench.serve(), two_stage=False)
    assert rater.label_batch(make_batch(3)).valid
    assert len(bench.answerer.requests) == 3
    assert all(r["response_format"] and len(r["messages"][0]["content"]) == 2 for r in bench.answerer.requests)


def test_order_is_kept_and_queries_run_at_once(bench):
    rater = bench.rater(bench.serve(latency_s=0.2), concurrency=16)
    batch = make_batch(32)
    start = time.monotonic()
    done = rater.submit(batch)
    called = threading.Event()
    done.add_done_callback(lambda future: called.set())
    assert not done.done()
    result = done.result(timeout=20)
    assert called.wait(2)
    assert time.monotonic() - start < 6.0  # one after the other would take 12.8 s
    assert [r.segment.id for r in result.labels] == [s.id for s in batch.segments]
    assert len(result.valid) == 32


def test_an_endpoint_without_schemas_is_remembered(bench):
    def plain(request):
        content = request["messages"][0]["content"]
        return "fine" if isinstance(content, list) else "Average"

    bench.answerer.hook = plain
    server = bench.serve(structured=False)
    rater = bench.rater(server, concurrency=1)
    assert [r.value for r in rater.label_batch(make_batch(4)).labels] == [1] * 4
    assert server.requests["bad_request"] == 1
    assert rater.stats()["structured_output"] == 0.0


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("rate_limit", "rate_limit"),
        ("retry_after", "rate_limit"),
        ("server_error", "http_500"),
        ("html_page", "http_502"),
        ("hang", "timeout"),
        ("cut", "cut"),
        ("truncated", "bad_body"),
        ("refusal", "refusal"),
        ("empty", "empty"),
    ],
)
def test_every_fault_is_no_rating_with_its_reason(bench, fault, reason):
    server = bench.serve(faults=FaultConfig(1.0, (fault,), hang_s=1.0))
    # only what hangs is waited for in vain: on a busy machine the others may be slow
    rater = bench.rater(server, max_retries=1, timeout_s=0.4 if fault == "hang" else 10.0)
    batch = rater.label_batch(make_batch(2))
    assert [(r.value, r.reason) for r in batch.labels] == [(-1, reason)] * 2
    assert rater.stats()[f"reason_{reason}"] == 2
    assert [r.reason for _, r in bench.ledger.labels()] == [reason] * 2
    paid = fault in ("hang", "cut", "truncated", "refusal", "empty")
    assert rater.stats()["spent"] == (2 if paid else 0)
    expected = 2 if fault in ("refusal", "empty") else 4  # an answer is an answer; the rest is tried twice
    assert server.requests["chat"] == expected


@pytest.mark.parametrize("text", ['{"rating": "Splendid"}', '{"rating": ', "Good or Bad", '{"note": "Good"}'])
def test_unusable_answers_are_no_rating_and_not_asked_again(bench, text):
    bench.answerer.hook = lambda request: text if request.get("response_format") else None
    rater = bench.rater(bench.serve())
    batch = rater.label_batch(make_batch(1))
    assert batch.labels[0].value == -1
    assert batch.labels[0].reason in ("out_of_class", "unreadable")
    assert len(bench.answerer.requests) == 2
    assert rater.label_batch(make_batch(1, round_=1)).labels[0].value == -1  # the same answer, from the ledger
    assert len(bench.answerer.requests) == 2


@pytest.mark.slow
def test_retries_get_through_a_storm(bench):
    """With 40% transport faults every rating arrives, none is invented, and the truth is unchanged."""
    calm = bench.rater(bench.serve()).label_batch(make_batch(60)).labels
    kinds = ("rate_limit", "server_error", "html_page", "cut", "truncated")
    stormy = Bench(bench.folder / "storm")
    server = stormy.serve(faults=FaultConfig(0.4, kinds, seed=1))
    rated = stormy.rater(server, max_retries=12).label_batch(make_batch(60)).labels
    stormy.close()
    assert [r.value for r in rated] == [r.value for r in calm]


def test_budget_is_never_exceeded_and_survives_a_restart(bench):
    server = bench.serve()
    rater = bench.rater(server, max_queries=5)
    first = rater.label_batch(make_batch(8))
    assert [r.value >= 0 for r in first.labels].count(True) == 5
    assert [r.reason for r in first.labels].count("budget") == 3
    assert server.requests["chat"] == 10
    assert rater.budget_left == 0
    rater.close()
    again = bench.rater(server, max_queries=6)
    assert again.budget_left == 1
    assert again.stats()["valid"] == 5
    second = again.label_batch(make_batch(8, round_=1))
    # what the ledger knows is free; one more may be asked
    assert [r.reason for r in second.labels].count("budget") == 2
    assert server.requests["chat"] == 12


def test_the_same_question_is_paid_once(bench):
    server = bench.serve(latency_s=0.05)
    rater = bench.rater(server)
    batch = make_batch(1)
    first = batch.segments[0]
    copies = [Segment(f"copy{i}", first.jpegs, first.proprio, first.actions, first.stamps) for i in range(5)]
    batch.queries += [Query(copy) for copy in copies]
    rated = rater.label_batch(batch).labels
    assert len({r.value for r in rated}) == 1
    assert server.requests["chat"] == 2
    assert rater.stats()["from_ledger"] == 5
    other = bench.rater(server, n_classes=5)  # another question about the same image
    other.label_batch(make_batch(1))
    assert server.requests["chat"] == 4


def test_nothing_is_sent_before_it_is_recorded_and_nothing_told_before_the_answer_is(bench):
    """Requests find their query in the file; results find their answers there."""
    import sqlite3

    seen = []

    def look(request):
        with sqlite3.connect(bench.folder / "ledger.sqlite") as db:
            queries = db.execute("SELECT COUNT(*) FROM queries").fetchone()[0]
            answers = db.execute("SELECT COUNT(*) FROM answers").fetchone()[0]
        seen.append((queries, answers))

    bench.answerer.hook = look
    rater = bench.rater(bench.serve(), concurrency=1)
    rater.label_batch(make_batch(3))
    assert seen == [(1, 0), (1, 1), (2, 2), (2, 3), (3, 4), (3, 5)]
    with sqlite3.connect(bench.folder / "ledger.sqlite") as db:
        assert db.execute("SELECT COUNT(*) FROM ratings WHERE rating >= 0").fetchone()[0] == 3


def test_an_analysis_that_was_paid_is_not_asked_again(bench):
    """Cut off between the stages: after a restart only the second stage is asked."""
    bench.answerer.hook = lambda request: time.sleep(30) if request.get("response_format") else None
    server = bench.serve()
    rater = bench.rater(server)
    future = rater.submit(make_batch(1))
    deadline = time.monotonic() + 10
    while len(bench.answerer.requests) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    rater.close()
    assert future.cancelled() or future.exception(timeout=5)
    bench.answerer.hook = lambda request: None
    bench.answerer.requests.clear()
    again = bench.rater(bench.serve(), max_queries=1)
    assert again.stats()["spent"] == 1  # it was counted, and is still, once
    rated = again.label_batch(make_batch(2)).labels
    assert rated[0].value >= 0
    assert rated[1].reason == "budget"
    assert len(bench.answerer.requests) == 1
    assert again.stats()["spent"] == bench.ledger.spending.queries == 1


def test_a_ledger_that_cannot_record_stops_the_round(bench):
    rater = bench.rater(bench.serve())
    rater.label_batch(make_batch(1))
    bench.ledger.close()
    with pytest.raises(LedgerError):
        rater.label_batch(make_batch(2, start=5))
    assert len(bench.answerer.requests) == 2


def test_close_gives_queries_on_their_way_time(bench):
    rater = bench.rater(bench.serve(latency_s=0.2))
    future = rater.submit(make_batch(4))
    time.sleep(0.1)
    rater.close(grace_s=5.0)
    assert len(future.result(timeout=1).valid) == 4


def test_check_endpoint(bench, monkeypatch):
    server = bench.serve(api_key="sesame")
    monkeypatch.setenv("MY_KEY", "wrong")
    with refused(ConfigError, parameter="vlm_rater.api_key_env", code=Code.UNREACHABLE):
        bench.rater(server, api_key_env="MY_KEY").check_endpoint()
    monkeypatch.setenv("MY_KEY", "sesame")
    assert bench.rater(server, api_key_env="MY_KEY").check_endpoint() == ["stand-in"]
    address = server.base_url
    server.close()
    with refused(ConfigError, parameter="vlm_rater.base_url", code=Code.UNREACHABLE, shows=address):
        bench.rater(server).check_endpoint()


def test_a_named_key_that_is_not_set_is_refused_at_start(bench, monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with refused(ConfigError, parameter="vlm_rater.api_key_env", code=Code.NOT_GIVEN, shows="NO_SUCH_KEY"):
        bench.rater(bench.serve(), api_key_env="NO_SUCH_KEY")


def test_the_key_is_never_shown(bench, monkeypatch, caplog):
    """Not in logs at any level, not in the ledger, not in statistics, not in errors."""
    secret = "sk-very-secret-0123456789"
    monkeypatch.setenv("MY_KEY", secret)
    caplog.set_level(logging.DEBUG)
    server = bench.serve(api_key=secret, faults=FaultConfig(0.3, ("server_error", "cut", "refusal"), seed=3))
    rater = bench.rater(server, api_key_env="MY_KEY")
    batch = rater.label_batch(make_batch(10))
    wrong = bench.rater(bench.serve(api_key="another"), api_key_env="MY_KEY", max_retries=0)
    refused = wrong.label_batch(make_batch(2, start=50))
    assert {r.reason for r in refused.labels} == {"http_401"}
    with pytest.raises(ConfigError) as caught:
        wrong.check_endpoint()
    shown = caplog.text + repr(rater.cfg) + repr(rater.stats()) + repr(batch) + str(caught.value)
    assert secret not in shown
    rater.close()
    bench.ledger.close()
    for path in bench.folder.iterdir():
        assert secret.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "localhost:8000"},
        {"base_url": "http://user:secret@host/v1"},
        {"concurrency": 0},
        {"n_classes": 6},
        {"n_classes": 1},
        {"timeout_s": 0.0},
        {"max_retries": -1},
        {"temperature": 3.0},
        {"model": ""},
    ],
)
def test_wrong_parameters_are_refused_by_name(options):
    with refused(ConfigError, parameter=f"vlm_rater.{next(iter(options))}"):
        RaterConfig(**options)
