# SPDX-License-Identifier: Apache-2.0
"""A person as teacher: in a real browser by keys, over HTTP, and what is kept when things go wrong."""

from __future__ import annotations

import http.client
import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.data.query import QueryBatch
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.feedback.kinds import RATING, TRANSITIONS
from erl_vlm_ros.feedback.ledger.ledger import Ledger
from erl_vlm_ros.feedback.teacher_configs import HumanConfig
from erl_vlm_ros.feedback.teachers.human import HumanTeacher
from erl_vlm_ros.feedback.teachers.human_page import HumanPage
from erl_vlm_ros.feedback.teachers.record import Record

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from browser import Browser

TASK = load_task("drawer_open")


def make_batch(count, round_=0, h=1, extras=False):
    segments, rng = [], np.random.default_rng(round_)
    for i in range(count):
        jpegs = [encode_jpeg(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)) for _ in range(h)]
        more = (np.full((h, 1), 2.5), ("wrench_fz",)) if extras else ()
        segments.append(
            Segment(f"e{round_}_t{i + h}_h{h}", jpegs, np.zeros((h, 10)), np.zeros((h, 3)), np.arange(h), *more)
        )
    return QueryBatch.of(round_, segments)


class Desk:
    """A ledger in a folder, and teachers with their page."""

    def __init__(self, folder):
        self.folder, self.open = folder, []
        self.ledger = Ledger(folder / "ledger.sqlite")

    def teacher(self, n=3, kind=RATING, **options):
        config = HumanConfig(**{"port": 0, "undo_s": 0.0, **options})
        record = Record(self.ledger, TASK.name, TASK.class_names(n), "human")
        teacher = HumanTeacher(config, TASK, n, record, kind)
        self.open.append(teacher)
        return teacher

    def page(self, teacher):
        page = HumanPage(teacher, teacher.config.host, teacher.config.port)
        self.open.append(page)
        return page

    def browser(self):
        browser = Browser(self.folder)
        self.open.append(browser)
        return browser

    def close(self):
        for thing in reversed(self.open):
            thing.close()
        self.ledger.close()


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.close()


def request(url, path="/", method="GET", body=None, token=True):
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    query = parts.query if token is True else f"token={token}"
    connection.request(method, f"{path}{'&' if '?' in path else '?'}{query}", body)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer, data


READY = "!document.getElementById('work').hidden && !document.querySelector('#classes button').disabled"


def shown(key):
    return f"state.key === {json.dumps(key)} && {READY}"


@pytest.mark.slow
def test_a_person_rates_skips_and_takes_back_in_a_browser(desk):
    teacher = desk.teacher(undo_s=60.0)
    page, browser = desk.page(teacher), desk.browser()
    browser.open(page.url)
    browser.until("!document.getElementById('idle').hidden && state.classes")
    future = teacher.submit(make_batch(4, h=3, extras=True))
    browser.until(shown("0.0.e0_t3_h3"))
    assert browser.js("document.querySelectorAll('#strip img').length") == 3
    assert browser.js("document.getElementById('big').naturalWidth") == 32
    text = browser.js("document.body.innerText")
    for words in (TASK.instruction, "round 0: 1 of 4", "Average", "the drawer is partly open", "wrench fz 2.50"):
        assert words in text
    browser.press("9")  # no such class
    browser.press("3")
    browser.until(shown("0.1.e0_t4_h3"))
    browser.press("s")
    browser.until(shown("0.2.e0_t5_h3"))
    browser.press("u")
    browser.until(shown("0.1.e0_t4_h3"))
    assert not future.done()
    browser.press("1")
    browser.until(shown("0.2.e0_t5_h3"))
    browser.press("S")
    browser.until(shown("0.3.e0_t6_h3"))
    browser.js("document.querySelectorAll('#classes button')[1].click()")
    browser.until("!document.getElementById('idle').hidden && state.rated === 3")
    assert not future.done()  # the last one may be taken back for a while
    browser.press("u")
    browser.until(shown("0.3.e0_t6_h3"))
    teacher.config = HumanConfig(port=0, undo_s=0.0)
    browser.press("2")
    batch = future.result(timeout=10)
    assert [(r.value, r.reason) for r in batch.labels] == [(2, ""), (0, ""), (-1, "skipped"), (1, "")]
    assert batch.teacher == "human" and batch.requested == 4
    assert [r.value for _, r in desk.ledger.labels(TASK.name, 3)] == [2, 0, -1, 1]
    assert desk.ledger.spending.queries == 0
    home = page.url.split("?")[0]
    assert browser.requests and all(url.startswith(home) for url in browser.requests)  # nothing from elsewhere


