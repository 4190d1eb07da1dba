# SPDX-License-Identifier: Apache-2.0
"""What docs/robots.md tells people to type is understood."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from erl_vlm_ros.common import names
from erl_vlm_ros.common.yaml_file import parse_yaml
from erl_vlm_ros.params.tables import PARAMETERS
from erl_vlm_ros.robot.drivers import ADAPTERS, GRIPPERS
from erl_vlm_ros.robot.spec import load_robot, remap_pairs, robot_names

PAGE = Path(__file__).resolve().parents[2] / "docs" / "robots.md"
if not PAGE.is_file():
    pytest.skip("needs the checkout", allow_module_level=True)
TEXT = PAGE.read_text()
OURS = {value for key, value in vars(names).items() if key.isupper()}


def test_every_remap_begins_at_a_topic_of_ours():
    typed = [found.replace(" ...", "") for found in re.findall(r"remap:='([^']+)'", TEXT) if "OURS" not in found]
    assert len(typed) >= 3
    for text in typed:
        table = remap_pairs(text)
        assert table and set(table) <= OURS, text


def test_every_parameter_exists():
    for node, name in re.findall(r"`(safety_guard|sim_bridge|policy_controller)\.(\w+)", TEXT):
        assert name in {param.name for param in PARAMETERS[node]}, f"{node}.{name}"


def test_every_adapter_and_gripper_is_described():
    rows = set(re.findall(r"^\| `(\w+)` \|", TEXT, re.M))
    assert rows >= set(ADAPTERS) | set(GRIPPERS)
    assert set(re.findall(r"adapter:=(\w+)", TEXT)) <= set(ADAPTERS)


def test_the_table_of_robot_files_is_that_of_the_files():
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+(?:\|[^|]+){3})\|$", TEXT, re.M))
    for name in robot_names():
        robot = load_robot(name)
        _, joints, adapter, gripper = (cell.strip() for cell in rows[name].split("|"))
        assert (int(joints), adapter) == (len(robot.joints), f"`{robot.adapter}`")
        assert robot.gripper.interface in gripper


def test_the_example_of_a_robot_file_is_one(tmp_path):
    block = next(text for text in re.findall(r"```yaml\n(.*?)```", TEXT, re.S) if "base_frame" in text)
    lines = [line[3:] for line in block.splitlines()]
    path = tmp_path / "mine.yaml"
    path.write_text("\n".join(lines))
    raw, _ = parse_yaml(path.read_text(), "page")
    robot = load_robot(path)
    assert set(raw) | {"description"} == set(type(robot).model_fields)  # the example shows every key
