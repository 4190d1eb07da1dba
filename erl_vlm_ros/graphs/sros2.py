# SPDX-License-Identifier: Apache-2.0
"""Who may publish, subscribe, serve and call what, as an SROS2 policy: docs/security.md.

    python -m erl_vlm_ros.graphs.sros2            write config/sros2/policy.xml
    python -m erl_vlm_ros.graphs.sros2 --check    exit status 1 when it is not current

The table says what each node has in some configuration; `test/nodes/test_sros2_graph.py` holds it against the
endpoints of running graphs, both ways. Each process is an enclave of its own, ``/NODE`` (``/NAMESPACE/NODE``).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as Xml

from erl_vlm_ros.common import names as n
from erl_vlm_ros.graphs.sides import OTHER
from erl_vlm_ros.graphs.spec import NodeSpec
from erl_vlm_ros.params.tables import SIDE_KIND, SIDE_NODE, kind_of

POLICY_FILE = Path(__file__).resolve().parents[2] / "config" / "sros2" / "policy.xml"
_FORMAT = "0.2.0"  # of SROS2's policy files


@dataclass(frozen=True)
class Access:
    """Names that a node uses; ``~/`` begins its own. ``call``: actions, as a client."""

    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    reply: tuple[str, ...] = ()
    request: tuple[str, ...] = ()
    call: tuple[str, ...] = ()


_PARAMETER_SERVICES = (
    "describe_parameters", "get_parameter_types", "get_parameters", "list_parameters", "set_parameters",
    "set_parameters_atomically", "get_type_description",
)  # fmt: skip
#: of every node, ROS's own. /clock: with use_sim_time
COMMON = Access(
    publish=("/rosout", "/parameter_events", n.DIAGNOSTICS),
    subscribe=("/parameter_events", n.CLOCK),
    reply=tuple(f"~/{name}" for name in _PARAMETER_SERVICES),
)
_COLOR = (n.IMAGE, n.IMAGE_COMPRESSED, n.CAMERA_INFO)
_POLICY_COLOR = (n.POLICY_IMAGE, n.POLICY_IMAGE_COMPRESSED, n.POLICY_CAMERA_INFO)
_DEPTH = (n.DEPTH, n.DEPTH_INFO, n.ALIGNED_DEPTH, n.ALIGNED_DEPTH_INFO, n.POLICY_DEPTH, n.POLICY_DEPTH_INFO)
_ARM_COMMANDS = (n.ARM_TWIST, n.ARM_JOINT_COMMANDS, n.ARM_TRAJECTORY, n.ARM_GRIPPER)
_GUARD_STATE = (n.ARMED, n.ESTOP_STATE, n.REASON)
_GUARD_CALLS = (n.ARM, n.ESTOP, n.CLEAR_ESTOP)
_HUMAN_CALLS = (n.HUMAN_SUCCESS, n.HUMAN_FAILURE, n.HUMAN_CONTINUE, n.HUMAN_PAUSE)
_TRUTH = (n.GROUND_TRUTH, n.SUCCESS, n.PROGRESS)

ACCESS: dict[str, Access] = {
    "safety_guard": Access(
        publish=(*_ARM_COMMANDS, *_GUARD_STATE, n.EXECUTED, n.GUARD_ALIVE),
        subscribe=(
            n.POLICY_TWIST, n.POLICY_GRIPPER, n.POLICY_HOME, n.EE_POSE, n.JOINT_STATES, n.CAMERA_INFO, n.JOY,
            n.HEARTBEAT, n.WRENCH, n.ROBOT_DESCRIPTION, n.GUARD_ALIVE,
        ),
        reply=_GUARD_CALLS, request=(n.SERVO_COMMAND_TYPE,), call=(n.ARM_GRIPPER_ACTION,),
    ),
    "guard_watchdog": Access(publish=(n.ARM_TWIST, n.ARM_JOINT_COMMANDS)),
    "policy_controller": Access(
        publish=(
            n.POLICY_TWIST, n.POLICY_GRIPPER, n.POLICY_HOME, n.TRANSITIONS, n.EVALUATION_EPISODES, n.RUN_STATE,
            n.METRICS,
        ),
        subscribe=(
            n.IMAGE, n.EE_POSE, n.JOINT_STATES, n.OBJECT_POSE, n.WRENCH, n.ACTOR, n.ARMED, n.SUCCESS,
            n.EXECUTED, n.JOY, n.HUMAN_TWIST, n.HUMAN_TWIST_PLAIN,
        ),
        reply=_HUMAN_CALLS, request=(n.ARM, n.RESET, n.SIM_SET_PARAMETERS),
    ),
    "sim_bridge": Access(
        publish=(
            *_COLOR, *_TRUTH, n.EE_POSE, n.JOINT_STATES, n.OBJECT_POSE, n.WRENCH, n.ROBOT_DESCRIPTION, n.CLOCK, n.TF,
        ),
        subscribe=_ARM_COMMANDS,
        reply=(n.RESET, n.PAUSE, n.STEP),
    ),
    "camera": Access(publish=(*_COLOR, *_DEPTH, *_POLICY_COLOR), subscribe=(*_COLOR, n.ALIGNED_DEPTH)),
    "tool_pose": Access(publish=(n.EE_POSE,), subscribe=(n.JOINT_STATES, n.ROBOT_DESCRIPTION)),
    "learner": Access(
        publish=(n.ACTOR, n.QUERIES, n.METRICS, n.EPISODE_REWARD, n.RUN_STATE),  # the last in offline runs only
        subscribe=(n.TRANSITIONS, n.EVALUATION_EPISODES, n.LABELS, n.REWARD_MODEL),
    ),
    "collector": Access(publish=(n.ACTOR, n.METRICS, n.RUN_STATE), subscribe=(n.TRANSITIONS,)),
    "reward_trainer": Access(publish=(n.REWARD_MODEL, n.METRICS), subscribe=(n.TRANSITIONS, n.LABELS)),
    "vlm_rater": Access(publish=(n.LABELS, n.LABEL_LOG, n.METRICS), subscribe=(n.QUERIES, n.JOY, n.GROUND_TRUTH)),
    "monitor": Access(
        publish=(n.MONITOR_IMAGE, n.MONITOR_IMAGE_COMPRESSED, n.MONITOR_MARKERS),
        subscribe=(
            n.IMAGE, n.IMAGE_COMPRESSED, n.EE_POSE, n.JOINT_STATES, n.METRICS, n.LABELS, n.TRANSITIONS,
            n.EVALUATION_EPISODES, n.GROUND_TRUTH, n.RUN_STATE, n.EPISODE_REWARD, n.REWARD_MODEL, n.DIAGNOSTICS,
            *_GUARD_STATE,
        ),
    ),
    SIDE_KIND: Access(publish=(n.RUN_FACTS, n.RUN_SIDES), subscribe=(n.RUN_FACTS, n.RUN_SIDES, n.RUN_STATE)),
    "viewer": Access(subscribe=(n.MONITOR_IMAGE,)),
}  # fmt: skip

#: not processes of ours. operator: the person's terminal (ROS_SECURITY_ENCLAVE_OVERRIDE=/operator) and joystick
OTHERS: dict[str, Access] = {
    "operator": Access(
        publish=(n.HEARTBEAT, n.JOY, n.HUMAN_TWIST, n.HUMAN_TWIST_PLAIN, "/rosout", "/parameter_events"),
        subscribe=(
            *_GUARD_STATE, n.EXECUTED, n.RUN_STATE, n.METRICS, n.LABEL_LOG, n.DIAGNOSTICS, n.MONITOR_IMAGE,
            n.MONITOR_IMAGE_COMPRESSED, n.MONITOR_MARKERS, n.EE_POSE, n.JOINT_STATES, n.IMAGE, n.IMAGE_COMPRESSED,
            "/rosout", "/parameter_events", n.TF,
        ),
        request=(*_GUARD_CALLS, *_HUMAN_CALLS),
    ),
}  # fmt: skip


def policy(specs: Iterable[NodeSpec], others: Iterable[str] = OTHERS) -> Xml.Element:
    """The policy of these processes, with their namespaces and remappings, and of ``others``."""
    root = Xml.Element("policy", version=_FORMAT)
    enclaves = Xml.SubElement(root, "enclaves")
    for spec in specs:
        access = [ACCESS[kind_of(spec.name)], COMMON, _of_cameras(spec)]
        _enclave(enclaves, spec.name, spec.namespace, dict(spec.remappings), access)
    for name in others:
        _enclave(enclaves, name, "", {}, [OTHERS[name]])
    Xml.indent(root)
    return root


def _of_cameras(spec: NodeSpec) -> Access:
    """Topics of the named cameras, for who sends or reads them."""
    read = {
        "safety_guard": [n.NAMED_CAMERA_INFO], "policy_controller": [n.NAMED_IMAGE],
        "monitor": [n.NAMED_IMAGE, n.NAMED_IMAGE_COMPRESSED],
    }  # fmt: skip
    sent = (n.NAMED_IMAGE, n.NAMED_IMAGE_COMPRESSED, n.NAMED_CAMERA_INFO) if spec.name == "sim_bridge" else ()
    cameras = spec.parameters.get("cameras") or ()
    return Access(
        publish=tuple(topic.format(camera) for camera in cameras for topic in sent),
        subscribe=tuple(topic.format(camera) for camera in cameras for topic in read.get(spec.name, ())),
    )


def everything() -> list[NodeSpec]:
    """Every node of this package under its own name: what config/sros2/policy.xml permits."""
    own = [name for name in ACCESS if name != SIDE_KIND] + [side + SIDE_NODE for side in OTHER]
    return [NodeSpec(name, f"erl_vlm_ros.nodes.{kind_of(name)}", "") for name in own]


def _enclave(parent: Xml.Element, name: str, namespace: str, moved: dict[str, str], access: list[Access]) -> None:
    ns = f"/{namespace}" if namespace else ""
    enclave = Xml.SubElement(parent, "enclave", path=f"{ns}/{name}")
    profile = Xml.SubElement(Xml.SubElement(enclave, "profiles"), "profile", ns=ns or "/", node=name)
    for kind, rule in (
        ("topic", "subscribe"), ("topic", "publish"), ("service", "reply"), ("service", "request"), ("action", "call"),
    ):  # fmt: skip
        found = {full_name(x, name, ns, moved) for part in access for x in getattr(part, rule)}
        if found:
            rules = Xml.SubElement(profile, f"{kind}s", {rule: "ALLOW"})
            for text in sorted(found):
                Xml.SubElement(rules, kind).text = text


def full_name(name: str, node: str, ns: str, moved: dict[str, str]) -> str:
    """The absolute name that ``name`` has for a node; ``ns``: empty, or with a leading slash."""
    name = moved.get(name, name)
    if name.startswith("~/"):
        return f"{ns}/{node}/{name[2:]}"
    return name if name.startswith("/") else f"{ns}/{name}"


def permitted(root: Xml.Element) -> dict[str, dict[str, set[str]]]:
    """A policy as node -> rule -> absolute names."""
    out: dict[str, dict[str, set[str]]] = {}
    for profile in root.iter("profile"):
        ns = profile.get("ns", "/").rstrip("/")
        rules = out.setdefault(f"{ns}/{profile.get('node')}", {})
        for group in profile:
            for rule, qualifier in group.attrib.items():
                if qualifier == "ALLOW":
                    rules.setdefault(rule, set()).update(str(entry.text) for entry in group)
    return out


def as_text(root: Xml.Element) -> str:
    """The file's content."""
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + Xml.tostring(root, encoding="unicode") + "\n"


def main(argv: list[str] | None = None) -> int:
    """Write the shipped policy, or check it."""
    parser = argparse.ArgumentParser(prog="python -m erl_vlm_ros.graphs.sros2", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args(argv).check
    text = as_text(policy(everything()))
    if POLICY_FILE.exists() and POLICY_FILE.read_text(encoding="utf-8") == text:
        return 0
    if check:
        print(f"{POLICY_FILE} is not current: run python -m erl_vlm_ros.graphs.sros2", file=sys.stderr)
        return 1
    POLICY_FILE.parent.mkdir(parents=True, exist_ok=True)
    POLICY_FILE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
