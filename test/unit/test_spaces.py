# SPDX-License-Identifier: Apache-2.0
"""Specs of observation and action: slices by name, JSON, and what is refused."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from factories import tagged_jpeg
from hypothesis import given
from hypothesis import strategies as st

from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.common.tasks import BINARY, CONTINUOUS, FULL, GRIPPERS, NONE, OBJECTS, ROTATIONS, YAW, load_task
from erl_vlm_ros.control.command import action_to_command, velocity_to_action
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.observation import build_observation
from erl_vlm_ros.data.replay import ReplayBuffer
from erl_vlm_ros.data.spaces import (
    ANGULAR,
    COMMANDED,
    EE_POSITION,
    EE_ROTATION,
    GRIPPER,
    JOINTS,
    LINEAR,
    MEASURED,
    OBJECT,
    RELEASED_OBSERVATION,
    ObservationSpec,
    Part,
    Spaces,
    SpecError,
    observation_spec,
    require_spaces,
    spaces_of,
)

TASK = load_task("drawer_open")
tasks = st.builds(
    lambda rotation, gripper, seen, thing: dataclasses.replace(
        TASK, rotation=rotation, gripper=gripper, observed_rotation=seen, observed_object=thing
    ),
    st.sampled_from(ROTATIONS), st.sampled_from(GRIPPERS), st.sampled_from(ROTATIONS), st.sampled_from(OBJECTS),
)  # fmt: skip
some_spaces = st.builds(
    lambda task, joints, gripper: spaces_of(task, [f"j{i}" for i in range(joints)], gripper),
    tasks, st.integers(1, 12), st.sampled_from(("", MEASURED, COMMANDED)),
)  # fmt: skip
json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["name", "size", "unit", "labels", "scale", "shape", "observation", "action"]), inner,
        max_size=5,
    ),
    max_leaves=20,
)  # fmt: skip


def episode_of(spaces, /, steps=2, **changes):
    frames, obs = steps + 1, spaces.observation
    arrays = (
        np.zeros((frames, obs.size)),
        np.zeros((steps, spaces.action.size)),
        [tagged_jpeg("x")] * frames,
        np.arange(frames),
    )
    return Episode(*arrays, False, True, False, 0, 0, -1, obs.proprio_size, **{"spaces": spaces, **changes})


def test_the_released_layout_is_that_of_six_joints_and_a_tracked_object():
    spec = observation_spec(TASK, 6)
    assert spec == RELEASED_OBSERVATION and (spec.size, spec.proprio_size) == (19, 10)
    assert [spec.slice(name) for name in (JOINTS, EE_POSITION, GRIPPER, OBJECT)] == [
        slice(0, 6), slice(6, 9), slice(9, 10), slice(10, 13),
    ]  # fmt: skip


@given(some_spaces)
def test_specs_survive_json_and_their_slices_tile_the_vector(spaces):
    again = Spaces.from_json(spaces.to_json())
    assert again == spaces
    spaces.require(again, "the same")
    for spec in (spaces.observation, spaces.action):
        edges = [spec.slice(part.name) for part in spec.vector]
        assert [e.start for e in edges] == [0, *(e.stop for e in edges[:-1])] and edges[-1].stop == spec.size


@given(json_like)
def test_what_is_no_spec_is_refused(raw):
    try:
        Spaces.from_json(raw)
    except SpecError:
        return
    raise AssertionError("was accepted")


@given(some_spaces, some_spaces)
def test_other_spaces_are_refused_and_both_are_named(one, other):
    if one.observation.to_json() == other.observation.to_json() and one.action == other.action:
        return
    same = [(a.name, a.size, a.labels) for a in one.observation.parts] == [
        (b.name, b.size, b.labels) for b in other.observation.parts
    ]
    if same and one.action == other.action:  # only where the opening comes from differs
        return
    with pytest.raises(SpecError) as error:
        one.require(other, "an episode")
    text = str(error.value)
    assert "an episode" in text
    assert (str(one.observation) in text and str(other.observation) in text) or (
        str(one.action) in text and str(other.action) in text
    )


def test_other_joint_names_are_refused_unless_one_side_does_not_say():
    ur, fr = observation_spec(TASK, ["a", "b"]), observation_spec(TASK, ["a", "c"])
    with pytest.raises(SpecError):
        ur.require(fr, "x")
    ur.require(observation_spec(TASK, 2), "x")


def test_bad_specs_are_refused():
    own = Part(JOINTS, 2, proprioception=True)
    for parts in ((), (own, own), (Part("object", 3), own), (Part("scene", 0, shape=(8, 8)),)):
        with pytest.raises(SpecError):
            ObservationSpec(parts)
    with pytest.raises(SpecError):
        Part("joints", 2, labels=("one",))
    with pytest.raises(SpecError):
        observation_spec(TASK, 6).slice("wrist")


def test_an_image_is_a_part_beside_the_vector():
    spec = ObservationSpec((Part(JOINTS, 2, proprioception=True), Part("scene", 0, source="camera", shape=(48, 64))))
    assert (spec.size, [part.name for part in spec.images]) == (2, ["scene"])
    assert ObservationSpec.from_json(spec.to_json()) == spec
    with pytest.raises(SpecError):
        spec.slice("scene")


@given(some_spaces, st.integers(0, 2**31))
def test_any_observation_is_built_as_its_spec_says(spaces, seed):
    spec, rng = spaces.observation, np.random.default_rng(seed)
    joints, ee, thing, goal = rng.normal(size=spec.part(JOINTS).size), *rng.normal(size=(3, 3))
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    vector = build_observation(spec, joints, ee, 0.03, thing, goal, rotation)
    assert vector.dtype == np.float32 and vector.shape == (spec.size,)
    assert np.array_equal(vector[spec.slice(JOINTS)], joints.astype(np.float32))
    if EE_ROTATION in spec and spec.part(EE_ROTATION).size == 2:
        assert np.linalg.norm(vector[spec.slice(EE_ROTATION)]) == pytest.approx(1.0, abs=1e-5)
    if OBJECT in spec:
        assert np.array_equal(vector[spec.slice(OBJECT)], thing.astype(np.float32))
        with pytest.raises(ValueError):
            build_observation(spec, joints, ee, 0.03, None, goal, rotation)
    with pytest.raises(ValueError):
        build_observation(spec, joints[:-1], ee, 0.03, thing, goal, rotation)


@given(some_spaces, st.integers(0, 2**31))
def test_a_command_becomes_the_action_that_asks_for_it(spaces, seed):
    spec = spaces.action
    action = np.random.default_rng(seed).uniform(-1, 1, spec.size).astype(np.float32)
    command = action_to_command(action, spec)
    back = velocity_to_action((*command.linear, *command.angular), spec, action[-1])
    assert np.allclose(back, action, atol=1e-6)
    if ANGULAR not in spec:
        assert command.angular == (0.0, 0.0, 0.0)
    elif spec.part(ANGULAR).size == 1:
        assert command.angular[:2] == (0.0, 0.0)
    assert 0.0 <= command.width <= 0.08


def test_a_binary_gripper_is_open_or_shut():
    spec = spaces_of(dataclasses.replace(TASK, gripper=BINARY, rotation=YAW), 7).action
    assert [part.name for part in spec.parts] == [LINEAR, ANGULAR, GRIPPER]
    assert action_to_command(np.array([0, 0, 0, 1, -0.1]), spec).width == 0.0
    assert action_to_command(np.array([0, 0, 0, 1, 0.1]), spec).width == pytest.approx(0.08)


def test_episodes_carry_their_spaces_and_buffers_refuse_others():
    seven, six = spaces_of(TASK, [f"j{i}" for i in range(7)]), spaces_of(TASK, 6)
    again = Episode.from_bundle(episode_of(seven).to_bundle())
    assert again.spaces == seven and again.part(EE_POSITION).shape == (3, 3)
    buffer = ReplayBuffer(10, seven.observation.size, 3, seven.observation.proprio_size, seven)
    buffer.add_episode(again)
    with pytest.raises(SpecError):
        buffer.add_episode(episode_of(six))
    with pytest.raises(SpecError):
        buffer.add_episode(episode_of(six, spaces=None))
    other = ReplayBuffer(10, six.observation.size, 3, six.observation.proprio_size, six)
    with pytest.raises(SpecError):
        other.load_state_dict(buffer.state_dict())
    with pytest.raises(ValueError):
        episode_of(six, spaces=seven)


def test_what_version_0_1_wrote_is_read_as_its_layout():
    six = spaces_of(TASK, ["shoulder", "b", "c", "d", "e", "wrist"])
    old = episode_of(six, spaces=None)
    assert Episode.from_bundle(old.to_bundle()).spaces is None and old.part(OBJECT).shape == (3, 3)
    buffer = ReplayBuffer(10, 19, 3, 10, six)
    buffer.add_episode(old)
    state = buffer.state_dict()
    del state["spaces"]
    again = ReplayBuffer(10, 19, 3, 10, six)
    again.load_state_dict(state)
    assert len(again) == 2
    blind = spaces_of(dataclasses.replace(TASK, observed_object=NONE), 6)
    with pytest.raises(SpecError):
        require_spaces(blind, None, None, "the checkpoint")


def test_task_files_say_what_is_commanded_and_seen(tmp_path):
    text = Path(TASK.path).read_text()

    def task(more):
        path = tmp_path / "task.yaml"
        path.write_text(text + "\n" + more)
        return load_task(path)

    assert (task("").rotation, task("").gripper, task("").observed_object) == (NONE, NONE, "tracked")
    found = task("action: {rotation: yaw, gripper: binary, angular_speed: 0.8}\nobservation: {object: none}")
    assert (found.rotation, found.gripper, found.angular_speed) == (YAW, BINARY, 0.8)
    assert (found.observed_rotation, found.observed_object) == (YAW, NONE)
    assert task("action: {rotation: full}\nobservation: {rotation: no}").observed_rotation == NONE
    assert task("action: {rotation: full}").observed_rotation == FULL
    assert task("use_gripper: true").gripper == CONTINUOUS
    for wrong, key in (
        ("action: {rotation: roll}", "action.rotation"), ("action: [yaw]", "action"),
        ("action: {turn: yaw}", "action.turn"),
        ("action: {angular_speed: -1}", "action.angular_speed"), ("observation: {object: 3}", "observation.object"),
        ("use_gripper: true\naction: {gripper: binary}", "use_gripper"),
    ):  # fmt: skip
        with pytest.raises(ConfigError) as error:
            task(wrong)
        assert f": {key}" in str(error.value)
