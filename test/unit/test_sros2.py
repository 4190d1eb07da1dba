# SPDX-License-Identifier: Apache-2.0
"""The SROS2 policy as a file: current, by the format, moved with namespaces. Against running nodes: test/nodes."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

from erl_vlm_ros.common import names
from erl_vlm_ros.graphs.build import GRAPHS
from erl_vlm_ros.graphs.spec import NodeSpec, RealOptions, RunArguments
from erl_vlm_ros.graphs.sros2 import ACCESS, POLICY_FILE, everything, main, permitted, policy
from erl_vlm_ros.params.tables import PARAMETERS


def test_the_shipped_policy_is_current_and_knows_every_node():
    assert main(["--check"]) == 0
    assert set(ACCESS) == set(PARAMETERS) - {"standin_vlm"}
    root = Xml.parse(POLICY_FILE).getroot()
    assert root.tag == "policy" and root.get("version") == "0.2.0"
    assert {e.get("path") for e in root.iter("enclave")} == {f"/{spec.name}" for spec in everything()} | {"/operator"}


def test_only_guard_and_watchdog_may_command_the_arm_and_only_those_who_must_may_arm_it():
    rules = permitted(policy([NodeSpec(name, "", "") for name in ACCESS]))
    for topic in (names.ARM_TWIST, names.ARM_JOINT_COMMANDS, names.ARM_TRAJECTORY, names.ARM_GRIPPER):
        who = {node for node, access in rules.items() if f"/{topic}" in access.get("publish", ())}
        assert who <= {"/safety_guard", "/guard_watchdog"}
    assert {n for n, a in rules.items() if f"/{names.CLEAR_ESTOP}" in a.get("request", ())} == {"/operator"}
    assert {n for n, a in rules.items() if f"/{names.ARM}" in a.get("request", ())} == {
        "/operator", "/policy_controller",
    }  # fmt: skip


def test_namespaces_and_remappings_move_the_names(tmp_path):
    real = RealOptions(adapter="joint_velocity", namespace="lab", robot_namespace="cell", camera="opencv:0")
    graph = GRAPHS["train_real"](RunArguments("drawer_open", tmp_path, headless=True, real=real))
    rules = permitted(policy(graph.nodes, ()))
    assert set(rules) == {f"/lab/{spec.name}" for spec in graph.nodes}
    guard = rules["/lab/safety_guard"]
    assert f"/cell/{names.ARM_JOINT_COMMANDS}" in guard["publish"] and f"/lab/{names.ARMED}" in guard["publish"]
    assert "/lab/safety_guard/get_parameters" in guard["reply"] and "/diagnostics" in guard["publish"]
