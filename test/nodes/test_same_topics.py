# SPDX-License-Identifier: Apache-2.0
"""Whatever stands behind them, simulation or real arm: the policy meets the same topics, types and QoS."""

from __future__ import annotations

import signal

import cv2
import numpy as np
import pytest

from erl_vlm_ros.common import names
from erl_vlm_ros.graphs.build import train_real, train_sim
from erl_vlm_ros.graphs.spec import RealOptions, RunArguments
from erl_vlm_ros.params.layers import parse_overrides

# What the policy reads and writes; ee_pose, joint_states and object_pose come from drivers on a real arm.
CAMERA = (names.IMAGE, names.IMAGE_COMPRESSED, names.CAMERA_INFO)
STATE = (names.JOINT_STATES, names.EE_POSE, names.OBJECT_POSE)
COMMANDS = (names.POLICY_TWIST, names.POLICY_GRIPPER)
LEARNING = (names.TRANSITIONS, names.EVALUATION_EPISODES, names.RUN_STATE, names.METRICS, names.ACTOR, names.ARMED)


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "camera.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 30.0, (128, 128))
    for value in range(30):
        writer.write(np.full((128, 128, 3), value, np.uint8))
    writer.release()
    return path


def start(ros, graph, only):
    for spec in graph.nodes:
        if spec.name in only:
            parameters = {k.replace(".", "__"): v for k, v in spec.parameters.items()}
            ros.start(spec.name, **{k: v for k, v in parameters.items() if v not in ([], "", None)})


def ends(ros, topic, side):
    """(type, reliability, durability) of each end of a topic, by node."""
    found = getattr(ros.node, f"get_{side}_info_by_topic")(topic)
    return {
        info.node_name: (info.topic_type, info.qos_profile.reliability.name, info.qos_profile.durability.name)
        for info in found
        if info.node_name != "test"
    }


def seen(ros, publishers, subscriptions):
    """What the nodes offer and ask for, once every one of the topics has both its ends."""
    out = {}

    def complete():
        out.clear()
        for side, topics in (("publishers", publishers), ("subscriptions", subscriptions)):
            for topic, node in topics:
                out[side, topic] = ends(ros, topic, side).get(node)
        return all(out.values())

    ros.until(complete, f"all topics; there are {out}")
    return out


def stop(ros):
    for name in list(ros.processes):
        ros.stop(name, signal.SIGKILL)


def test_simulation_and_real_arm_show_the_policy_the_same(ros, tmp_path, video):
    def arguments(folder, *overrides, **real):
        return RunArguments(
            "drawer_open", tmp_path / folder, headless=True, overrides=parse_overrides(overrides),
            real=RealOptions(**real),
        )  # fmt: skip

    settings = [f"{node}.reliable_sensors=false" for node in ("sim_bridge", "safety_guard", "policy_controller")]
    read = [(topic, "policy_controller") for topic in (names.IMAGE, *STATE, names.ACTOR, names.ARMED)]
    written = [(topic, "policy_controller") for topic in (*COMMANDS, *LEARNING[:4])]
    executed = [(topic, "safety_guard") for topic in (names.ARM_TWIST, names.ARM_GRIPPER, names.ARMED)]
    robot = ("safety_guard", "policy_controller")

    start(ros, train_sim(arguments("sim", *settings)), ("sim_bridge", *robot))
    offered = [(topic, "sim_bridge") for topic in (*CAMERA, *STATE)]
    simulated = seen(ros, [*offered, *written, *executed], read)
    stop(ros)

    (tmp_path / "real" / "config").mkdir(parents=True)
    from erl_vlm_ros.sim.urdf import arm_urdf

    (tmp_path / "real" / "config" / "arm.urdf").write_text(arm_urdf("drawer_open"))
    real = train_real(arguments("real", use_sim_arm=True))
    start(ros, real, ("sim_bridge", *robot))
    in_drivers_place = seen(ros, [*offered, *written, *executed], read)
    stop(ros)
    assert in_drivers_place == simulated

    camera = train_real(arguments("camera", "camera.profile=128x128x30", "camera.loop=true", camera=f"opencv:{video}"))
    start(ros, camera, ("camera", *robot))
    cameras = [(topic, "camera") for topic in CAMERA]
    physical = seen(ros, [*cameras, *written, *executed], read)
    assert physical == {key: value for key, value in simulated.items() if key in physical}
    assert set(simulated) - set(physical) == {("publishers", topic) for topic in STATE}  # a driver's
