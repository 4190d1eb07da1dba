# SPDX-License-Identifier: Apache-2.0
"""What a run begins with: a dataset, or episodes of the scripted expert; and what a policy from images adds to it."""

from pathlib import Path

import numpy as np
import pytest

from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.common.rundir import save_run
from erl_vlm_ros.data.dataset import DatasetSource, read_info
from erl_vlm_ros.data.learner_state import path_in
from erl_vlm_ros.graphs.build import train_real, train_sim
from erl_vlm_ros.graphs.spec import DataOptions, RunArguments
from erl_vlm_ros.params.layers import parse_overrides
from erl_vlm_ros.runs.demos import take_scripted
from erl_vlm_ros.runs.from_run import Origin

FAST = ["sim_bridge.image_width=32", "sim_bridge.image_height=32"]


def graph(tmp_path, *settings, build=train_sim, demos=""):
    overrides = parse_overrides([*FAST[: 2 * (build is train_sim)], *settings])
    data = DataOptions(demos=demos)
    return build(RunArguments("drawer_open", tmp_path, headless=True, overrides=overrides, data=data))


def test_the_expert_drives_first_and_the_run_reads_its_dataset(tmp_path):
    scripted, data = take_scripted(DataOptions(demos="scripted:2:0.1"))
    assert (scripted.count, scripted.noise, data.demos) == (2, 0.1, "")
    folder = tmp_path / "demos"
    assert "2 scripted demonstrations" in scripted.collect(graph(tmp_path), folder, 3)
    source = DatasetSource(str(folder), False)
    first, second = source.poll().episode, source.poll().episode
    assert first.success is not None and not np.array_equal(first.observations[0], second.observations[0])
    assert read_info(folder)["task"] == "drawer_open"
    for seen, enough in (
        ("images", 1),
        ("state", 20_000),
    ):
        # recorded with a tracker: a run without one leaves its parts out
        described = graph(tmp_path, f"learner.observe={seen}", demos=str(folder))
        assert described.node("learner").parameters["demonstrations"]
        assert described.node("learner").parameters["std_bonus"] == 0.0
        assert described.node("reward_trainer").parameters["trunk.enough_frames"] == enough
        assert Path(described.node("reward_trainer").parameters["episode_source_path"]) == folder
    assert take_scripted(DataOptions(demos=str(folder))) == (None, DataOptions(demos=str(folder)))


@pytest.mark.parametrize(
    "text", ["scripted", "scripted:", "scripted:0", "scripted:x", "scripted:3:2", "scripted:3:nan", "scripted:3:0.1:1"]
)
def test_what_is_no_number_of_demonstrations_is_refused(text):
    with pytest.raises(ConfigError) as error:
        take_scripted(DataOptions(demos=text))
    assert error.value.parameter == "demos"


def test_nobody_scripts_a_real_arm(tmp_path):
    scripted, _ = take_scripted(DataOptions(demos="scripted:2"))
    with pytest.raises(ConfigError) as error:
        scripted.collect(graph(tmp_path, build=train_real), tmp_path / "demos", 0)
    assert error.value.parameter == "demos"


def test_images_reach_all_nodes_and_bring_what_they_need_of_the_reward_model(tmp_path):
    described = graph(tmp_path, "learner.observe=images")
    for node in ("learner", "reward_trainer", "policy_controller", "monitor"):
        assert described.node(node).parameters["observe"] == "images"
    assert described.node("learner").parameters["std_bonus"] == 1.0
    assert described.node("reward_trainer").parameters["trunk.enough_frames"] > 1
    own = graph(tmp_path, "learner.observe=images", "reward_trainer.trunk.first_iterations=77")
    assert own.node("reward_trainer").parameters["trunk.first_iterations"] == 77
    channels = graph(tmp_path, "reward_trainer.trunk.channels=[8, 8]")
    assert channels.node("learner").parameters["trunk.channels"] == [8, 8]
    assert graph(tmp_path).node("learner").parameters["std_bonus"] == 0.0


def test_a_run_that_goes_on_from_one_with_images_sees_images(tmp_path):
    """What the policy sees comes along; where the arm's joints are does not: the new run may be on another machine."""
    for folder in ("config", "checkpoint"):
        (tmp_path / folder).mkdir()
    save_run(tmp_path, {"graph": "train_sim", "task": "drawer_open", "seed": 0})
    graph(tmp_path, "learner.observe=images", "learner.urdf_file=/mine.urdf").write_parameters(tmp_path / "config")
    path_in(tmp_path / "checkpoint").write_bytes(b"learned")
    origin = Origin.of(str(tmp_path))
    assert origin.layer["learner"]["observe"] == origin.layer["reward_trainer"]["observe"] == "images"
    assert "urdf_file" not in origin.layer["learner"]
    data = DataOptions(before=str(tmp_path))
    on = train_sim(RunArguments("drawer_open", tmp_path, headless=True, data=data, inherited=origin.layer))
    assert on.node("policy_controller").parameters["observe"] == "images"
