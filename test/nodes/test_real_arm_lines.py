# SPDX-License-Identifier: Apache-2.0
"""What docs/real_arm.md tells people to type starts: the dry run up to waiting to be armed, and what comes after it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from std_msgs.msg import Bool, String
from std_srvs.srv import SetBool, Trigger
from typed_lines import as_run, driver, launch_lines, typed, without_packages

from erl_vlm_ros.common import names
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.control.episode_machine import DISARMED
from erl_vlm_ros.robot.spec import load_robot
from erl_vlm_ros.ros import qos

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "real_arm.md"
if not PAGE.is_file():
    pytest.skip("needs the checkout", allow_module_level=True)
TEXT = PAGE.read_text()
TRIED, DRY, RESUMED = launch_lines(TEXT, "train_real")  # steps 1, 7 and 10
READY = 90.0  # s
KINDS = {"Trigger": Trigger, "SetBool": SetBool}


class Screen:
    """What the dashboard would tell of the run."""

    def __init__(self, ros, tmp_path, run):
        self.ros, self.tmp_path, self.run = ros, tmp_path, run
        self.states = ros.collect(String, names.RUN_STATE, qos.latched())
        self.reasons = ros.collect(String, names.REASON, qos.latched())
        self.armed = ros.collect(Bool, names.ARMED, qos.latched())

    def shows(self, condition, what: str) -> None:
        """Wait until it does; the run goes on meanwhile."""

        def met() -> bool:
            assert self.run.poll() is None, (self.tmp_path / "run.log").read_text()[-3000:]
            return condition()

        self.ros.until(met, what, READY)

    def waits_to_be_armed(self) -> None:
        self.shows(lambda: json.loads(self.states[-1].data)["detail"] == DISARMED, "the run to wait for its arming")
        self.shows(lambda: self.reasons[-1].data == "disarmed", "nothing to be missing")

    def arms(self) -> None:
        """As a person does: once more, where a busy machine kept the guard's watchdog silent for a moment."""
        self.shows(lambda: call(self.ros, "/safety_guard/arm"), "the guard to arm")


def call(ros, service: str) -> bool:
    """A service call of the page, as it is written there; whether it was done."""
    line = re.search(rf"ros2 service call {service} std_srvs/srv/(\w+)(?: \"\{{data: (\w+)\}}\")?", TEXT)
    kind = KINDS[line.group(1)]
    request = kind.Request(data=line.group(2) == "true") if line.group(2) else kind.Request()
    return ros.call(kind, service, request).success


def test_step_1_the_simulated_arm_is_armed_stopped_and_armed_again(ros, tmp_path):
    run = typed(ros, tmp_path, "run", "train_real", "--out", "run", *as_run(TRIED))
    screen = Screen(ros, tmp_path, run)
    screen.shows(lambda: screen.armed[-1].data, "the arm to be armed by itself")
    screen.shows(lambda: json.loads(screen.states[-1].data)["detail"] == "running", "an episode")
    assert call(ros, "/safety_guard/estop")
    screen.shows(lambda: not screen.armed[-1].data, "the emergency stop")
    assert call(ros, "/safety_guard/clear_estop")
    screen.arms()
    screen.shows(lambda: screen.armed[-1].data, "the arm to be armed again")


def test_step_7_the_dry_run_waits_to_be_armed_and_goes_on_from_its_directory(ros, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")  # step 5: nothing is asked before the first episodes are there
    robot = load_robot(DRY["robot"])
    (tmp_path / DRY["task"]).write_text(Path(load_task("drawer_open").path).read_text())
    driver(ros, robot, tmp_path)
    out = RESUMED["resume"]  # where a task of that name is kept
    given = DRY | {"camera": "topic"}  # the driver's, in place of a camera at this machine
    run = typed(ros, tmp_path, "run", "train_real", "--out", out, *as_run(given), *without_packages())
    screen = Screen(ros, tmp_path, run)
    screen.waits_to_be_armed()
    stored = (tmp_path / out / "config" / "safety_guard.yaml").read_text()
    assert "max_speed: 0.05" in stored
    screen.arms()  # step 8
    screen.shows(lambda: screen.armed[-1].data, "the arm to be armed")
    screen.shows(lambda: json.loads(screen.states[-1].data)["detail"] != DISARMED, "the run to go on")
    ros.stop("run")
    again = Screen(ros, tmp_path, typed(ros, tmp_path, "run", "train_real", *as_run(RESUMED)))
    again.waits_to_be_armed()
