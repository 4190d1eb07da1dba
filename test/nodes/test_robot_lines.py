# SPDX-License-Identifier: Apache-2.0
"""What docs/robots.md tells people to type starts against each robot's driver, up to waiting to be armed.

The driver is sim_bridge in real time with a toy arm: the robot's joints, frames, topics and its driver's habits.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from std_msgs.msg import String
from typed_lines import driver, typed, without_packages

from erl_vlm_ros.common import names
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.control.episode_machine import DISARMED
from erl_vlm_ros.robot.spec import load_robot
from erl_vlm_ros.ros import qos

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "robots.md"
if not PAGE.is_file():
    pytest.skip("needs the checkout", allow_module_level=True)
LINES = re.findall(r"^ros2 launch erl_vlm_ros train_real\.launch\.py (.*robot:=.*)$", PAGE.read_text(), re.M)
READY = 90.0  # s


def test_there_is_a_line_for_every_shipped_robot():
    named = [re.search(r"robot:=(\w+)", line).group(1) for line in LINES]
    assert sorted(named) == sorted(
        path.stem for path in (ROOT / "config/robots").glob("*.yaml") if path.stem != "sim_arm"
    )


@pytest.mark.parametrize("line", LINES)
def test_the_line_starts_and_waits_to_be_armed(ros, tmp_path, line):
    given = dict(word.split(":=", 1) for word in line.split())
    robot = load_robot(given.pop("robot"))
    (tmp_path / "my_task.yaml").write_text(Path(load_task("drawer_open").path).read_text())
    assert given.pop("task") == "my_task.yaml" and not given  # whatever else the page says is translated here
    driver(ros, robot, tmp_path)
    states = ros.collect(String, names.RUN_STATE, qos.latched())
    reasons = ros.collect(String, names.REASON, qos.latched())
    run = typed(
        ros, tmp_path, "run", "train_real", "--task", "my_task.yaml", "--robot", robot.name, "--camera", "topic",
        "--standin-vlm", "--headless", "--out", "run", *without_packages(),
    )  # fmt: skip

    def waits() -> bool:
        assert run.poll() is None, (tmp_path / "run.log").read_text()[-3000:]
        return bool(states) and json.loads(states[-1].data)["detail"] == DISARMED and bool(reasons)

    ros.until(waits, f"{robot.name} to wait for its arming", READY)
    ros.until(lambda: reasons[-1].data == "disarmed", f"nothing to be missing; {reasons[-1].data}", READY)
    ros.serve(4.0)  # wrong joint names are noticed three seconds after the first message
    assert run.poll() is None and json.loads(states[-1].data)["detail"] == DISARMED
    stored = (tmp_path / "run" / "config" / "learner.yaml").read_text()
    assert all(name in stored for name in robot.joints)
    assert os.path.exists(tmp_path / "run" / "config" / "robot.yaml")
