# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all tests. rclpy is only imported by tests that ask for a ROS fixture."""

from __future__ import annotations

import os
import sys

# Tests run side by side: one thread for each numeric library, before any of them is loaded.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

# The same examples in every run: a red suite is then the change's doing. To look for new ones:
# pytest test/unit --hypothesis-profile=default
settings.load_profile("ci")


@pytest.fixture
def ros_domain(monkeypatch):
    """A ROS domain of this test's own, in the environment of it and its processes."""
    from erl_vlm_ros.common.paths import resource
    from erl_vlm_ros.runs.supervisor import Domain

    domain = Domain()
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain.number))
    older = os.environ.get("ROS_DISTRO") in ("humble", "jazzy")
    variable = "FASTRTPS_DEFAULT_PROFILES_FILE" if older else "FASTDDS_DEFAULT_PROFILES_FILE"
    monkeypatch.setenv(variable, str(resource("config/fastdds.xml")))
    if "ROS_LOCALHOST_ONLY" not in os.environ:
        monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    yield domain.number
    domain.close()


def pytest_collection_modifyitems(items):
    """Files with long tests first: what is left when one worker runs out of files is then short."""
    long = {item.path for item in items if item.get_closest_marker("slow") or item.get_closest_marker("system")}
    items.sort(key=lambda item: item.path not in long)


def pytest_sessionfinish(session, exitstatus):
    session.config.exit_status = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    """End at once after the closing line: native libraries crash now and then while the interpreter is torn down."""
    if hasattr(config, "exit_status") and not hasattr(config, "workerinput"):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.exit_status)
