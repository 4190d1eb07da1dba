# SPDX-License-Identifier: Apache-2.0
"""Parameter tables: checks without rclpy, and every table declared on a real node."""

import subprocess
import sys

import pytest

from erl_vlm_ros.errors import ConfigError
from erl_vlm_ros.ros.parameters import PARAMETERS
from erl_vlm_ros.ros.params import Param, namespace, resolve

TABLE = (
    Param("rate", 10.0, "Hz.", low=1.0, high=100.0),
    Param("steps", 5, "Steps.", low=1),
    Param("name", "a", "Name.", choices=("a", "b")),
    Param("on", True, "Switch."),
    Param("box", [0.0, 1.0], "Limits.", low=0.0),
    Param("joints", ["j1"], "Names.", any_length=True),
    Param("sub.value", 1, "Nested."),
)


def test_defaults_overrides_and_attribute_names():
    values = resolve(
        "node",
        TABLE,
        {"rate": 20, "joints": ("x", "y", "z"), "use_sim_time": True, "qos_overrides./a.depth": 3},
    )
    assert values["rate"] == 20.0 and type(values["rate"]) is float  # a whole number in YAML is fine for a float
    assert values["joints"] == ["x", "y", "z"]
    p = namespace("my_node", values)
    assert (p.steps, p.sub_value) == (5, 1)
    with pytest.raises(AttributeError):
        p.steps = 6


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"rat": 5.0}, r"node has no parameter 'rat' \(did you mean 'rate'\?\)"),
        ({"zzz": 5.0}, "node has no parameter 'zzz'; remove or rename it"),
        ({"rate": 500.0}, "'rate' of node is 500.0; it must be 1 to 100"),
        ({"rate": float("nan")}, "'rate' of node is nan; it must be finite"),
        ({"rate": "fast"}, "'rate' of node is 'fast'; it must be of type float"),
        ({"steps": 2.5}, "'steps' of node is 2.5; it must be of type int"),
        ({"steps": True}, "'steps' of node is True; it must be of type int"),
        ({"steps": 0}, "'steps' of node is 0; it must be at least 1"),
        ({"name": "c"}, "'name' of node is 'c'; it must be one of a, b"),
        ({"on": 1}, "'on' of node is 1; it must be of type bool"),
        ({"box": [0.0]}, r"'box' of node is \[0.0\]; it must be a list of 2"),
        ({"box": [0.0, -1.0]}, "'box' of node is -1.0; it must be at least 0"),
        ({"joints": []}, r"'joints' of node is \[\]; it must be a non-empty list"),
        ({"joints": "j1"}, "'joints' of node is 'j1'; it must be a non-empty list"),
    ],
)
def test_wrong_values_are_refused_by_name(overrides, message):
    with pytest.raises(ConfigError, match=message):
        resolve("node", TABLE, overrides)


def test_a_table_checks_itself():
    with pytest.raises(ConfigError):
        Param("rate", 10.0, "Hz.", high=5.0)
    with pytest.raises(ValueError):
        Param("names", [], "No type.")


def test_every_parameter_says_what_it_is():
    assert {"sim_bridge", "policy_controller", "safety_guard"} <= set(PARAMETERS)
    for node, table in PARAMETERS.items():
        names = [p.name for p in table]
        assert len(set(names)) == len(names), node
        for p in table:
            assert p.description.endswith("."), f"{node}.{p.name}"
            assert p.type in ("bool", "int", "float", "str", "int[]", "float[]", "str[]"), f"{node}.{p.name}"


def test_tables_need_no_rclpy():
    code = "import sys; sys.modules['rclpy'] = None; import erl_vlm_ros.ros.parameters"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_table_declares_on_a_real_node(ros_domain):
    rclpy = pytest.importorskip("rclpy")
    from rclpy.context import Context
    from rclpy.node import Node
    from rclpy.parameter import Parameter

    from erl_vlm_ros.ros.params import declare

    context = Context()
    rclpy.init(context=context, domain_id=ros_domain)
    try:
        for name, table in PARAMETERS.items():
            node = Node(name, context=context)
            values = declare(node, table)
            for p in table:
                assert (
                    node.get_parameter(p.name).value == values[p.name]
                    or list(node.get_parameter(p.name).value) == values[p.name]
                )
                descriptor = node.describe_parameter(p.name)
                assert (descriptor.description, descriptor.read_only) == (p.description, p.read_only)
            node.destroy_node()
        wrong = Node("sim_bridge", context=context, parameter_overrides=[Parameter("sead", value=3)])
        with pytest.raises(ConfigError, match="sim_bridge has no parameter 'sead'"):
            declare(wrong, PARAMETERS["sim_bridge"])
        wrong.destroy_node()
    finally:
        rclpy.shutdown(context=context)
