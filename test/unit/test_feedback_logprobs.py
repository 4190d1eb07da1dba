# SPDX-License-Identifier: Apache-2.0
"""Token log-probabilities become a soft label of the classes; what says nothing about them gives none."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.data.query import QueryBatch
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.feedback.kinds import RATING
from erl_vlm_ros.feedback.ledger.ledger import Ledger
from erl_vlm_ros.feedback.noise_model import NoiseModel
from erl_vlm_ros.feedback.teachers.replayed import ReplayedTeacher
from erl_vlm_ros.feedback.vlm.config import RaterConfig
from erl_vlm_ros.feedback.vlm.logprobs import Token, class_probabilities, from_text, read_tokens, to_text
from erl_vlm_ros.feedback.vlm.rater import VlmRater
from erl_vlm_ros.standin.answerer import Answerer, AnswererConfig
from erl_vlm_ros.standin.server import StandinServer

FIVE = ["Very Bad", "Bad", "Average", "Good", "Very Good"]
SURE = {'{"rating": "': 1.0}


def tokens(*parts):
    return [Token(text, {text: p, **others}) for text, p, others in parts]


@pytest.mark.parametrize(
    ("answer", "names", "chosen", "expected"),
    [
        (tokens(("Good", 0.7, {"Bad": 0.2, "Average": 0.1})), FIVE[1:4], 2, [0.2, 0.1, 0.7]),
        (tokens(('{"rating": "', 1.0, {}), ("Good", 0.6, {"Bad": 0.4}), ('"}', 1.0, {})), FIVE[1:4], 2, [0.4, 0, 0.6]),
        (tokens((" Good", 0.6, {" good": 0.2, "Bad": 0.2})), FIVE[1:4], 2, [0.2, 0.0, 0.8]),
        (tokens(("Av", 0.5, {"Good": 0.5}), ("erage", 1.0, {})), FIVE[1:4], 1, [0, 0.5, 0.5]),
        # the answer went on after "Very": what might have followed it belongs to the other class that begins so
        (tokens(("Very", 0.6, {"Bad": 0.4}), (" Good", 0.75, {" Bad": 0.25})), FIVE, 4, [0.15, 0.4, 0, 0, 0.45]),
        (tokens(("Good", 0.6, {"Very": 0.4})), FIVE, 3, [0.2, 0, 0, 0.6, 0.2]),
        (tokens(("Good", 0.2, {"the": 0.8})), FIVE[1:4], 2, None),
        (tokens(("It", 1.0, {})), FIVE[1:4], 2, None),
        ([], FIVE[1:4], 2, None),
    ],
)
def test_probabilities_of_the_classes(answer, names, chosen, expected):
    found = class_probabilities(answer, names, chosen)
    assert found is None if expected is None else np.allclose(found, expected, atol=1e-6)


@given(st.lists(st.tuples(st.text(max_size=6), st.floats(0, 1), st.dictionaries(st.text(max_size=6), st.floats(0, 1)))))
def test_any_tokens_give_a_distribution_or_nothing(parts):
    for chosen in range(5):
        found = class_probabilities(tokens(*parts), FIVE, chosen)
        assert found is None or (
            found.shape == (5,) and (found >= 0).all() and found.sum() == pytest.approx(1, abs=1e-5)
        )


@pytest.mark.parametrize(
    "choice",
    [{}, {"logprobs": None}, {"logprobs": {"content": None}}, {"logprobs": {"content": [{"token": "a"}]}}, [], None,
     {"logprobs": {"content": [{"token": "a", "logprob": "x"}]}}, {"logprobs": {"tokens": ["Good"]}}],
)  # fmt: skip
def test_other_shapes_are_no_tokens(choice):
    assert read_tokens(choice) == ()


def test_they_are_read_as_an_endpoint_writes_them():
    entry = {"token": "Good", "logprob": math.log(0.7), "top_logprobs": [{"token": "Bad", "logprob": math.log(0.3)}]}
    (token,) = read_tokens({"logprobs": {"content": [entry]}})
    assert token.alternatives == pytest.approx({"Good": 0.7, "Bad": 0.3})
    assert from_text(to_text(np.array([0.25, 0.75])), 2) == pytest.approx([0.25, 0.75])
    assert from_text(json.dumps({"probabilities": [1.0]}), 2) is None


def batch(count):
    rng = np.random.default_rng(0)
    jpegs = [encode_jpeg(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)) for _ in range(count)]
    return QueryBatch.of(
        0,
        [Segment(f"e0_t{i}_h1", [j], np.zeros((1, 10)), np.zeros((1, 3)), np.array([i])) for i, j in enumerate(jpegs)],
    )


@pytest.mark.parametrize("structured", [True, False])
def test_a_soft_label_from_one_query_and_from_the_ledger(tmp_path, structured):
    task = load_task("drawer_open")
    answerer = Answerer(AnswererConfig(error_rate=0.3))
    with StandinServer(answerer, structured=structured) as server, Ledger(tmp_path / "l.sqlite") as ledger:
        config = RaterConfig(base_url=server.base_url, n_classes=3, logprobs=True)
        with VlmRater(config, task, ledger) as rater:
            labels = rater.label_batch(batch(6)).labels
            again = rater.label_batch(QueryBatch(1, batch(6).queries)).labels
            assert rater.stats()["valid"] == 12
        assert len({tuple(label.probabilities) for label in labels}) > 1
        for label, other in zip(labels, again):
            assert label.probabilities.sum() == pytest.approx(1.0) and label.probabilities[label.value] > 0.3
            assert label.probabilities == pytest.approx(other.probabilities, abs=1e-5)
        replayed = ReplayedTeacher("", ledger, task, 3, kind=RATING).label_batch(batch(6)).labels
        assert [r.probabilities.tolist() for r in replayed] == [
            pytest.approx(label.probabilities.tolist(), abs=1e-5) for label in labels
        ]


def test_the_stand_ins_confidence_is_calibrated():
    noise, rng = NoiseModel.uniform(3, 0.2), np.random.default_rng(0)
    sure, right = [], []
    for _ in range(6000):
        answered = noise.answered(1, rng.random(), rng.random())
        beliefs = noise.beliefs(1, answered, rng.random())
        assert beliefs.sum() == pytest.approx(1.0)
        sure.append(beliefs[answered])
        right.append(answered == 1)
    sure, right = np.array(sure), np.array(right)
    for low in (0.6, 0.7, 0.8, 0.9):
        part = (sure >= low) & (sure < low + 0.1)
        assert right[part].mean() == pytest.approx(low + 0.05, abs=0.04)
