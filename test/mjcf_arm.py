# SPDX-License-Identifier: Apache-2.0
"""An arm of seven joints with a gripper as MJCF, and its robot file: as another lab might bring one."""

from __future__ import annotations

from pathlib import Path

import yaml

JOINTS = [f"axis_{i}" for i in range(1, 8)]
FINGERS = ["left", "right"]
_AXES = ("0 0 1", "0 1 0", "0 0 1", "0 1 0", "0 0 1", "0 1 0", "0 0 1")
_LENGTHS = (0.3, 0.05, 0.35, 0.05, 0.35, 0.05, 0.1)


def mjcf(joints: int = 7) -> str:
    """A chain that yaws and bends by turns; its right finger counts downwards, as some models' do."""
    text = "".join(
        f'<body name="link{i}" pos="0 0 {length}"><joint name="j{i}" axis="{axis}" range="-2.8 2.8"/>'
        f'<geom type="capsule" fromto="0 0 0 0 0 {_LENGTHS[i] if i < 7 else 0.05}" size="0.04"/>'
        for i, axis, length in zip(range(1, joints + 1), _AXES, _LENGTHS)
    )
    hand = (
        '<body name="hand" pos="0 0 0.1"><geom type="box" size="0.03 0.03 0.01"/><site name="tip" pos="0 0 0.1"/>'
        '<body name="l" pos="0.009 0 0.01"><joint name="fl" type="slide" axis="1 0 0" range="0 0.03"/>'
        '<geom type="box" size="0.009 0.02 0.05" pos="0 0 0.05"/></body>'
        '<body name="r" pos="-0.009 0 0.01"><joint name="fr" type="slide" axis="1 0 0" range="-0.03 0"/>'
        '<geom type="box" size="0.009 0.02 0.05" pos="0 0 0.05"/></body></body>'
    )
    return (
        '<mujoco model="lab_arm"><compiler angle="radian" autolimits="true"/><worldbody><body name="base">'
        f'<geom type="cylinder" size="0.06 0.1" pos="0 0 0.1"/>{text}{hand}{"</body>" * joints}</body></worldbody>'
        '<actuator><motor name="m1" joint="j1"/></actuator></mujoco>'
    )


def write_arm(folder: Path, joints: int = 7, **changes: object) -> Path:
    """The robot file; arm.xml stands beside it. ``changes`` replace keys of it."""
    (folder / "arm.xml").write_text(mjcf(joints))
    robot = {
        "name": "lab_arm",
        "joints": JOINTS[:joints],
        "base_frame": "plate",
        "tool_frame": "tip",
        "adapter": "joint_trajectory",
        "gripper": {"interface": "gripper_command", "joints": FINGERS, "max_width": 0.06, "measured_scale": 1.0},
        "joint_states": ["joint_states", "/gripper/joint_states"],
        "model": "arm.xml",
        "simulation": {
            "joints": [f"j{i}" for i in range(1, joints + 1)],
            "gripper_joints": ["fl", "-fr"],
            "tool": "tip",
        },
    }
    path = folder / "robot.yaml"
    path.write_text(yaml.safe_dump({**robot, **changes}))
    return path
