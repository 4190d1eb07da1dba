# SPDX-License-Identifier: Apache-2.0
"""Discrete actions: moves of (action, object) pairs, their words, categorical policy, exploration, bags of words."""

from __future__ import annotations

import numpy as np
import pytest
from factories import make_segment
from refusals import refused

from erl_vlm_ros.agents.exploration import ExplorationConfig
from erl_vlm_ros.agents.exploration_choice import rollout_policy
from erl_vlm_ros.common.errors import DataError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.control.policies import make_policy
from erl_vlm_ros.data.choices import Moves, choice_spec, move_words
from erl_vlm_ros.data.query import QueryBatch
from erl_vlm_ros.data.spaces import ObservationSpec, Part, Spaces, SpecError
from erl_vlm_ros.data.text import BagOfWords
from erl_vlm_ros.feedback.kinds.transitions import TRANSITIONS
from erl_vlm_ros.feedback.vlm.prompts import load_prompts
from erl_vlm_ros.feedback.vlm.words import segment_words

TWO = choice_spec(("go on", "pick up {object}", "open {object}"), ("the ball", "the door"))


def test_moves_are_numbered_and_told_in_words():
    moves = Moves.of(TWO)
    assert moves.pairs.tolist() == [[0, -1], [1, 0], [1, 1], [2, 0], [2, 1]] and moves.size == 5
    for number in range(len(moves)):
        assert moves.numbers(moves.vector(number)).tolist() == [number]
    assert moves.numbers(np.array([0.9, 0.1, 0.0, 0.0, 1.0])).tolist() == [0]  # an object that no one takes is masked
    assert move_words(moves.vector(0), TWO) == "go on" and move_words(moves.vector(4), TWO) == "open the door"
    assert Spaces.from_json(Spaces(_seen(), TWO).to_json()).action == TWO
    with pytest.raises(DataError):
        moves.numbers(np.zeros(4))


@pytest.mark.parametrize("actions, objects", [(("go",), ("ball",)), (("take {object}",), ())])
def test_objects_and_actions_that_take_them_belong_together(actions, objects):
    with refused(SpecError, field="object_choice"):
        choice_spec(actions, objects)


def _seen() -> ObservationSpec:
    return ObservationSpec((Part("state", 2, proprioception=True),))


def _policy(takes=(0, 1, 1), width=5):
    weights = {"w0": np.array([[1.0, 0.0, 0.0, 2.0, 0.0], [0.0, 3.0, 0.0, 0.0, 2.0]], np.float32)[:, :width]}
    arrays = {**weights, "b0": np.zeros(width, np.float32), "takes": np.array(takes, np.uint8)}
    return make_policy("categorical", arrays, {})


def test_the_categorical_policy():
    policy = _policy()
    assert (policy.obs_dim, policy.act_dim) == (2, 5)
    assert policy.act(np.array([1.0, 0.0]), True).tolist() == [1, 0, 0, 0, 0]  # the object's best is masked
    assert policy.act(np.array([0.0, 1.0]), True).tolist() == [0, 1, 0, 0, 1]
    rng = np.random.default_rng(0)
    drawn = np.mean([policy.act(np.array([1.0, 0.0]), False, rng)[:3] for _ in range(4000)], 0)
    np.testing.assert_allclose(drawn, np.exp([1, 0, 0]) / np.exp([1, 0, 0]).sum(), atol=0.03)
    for bad in (lambda: _policy((0, 2, 0)), lambda: _policy((0,) * 6), lambda: _policy((0, 0, 0))):
        with pytest.raises(ValueError):
            bad()
    with refused(DataError, field="observation"):
        policy.act(np.zeros(3), True)


def test_exploration_begins_with_any_move_and_leaves_it_to_the_actor():
    task = load_task("drawer_open")
    config = ExplorationConfig(prefix_share=1.0, prefix_steps=(4, 4), burst_share=0.0)
    rollout = rollout_policy(config, task, Spaces(_seen(), TWO), 0)
    drawn = {int(Moves.of(TWO).numbers(rollout.act(np.zeros(2), None))[0]) for _ in range(200)}
    assert drawn == set(range(5))

    class Opens:
        def act(self, observation, deterministic, rng):
            return Moves.of(TWO).vector(4)

    rollout.begin_episode(explore=False, evaluation=False)
    acted = np.stack([rollout.act(np.zeros(2), Opens()) for _ in range(20)])
    assert (acted[4:] == Moves.of(TWO).vector(4)).all()
    rollout.begin_episode(explore=False, evaluation=True)
    assert (rollout.act(np.zeros(2), Opens()) == Moves.of(TWO).vector(4)).all()


def test_a_bag_of_words():
    words = BagOfWords(("go", "to", "the", "red", "ball"))
    assert words("Go to the RED door, to the left!").tolist() == [1, 2, 2, 1, 0, 2]
    assert words.part.labels[-1] == "(other)" and words.part.proprioception
    for bad in ((), ("a", "a"), ("two words",), ("Upper",)):
        with refused(DataError, field="vocabulary"):
            BagOfWords(bad)


def test_the_question_tells_the_missions_own_sentence_and_what_was_done():
    moves = Moves.of(TWO)
    segment = make_segment(
        "e0_t3_h3", 3, proprio=np.zeros((3, 2), np.float32), actions=np.stack([moves.vector(i) for i in (0, 1, 4)]),
        spaces=Spaces(_seen(), TWO), instruction="open the green door",
    )  # fmt: skip
    assert [s.instruction for s in QueryBatch.from_bundle(QueryBatch.of(0, [segment]).to_bundle()).segments] == [
        segment.instruction
    ]
    query = QueryBatch.of(0, [segment]).queries[0]
    assert TRANSITIONS.from_row(query.id, query.jpegs, *TRANSITIONS.to_row(query))[0].instruction == segment.instruction
    assert [part[0].instruction for part in TRANSITIONS.parts(query)] == [segment.instruction] * 2
    task = load_task("drawer_open")
    words = segment_words(segment.actions, task, segment.spaces.action)
    assert words.splitlines()[1].endswith("from image 2 to image 3: open the door")
    prompts = load_prompts(task, 3, "grid", kind=TRANSITIONS).about(segment)
    text = prompts.one_stage(3, words)
    assert "open the green door" in text and task.instruction not in text and "arm" not in text
