# SPDX-License-Identifier: Apache-2.0
"""Re-rating by vlm_rater's parameters, over real HTTP: what is asked, what is shown, what it costs."""

from __future__ import annotations

import base64
import json
import threading

import cv2
import numpy as np
import pytest
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.data.query import QueryBatch
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.feedback.ledger.ledger import Ledger
from erl_vlm_ros.feedback.teachers import make_teacher
from erl_vlm_ros.feedback.vlm.rater import VlmRater
from erl_vlm_ros.params.tables import PARAMETERS
from erl_vlm_ros.standin.server import StandinServer

TASK = load_task("drawer_open")
NAMES = TASK.class_names(5)
MARKS = {"mirrored left to right": "mirrored", "85% of its width": "detail", "You are shown": "reworded"}


class Eye:
    """Says how bright the left half is; rates bright ones as a table says for each way of asking."""

    def __init__(self, table):
        self.table, self.lock, self.seen = table, threading.Lock(), []

    def answer(self, request):
        content = request["messages"][0]["content"]
        if isinstance(content, list):
            text = content[-1]["text"]
            way = next((name for mark, name in MARKS.items() if mark in text), "plain")
            data = base64.b64decode(content[0]["image_url"]["url"].split(",")[1])
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
            with self.lock:
                self.seen.append((way, image))
            return f"seen {way} {round(float(image.max()) / 50)}"
        way, level = content.split("seen ")[1].split()[:2]
        return json.dumps({"rating": NAMES[self.table[way].get(int(level), 0)]})


def segments(levels):
    """A bright bar at the left, as bright as the level says."""
    out = []
    for i, level in enumerate(levels):
        image = np.zeros((64, 64, 3), np.uint8)
        image[:, :24] = 50 * level
        out.append(Segment(f"e0_t{i}_h1", [encode_jpeg(image)], np.zeros((1, 10)), np.zeros((1, 3)), np.array([i])))
    return QueryBatch.of(0, out)


def values(url, **changes):
    table = {p.name: p.default for p in PARAMETERS["vlm_rater"]}
    return table | {"base_url": url, "n_classes": 5, "max_queries": 100} | changes


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


def test_high_ratings_are_shown_again_in_other_ways(ledger):
    eye = Eye({"plain": {1: 1, 3: 3, 5: 4}, "mirrored": {3: 3, 5: 0}, "detail": {5: 0}})
    with StandinServer(eye) as server:
        teacher = make_teacher(
            "vlm", values(server.base_url, **{"rerate.variations": ["mirrored", "detail"]}), TASK, ledger
        )
        assert teacher.check_endpoint()
        result = teacher.label_batch(segments([1, 3, 5]))
        assert [r.value for r in result.labels] == [1, 3, 0]
        assert [way for way, _ in eye.seen].count("mirrored") == 2
        assert [way for way, _ in eye.seen].count("detail") == 1
        mirrored = next(image for way, image in eye.seen if way == "mirrored")
        assert mirrored[:, 44:].mean() > 100 > mirrored[:, :36].mean()  # the bar is at the right
        stats = teacher.stats()
        assert (stats["rerated"], stats["rerate_queries"], stats["rerate_changed"]) == (2, 3, 1)
        assert stats["spent"] == 6 and teacher.budget_left == 94  # every query counts
        teacher.close()
    kept = ledger.labels("drawer_open", 5)
    assert len(kept) == 6  # each answer is in the ledger, with its own rating


def test_without_variations_nothing_is_added(ledger):
    teacher = make_teacher("vlm", values("http://127.0.0.1:9/v1"), TASK, ledger)
    assert isinstance(teacher, VlmRater)
    teacher.close()


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        (
            {"rerate.variations": ["upside_down"]},
            {"parameter": "vlm_rater.rerate.variations", "code": Code.UNKNOWN, "shows": "upside_down"},
        ),
        (
            {"rerate.variations": ["mirrored"], "rerate.votes": 3},
            {"parameter": "vlm_rater.rerate.votes", "code": Code.DOES_NOT_FIT},
        ),
        ({"rerate.variations": ["mirrored", "mirrored"]}, {"parameter": "vlm_rater.rerate.variations"}),
    ],
)
def test_wrong_options_are_refused_at_start(ledger, changes, fields):
    with refused(ConfigError, **fields):
        make_teacher("vlm", values("http://127.0.0.1:9/v1", **changes), TASK, ledger)
