# SPDX-License-Identifier: Apache-2.0
"""The rviz files against what the graph publishes: names, types, QoS, frames. rviz2 itself is not needed."""

from __future__ import annotations

import pytest
import yaml

pytest.importorskip("rclpy", reason="needs ROS 2 (pip install '.[ros]')")

from rclpy.qos import DurabilityPolicy, HistoryPolicy, LivelinessPolicy, QoSCompatibility, QoSProfile, ReliabilityPolicy
from rclpy.qos import qos_check_compatible as check_compatible

from erl_vlm_ros.common import names
from erl_vlm_ros.common.paths import resource
from erl_vlm_ros.params.tables import PARAMETERS
from erl_vlm_ros.ros import markers

FILES = ("train_sim", "train_real")
# Displays of rviz_default_plugins and the type that each reads.
TYPES = {
    "Grid": None,
    "TF": None,
    "RobotModel": "std_msgs/msg/String",
    "MarkerArray": "visualization_msgs/msg/MarkerArray",
    "Image": "sensor_msgs/msg/Image",
    "Pose": "geometry_msgs/msg/PoseStamped",
    "Wrench": "geometry_msgs/msg/WrenchStamped",
}
TOOLS = {"Interact", "MoveCamera", "Select", "FocusCamera", "Measure"}
SENSOR_OF_THE_LAB = {names.WRENCH}  # the graph only listens to it


def load(name):
    return yaml.safe_load(resource(f"config/{name}.rviz").read_text())["Visualization Manager"]


def displays(name):
    """(class, display, its topic or None) of each display."""
    for display in load(name)["Displays"]:
        prefix, _, kind = display["Class"].partition("/")
        assert prefix == "rviz_default_plugins" and kind in TYPES, display["Class"]
        yield kind, display, display.get("Topic") or display.get("Description Topic")


@pytest.mark.parametrize("name", FILES)
def test_displays_tools_and_frame(name):
    shown = [kind for kind, _, topic in displays(name) if (topic is None) == (TYPES[kind] is None)]
    assert shown == [kind for kind, _, _ in displays(name)]
    assert {"Grid", "TF", "RobotModel", "MarkerArray", "Image"} <= set(shown) and shown.count("Image") == 2
    assert {tool["Class"].partition("/")[2] for tool in load(name)["Tools"]} <= TOOLS
    frames = {p.default for node in PARAMETERS for p in PARAMETERS[node] if p.name == "base_frame"}
    assert frames == {load(name)["Global Options"]["Fixed Frame"]}
    spaces = next(d["Namespaces"] for kind, d, _ in displays(name) if kind == "MarkerArray")
    wanted = {markers.WORKSPACE, markers.FORBIDDEN, markers.PATH, markers.TOOL, markers.STATE}
    assert set(spaces) == wanted and all(spaces.values())


def test_every_topic_has_a_publisher_of_that_type_whose_qos_fits(ros):
    ros.start("sim_bridge", lock_step=False)
    ros.start("monitor", lock_step=False)
    for name in FILES:
        for kind, display, topic in displays(name):
            if topic is None or topic["Value"] in SENSOR_OF_THE_LAB:
                continue
            assert topic["Value"] in vars(names).values(), display["Name"]
            offers = lambda t=topic: ros.node.get_publishers_info_by_topic(t["Value"])  # noqa: E731
            ros.until(offers, f"a publisher of {topic['Value']} for {name}.rviz: {display['Name']}")
            for offer in offers():
                assert offer.topic_type == TYPES[kind], topic["Value"]
                verdict, why = check_compatible(offer.qos_profile, profile(topic))
                assert verdict == QoSCompatibility.OK, (topic["Value"], why)


def profile(topic):
    """The QoS that a display asks for."""
    return QoSProfile(
        history=HistoryPolicy[topic["History Policy"].upper().replace(" ", "_")],
        depth=topic["Depth"],
        reliability=ReliabilityPolicy[topic["Reliability Policy"].upper().replace(" ", "_")],
        liveliness=LivelinessPolicy.AUTOMATIC,
        durability=DurabilityPolicy[topic["Durability Policy"].upper().replace(" ", "_")],
    )
