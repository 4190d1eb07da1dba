# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all tests. rclpy is only imported by tests that ask for a ROS fixture."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# The same examples in every run: a red suite is then the change's doing. To look for new ones:
# pytest test/unit --hypothesis-profile=default
settings.load_profile("ci")


@pytest.fixture
def ros_domain(monkeypatch):
    """A ROS domain of this test's own, in the environment of it and its processes."""
    from erl_vlm_ros.paths import resource
    from erl_vlm_ros.runner import Domain

    domain = Domain()
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain.number))
    older = os.environ.get("ROS_DISTRO") in ("humble", "jazzy")
    variable = "FASTRTPS_DEFAULT_PROFILES_FILE" if older else "FASTDDS_DEFAULT_PROFILES_FILE"
    monkeypatch.setenv(variable, str(resource("config/fastdds.xml")))
    if "ROS_LOCALHOST_ONLY" not in os.environ:
        monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    yield domain.number
    domain.close()
