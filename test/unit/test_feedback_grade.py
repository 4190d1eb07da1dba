# SPDX-License-Identifier: Apache-2.0
"""Reward models that grade a clip from 1 to 5 are teachers as they are."""

from __future__ import annotations

import numpy as np
import pytest

from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.query import QueryBatch
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.feedback.ledger.ledger import Ledger
from erl_vlm_ros.feedback.ledger.reparse import reparse
from erl_vlm_ros.feedback.vlm.config import RaterConfig
from erl_vlm_ros.feedback.vlm.rater import VlmRater
from erl_vlm_ros.standin.server import StandinServer


class Grader:
    def __init__(self):
        self.requests = []

    def answer(self, request):
        self.requests.append(request)
        return f"ANSWER: {len(self.requests)}"


@pytest.mark.parametrize(("n", "expected"), [(5, [0, 1, 2, 3, 4, -1]), (2, [0, 0, 0, 0, 1, -1])])
def test_grades_become_ratings(tmp_path, n, expected):
    segments = [
        Segment(
            f"e0_t{i}_h3", [f"{i}{k}".encode() for k in range(3)], np.zeros((3, 10)), np.zeros((3, 3)), np.arange(3)
        )
        for i in range(6)
    ]
    answerer = Grader()
    with StandinServer(answerer) as server, Ledger(tmp_path / "l.sqlite") as ledger:
        config = RaterConfig(
            base_url=server.base_url, n_classes=n, feedback="grade", prompts="roboreward", concurrency=1
        )
        with VlmRater(config, load_task("drawer_open"), ledger) as rater:
            batch = rater.label_batch(QueryBatch.of(0, segments, "grade"))
            assert [label.value for label in batch.labels] == expected and batch.kind == "rating"
            assert rater.stats()["valid"] == 5 and rater.stats()["reason_out_of_class"] == 1
        parts = answerer.requests[0]["messages"][0]["content"]
        assert [p["type"] for p in parts] == ["image_url"] * 3 + [
            "text"
        ] and "response_format" not in answerer.requests[0]
        assert "ANSWER: <score>" in parts[-1]["text"]
        ledger.run(lambda db: db.execute("UPDATE ratings SET parser_version = 0") and None)
        assert reparse(ledger)[1] == 0
