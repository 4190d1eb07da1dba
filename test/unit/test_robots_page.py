# SPDX-License-Identifier: Apache-2.0
"""What docs/robots.md tells people to type is understood."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from erl_vlm_ros.graph_real import remappings
from erl_vlm_ros.overlay import check, parse_overrides
from erl_vlm_ros.ros import names
from erl_vlm_ros.ros.adapters import ADAPTERS, GRIPPERS
from erl_vlm_ros.ros.parameters import PARAMETERS
from erl_vlm_ros.ros.params import resolve

PAGE = Path(__file__).resolve().parents[2] / "docs" / "robots.md"
if not PAGE.is_file():
    pytest.skip("needs the checkout", allow_module_level=True)
TEXT = PAGE.read_text()


def typed(argument: str) -> list[str]:
    return [found.replace(" ...", "") for found in re.findall(rf"{argument}:='([^']+)'", TEXT) if "OURS" not in found]


def test_every_remap_begins_at_a_topic_of_ours():
    ours = {value for key, value in vars(names).items() if key.isupper()}
    assert len(typed("remap")) >= 5
    for text in typed("remap"):
        table = remappings(text)
        assert table and set(table) <= ours, text


def test_every_setting_is_a_parameter_with_a_value_it_takes():
    assert len(typed("set")) >= 4
    for text in typed("set"):
        overrides = parse_overrides(text.split())
        check(overrides, "docs/robots.md")
        for node, values in overrides.items():
            resolve(node, PARAMETERS[node], values)
    for node, name in re.findall(r"`(safety_guard|sim_bridge|policy_controller)\.(\w+)", TEXT):
        assert name in {param.name for param in PARAMETERS[node]}, f"{node}.{name}"


def test_every_adapter_and_gripper_is_described():
    rows = set(re.findall(r"^\| `(\w+)` \|", TEXT, re.M))
    assert rows >= set(ADAPTERS) | set(GRIPPERS)
    assert set(re.findall(r"adapter:=(\w+)", TEXT)) <= set(ADAPTERS)
    assert set(re.findall(r"gripper=(\w+)", TEXT)) <= set(GRIPPERS)
