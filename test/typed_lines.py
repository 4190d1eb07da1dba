# SPDX-License-Identifier: Apache-2.0
"""Command lines of the pages as a person without a ROS installation types them, and the driver that they talk to."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys

from erl_vlm_ros.common import names

#: message packages that a ROS installation has and PyPI has not
_NEEDS = {"control_msgs": ("safety_guard.gripper=none",), "moveit_msgs": ("safety_guard.servo_command_type=false",)}
_SWITCHES = ("use_sim_arm", "auto_arm", "standin_vlm", "tool_pose")
_ONLY_LAUNCH = ("rviz", "record", "headless")  # what a ROS installation adds


def without_packages() -> list[str]:
    """Settings that do without the message packages that are not here."""
    out = []
    for package, settings in _NEEDS.items():
        try:
            __import__(package)
        except ImportError:
            out += [f"--set={setting}" for setting in settings]
    return out


def launch_lines(page: str, file: str) -> list[dict[str, str]]:
    """Arguments of each `ros2 launch erl_vlm_ros FILE.launch.py ...` of a page, in its order."""
    joined = re.sub(r" \\\n\s*", " ", page)
    found = re.findall(rf"ros2 launch erl_vlm_ros {file}\.launch\.py ([^`\n]+)", joined)
    return [dict(word.split(":=", 1) for word in shlex.split(line)) for line in found]


def as_run(given: dict[str, str]) -> list[str]:
    """The same of `erl-vlm run`, as docs/real_arm.md says that they correspond."""
    out = ["--headless"]
    for name, value in given.items():
        if name in _ONLY_LAUNCH:
            continue
        option = "--" + name.replace("_", "-")
        if name in _SWITCHES:
            out += [option] if value == "true" else []
        elif name == "set":
            out += [word for setting in value.split() for word in ("--set", setting)]
        else:
            out += [option, value]
    return out


def driver(ros, robot, tmp_path):
    """The robot's driver and its camera's, on their own names."""
    facts = {
        "lock_step": False, "backend": f"toy_arm:{robot.name}", "adapter": robot.adapter, "reliable_sensors": False,
        "base_frame": robot.base_frame, "tool_frame": robot.tool_frame, "image_width": 640, "image_height": 480,
    }  # fmt: skip
    remap = {k: v for k, v in robot.remap.items() if not k.startswith("gripper_controller/gripper_cmd")}
    if robot.tool_pose:
        remap[names.EE_POSE] = "/unused/ee_pose"
    arguments = [word for key, value in facts.items() for word in ("-p", f"{key}:={json.dumps(value)}")]
    arguments += [word for ours, its in remap.items() for word in ("-r", f"{ours}:={its}")]
    with (tmp_path / "driver.log").open("w") as log:
        ros.processes["driver"] = subprocess.Popen(
            [sys.executable, "-m", "erl_vlm_ros.nodes.sim_bridge", "--ros-args", *arguments], env=ros.environment(),
            cwd=tmp_path, stdout=log, stderr=log,
        )  # fmt: skip


def typed(ros, tmp_path, *words: str) -> subprocess.Popen:
    """`erl-vlm` with these words, in ``tmp_path``; its output goes to run.log."""
    with (tmp_path / "run.log").open("a") as log:
        ros.processes["run"] = subprocess.Popen(
            [sys.executable, "-m", "erl_vlm_ros.cli", *words], cwd=tmp_path, env=ros.environment(), stdout=log,
            stderr=log, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    return ros.processes["run"]