def test_without_the_token_there_is_nothing(desk):
    teacher = desk.teacher()
    page = desk.page(teacher)
    teacher.submit(make_batch(1))
    for path in ("/", "/state", "/frame?key=0.0.e0_t1_h1&index=0"):
        answer, data = request(page.url, path, token="wrong")
        assert answer.status == 403 and b"drawer" not in data
        assert request(page.url, path)[0].status == 200
    press = json.dumps({"action": "rate", "key": "0.0.e0_t1_h1", "class": 0})
    assert request(page.url, "/press", "POST", press, token="")[0].status == 403
    assert teacher.state()["key"] == "0.0.e0_t1_h1"
    assert urlsplit(page.url).hostname == "127.0.0.1"
    policy = request(page.url)[0].getheader("Content-Security-Policy")
    assert "default-src 'none'" in policy and "NONCE" not in policy
    page.write_url(desk.folder / "page.url")
    assert (desk.folder / "page.url").read_text().strip() == page.url
    assert (desk.folder / "page.url").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{",
        '{"action": "dance"}',
        '{"action": "rate", "class": "1", "key": "x"}',
        '{"action": "skip", "key": 3}',
    ]
    + ['"rate"', "null"],
)
def test_nonsense_is_no_press(desk, body):
    teacher = desk.teacher()
    page = desk.page(teacher)
    teacher.submit(make_batch(1))
    assert request(page.url, "/press", "POST", body)[0].status == 400
    assert teacher.stats()["in_flight"] == 1


def test_a_press_for_another_segment_or_class_does_nothing(desk):
    teacher = desk.teacher()
    page = desk.page(teacher)
    teacher.submit(make_batch(2))

    def press(**values):
        return json.loads(request(page.url, "/press", "POST", json.dumps({"action": "rate", **values}))[1])["done"]

    assert not press(key="0.1.e0_t2_h1", **{"class": 1})
    assert not press(key="0.0.e0_t1_h1", **{"class": 3})
    assert not press(key="0.0.e0_t1_h1", **{"class": -1})
    assert not press(**{"class": 1})
    assert press(key="0.0.e0_t1_h1", **{"class": 1})
    assert not press(key="0.0.e0_t1_h1", **{"class": 1})  # a second press of the same key
    assert request(page.url, "/press", "POST", "x" * 5000)[0].status == 413
    for key, index in (("none", 0), ("0.1.e0_t2_h1", 7), ("0.1.e0_t2_h1", -1)):
        assert request(page.url, f"/frame?key={key}&index={index}")[0].status == 404
    assert request(page.url, "/no")[0].status == 404


def test_an_absent_person_blocks_nothing(desk):
    teacher = desk.teacher(round_timeout_s=0.3)
    future = teacher.submit(make_batch(3))
    assert teacher.rate(2)
    batch = future.result(timeout=10)
    assert [(r.value, r.reason) for r in batch.labels] == [(2, ""), (-1, "unanswered"), (-1, "unanswered")]
    assert teacher.state()["key"] is None and not teacher.undo()
    second = teacher.submit(make_batch(1, round_=1))
    assert teacher.rate(0) and second.result(timeout=10).labels[0].value == 0
    assert teacher.stats()["reason_unanswered"] == 2 and teacher.stats()["valid"] == 2


def test_what_was_rated_before_a_restart_is_not_asked_again(desk):
    first = desk.teacher(undo_s=60.0)
    future = first.submit(make_batch(3))
    first.rate(1)
    first.skip()
    first.close()
    assert future.exception() is not None
    second = desk.teacher()
    again = second.submit(make_batch(3))
    assert second.state()["key"] == "0.2.e0_t3_h1"
    second.rate(0)
    assert [(r.value, r.reason) for r in again.result(timeout=10).labels] == [(1, ""), (-1, "skipped"), (0, "")]


def test_closing_hands_a_complete_round_over(desk):
    teacher = desk.teacher(undo_s=60.0)
    future = teacher.submit(make_batch(1))
    teacher.rate(1)
    assert not future.done()
    teacher.close()
    assert future.result(timeout=10).labels[0].value == 1


def test_one_rating_a_transition(desk):
    teacher = desk.teacher(kind=TRANSITIONS)
    future = teacher.submit(make_batch(1, h=3))
    assert teacher.state()["frames"] == 1 and teacher.state()["count"] == 2
    teacher.rate(0)
    teacher.rate(1)
    assert [(r.segment.id, r.value) for r in future.result(timeout=10).labels] == [("e0_t2_h1", 0), ("e0_t3_h1", 1)]


def test_wrong_settings_are_refused(desk):
    taken = desk.page(desk.teacher())
    with refused(ConfigError, parameter="vlm_rater.human.port", code=Code.IN_USE):
        HumanPage(desk.teacher(), "127.0.0.1", urlsplit(taken.url).port)
    for wrong in ({"port": 70_000}, {"undo_s": -1.0}, {"round_timeout_s": -1.0}):
        with refused(ConfigError, parameter=f"vlm_rater.human.{next(iter(wrong))}"):
            HumanConfig(**wrong)
