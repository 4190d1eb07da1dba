# SPDX-License-Identifier: Apache-2.0
"""Which Fast DDS profile a process uses, and whether there is room for its shared memory."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from erl_vlm_ros.common import dds
from erl_vlm_ros.common.paths import resource

OURS = Path("/somewhere/fastdds.xml")


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({}, {"FASTDDS_DEFAULT_PROFILES_FILE": str(OURS)}),
        ({"ROS_DISTRO": "kilted"}, {"FASTDDS_DEFAULT_PROFILES_FILE": str(OURS)}),
        ({"ROS_DISTRO": "jazzy"}, {"FASTRTPS_DEFAULT_PROFILES_FILE": str(OURS)}),
        ({"RMW_IMPLEMENTATION": "rmw_fastrtps_dynamic_cpp"}, {"FASTDDS_DEFAULT_PROFILES_FILE": str(OURS)}),
        ({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}, {}),
        ({"FASTDDS_DEFAULT_PROFILES_FILE": "mine.xml"}, {}),
        ({"FASTRTPS_DEFAULT_PROFILES_FILE": "mine.xml"}, {}),
    ],
)
def test_the_profile_is_ours_unless_the_user_has_one(environment, expected):
    assert dds.profile_setting(environment, OURS) == expected


def test_a_process_tells_itself(monkeypatch):
    for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE", "ROS_DISTRO", "RMW_IMPLEMENTATION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))  # use_profile must not leak into other tests
    dds.use_profile()
    assert os.environ["FASTDDS_DEFAULT_PROFILES_FILE"] == str(resource("config/fastdds.xml"))


def test_room_in_shared_memory():
    assert dds.room_problem(10**9) == ""
    assert "5 MB are free" in dds.room_problem(5_000_000) and "--shm-size" in dds.room_problem(5_000_000)
    space = "{http://www.eprosima.com}"
    size = ElementTree.parse(resource("config/fastdds.xml")).find(f".//{space}segment_size")
    assert int(size.text) < dds.SEGMENT_BYTES < 1.2 * int(size.text)
