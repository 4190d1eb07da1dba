# SPDX-License-Identifier: Apache-2.0
"""What the graph of a real arm tells the nodes about the arm's driver."""

from __future__ import annotations

import pytest
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.graphs.build import train_real
from erl_vlm_ros.graphs.spec import RealOptions, RunArguments
from erl_vlm_ros.robot.spec import remap_pairs

_READ = "ee_pose:=/tcp_pose_broadcaster/pose"
_SENT = "forward_command_controller/commands:=/forward_velocity_controller/commands"


def graph(tmp_path, overrides=None, **options):
    real = RealOptions(**options)
    return train_real(RunArguments("drawer_open", tmp_path, headless=True, overrides=overrides or {}, real=real))


def test_a_driver_may_have_other_names(tmp_path):
    found = graph(tmp_path, remap=f"{_READ} {_SENT}", robot_namespace="left")
    guard = found.node("safety_guard")
    assert ("ee_pose", "/tcp_pose_broadcaster/pose") in guard.remappings
    assert ("forward_command_controller/commands", "/forward_velocity_controller/commands") in guard.remappings
    assert ("joint_states", "/left/joint_states") in guard.remappings
    sources = [source for source, _ in guard.remappings]
    assert len(sources) == len(set(sources))
    command = guard.command()
    assert "ee_pose:=/tcp_pose_broadcaster/pose" in command
    assert ("ee_pose", "/tcp_pose_broadcaster/pose") in found.node("policy_controller").remappings
    # Without a robot file the learner knows the joints from the URDF, and nothing else of the arm.
    assert found.node("learner").remappings == (("robot_description", "/left/robot_description"),)
    assert not found.node("vlm_rater").remappings


@pytest.mark.parametrize("text", ["ee_pose", "ee_pose:=", ":=x", "ee_pose:=/a b", "ee pose:=/a", "ee_pose:=$(rm)"])
def test_a_remap_that_is_none_is_refused(text):
    with refused(ConfigError, parameter="remap"):
        remap_pairs(text)


def test_tool_pose_is_about_the_guards_arm(tmp_path):
    guard = {"base_frame": "base", "tool_frame": "flange", "urdf_file": "/arm.urdf"}
    found = graph(tmp_path, {"safety_guard": guard}, tool_pose=True)
    assert guard.items() <= found.node("tool_pose").parameters.items()
    assert "tool_pose" in found.node("monitor").parameters["nodes"]
    assert "tool_pose" not in [spec.name for spec in graph(tmp_path).nodes]
    with refused(ConfigError, parameter="tool_pose", code=Code.DOES_NOT_FIT, shows="use_sim_arm"):
        graph(tmp_path, tool_pose=True, use_sim_arm=True)


def test_the_simulated_driver_is_the_adapters_counterpart(tmp_path):
    for found in (
        graph(tmp_path, use_sim_arm=True, adapter="joint_velocity"),
        graph(tmp_path, {"safety_guard": {"adapter": "joint_velocity"}}, use_sim_arm=True),
    ):
        guard, sim = found.node("safety_guard").parameters, found.node("sim_bridge").parameters
        assert guard["adapter"] == sim["adapter"] == "joint_velocity"
        assert guard["controller_joints"] == sim["controller_joints"] != sorted(sim["controller_joints"])
        assert sim["command_timeout_s"] is None  # for ever, as such a controller
    for chosen, timeout in ((None, 0.06), ({"sim_bridge": {"command_timeout_s": 0.1}}, 0.1)):
        sim = graph(tmp_path, chosen, use_sim_arm=True).node("sim_bridge").parameters
        assert (sim["adapter"], sim["command_timeout_s"]) == ("servo_twist", timeout)
