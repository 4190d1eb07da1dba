# SPDX-License-Identifier: Apache-2.0
"""Parameter tables: checks without rclpy, and every table declared on a real node."""

import dataclasses
import subprocess
import sys
from typing import Annotated, Literal

import pytest
from pydantic import Field
from refusals import refused

from erl_vlm_ros.common.config import config, from_values, setting
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.params import renamed
from erl_vlm_ros.params.param import Param, group, namespace, resolve
from erl_vlm_ros.params.tables import PARAMETERS

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
    "overrides, fields",
    [
        ({"rat": 5.0}, {"parameter": "node.rat", "code": Code.UNKNOWN, "shows": "'rate'"}),
        ({"zzz": 5.0}, {"parameter": "node.zzz", "code": Code.UNKNOWN}),
        ({"rate": 500.0}, {"parameter": "node.rate", "shows": ("500.0", "100")}),
        ({"rate": float("nan")}, {"parameter": "node.rate", "shows": "nan"}),
        ({"rate": "fast"}, {"parameter": "node.rate", "shows": ("fast", "float")}),
        ({"steps": 2.5}, {"parameter": "node.steps", "shows": ("2.5", "int")}),
        ({"steps": True}, {"parameter": "node.steps", "shows": ("True", "int")}),
        ({"steps": 0}, {"parameter": "node.steps"}),
        ({"name": "c"}, {"parameter": "node.name"}),
        ({"on": 1}, {"parameter": "node.on", "shows": "bool"}),
        ({"box": [0.0]}, {"parameter": "node.box", "shows": "[0.0]"}),
        ({"box": [0.0, -1.0]}, {"parameter": "node.box", "shows": "-1.0"}),
        ({"joints": []}, {"parameter": "node.joints", "shows": "[]"}),
        ({"joints": "j1"}, {"parameter": "node.joints", "shows": "j1"}),
    ],
)
def test_wrong_values_are_refused_by_name(overrides, fields):
    with refused(ConfigError, **fields):
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


def test_a_shared_parameter_is_the_same_one_wherever_its_name_stands():
    """A value for one node is given to all that have the name: they must mean the same by it."""
    from erl_vlm_ros.params.tables._shared import SHARED

    shared = {p.name: p for p in SHARED}
    for node, table in PARAMETERS.items():
        for p in table:
            if p.name in shared:
                assert p.type == shared[p.name].type and p.choices == shared[p.name].choices, f"{node}.{p.name}"


def test_tables_need_no_rclpy():
    code = "import sys; sys.modules['rclpy'] = None; import erl_vlm_ros.params.tables"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_table_declares_on_a_real_node(ros_domain):
    rclpy = pytest.importorskip("rclpy")
    from rclpy.context import Context
    from rclpy.node import Node
    from rclpy.parameter import Parameter

    from erl_vlm_ros.ros.declare import declare

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
        with refused(ConfigError, parameter="sim_bridge.sead", code=Code.UNKNOWN):
            declare(wrong, PARAMETERS["sim_bridge"])
        wrong.destroy_node()
    finally:
        rclpy.shutdown(context=context)


def test_an_old_name_is_understood_with_a_warning(monkeypatch):
    from erl_vlm_ros.params import layers, renamed

    monkeypatch.setitem(renamed.NODES, "old_monitor", "monitor")
    monkeypatch.setitem(renamed.PARAMETERS, "monitor", {"old_run": "run_dir"})
    with pytest.warns(renamed.RenamedWarning):
        assert renamed.parameters("monitor", {"old_run": "x"}) == {"run_dir": "x"}
    with pytest.warns(renamed.RenamedWarning):
        assert layers.parse_overrides(["old_monitor.old_run=x"]) == {"monitor": {"run_dir": "x"}}
    with pytest.raises(ConfigError):
        renamed.parameters("monitor", {"old_run": "x", "run_dir": "y"})


@config("demo")
class Demo:
    rate: float = setting(0.5, "A share.", low=0.0, high=1.0)
    sizes: tuple[Annotated[int, Field(ge=1)], ...] = setting((8, 8), "Sizes.")
    pair: tuple[float, float] = setting((0.0, 1.0), "Least and most.")
    kind: Literal["a", "b"] = setting("a", "Which.")
    lr: float | None = setting(None, "Learning rate.", low=0.0)

    def __post_init__(self):
        if self.pair[0] > self.pair[1]:
            raise ConfigError("demo.pair must be [least, most]", parameter="demo.pair")


def test_a_configuration_says_its_parameters_once():
    table = {p.name: p for p in group("demo", Demo)}
    assert list(table) == ["demo.rate", "demo.sizes", "demo.pair", "demo.kind", "demo.lr"]
    assert [p.type for p in table.values()] == ["float", "int[]", "float[]", "str", "float"]
    assert (table["demo.rate"].low, table["demo.rate"].high, table["demo.sizes"].low) == (0.0, 1.0, 1)
    assert table["demo.kind"].choices == ("a", "b") and table["demo.lr"].default is None
    assert table["demo.sizes"].any_length and not table["demo.pair"].any_length
    values = resolve("node", table.values(), {"demo.sizes": [4], "demo.lr": 1})
    assert from_values(Demo, values, "demo.") == Demo(sizes=(4,), lr=1.0)
    assert resolve("node", table.values(), {})["demo.lr"] is None


@pytest.mark.parametrize(
    "values, name",
    [
        ({"rate": 2.0}, "demo.rate"), ({"rate": "0.5"}, "demo.rate"), ({"rate": float("nan")}, "demo.rate"),
        ({"sizes": (0,)}, "demo.sizes"), ({"kind": "c"}, "demo.kind"), ({"lr": -1.0}, "demo.lr"),
        ({"rate": True}, "demo.rate"),
    ],
)  # fmt: skip
def test_a_configuration_refuses_by_name(values, name):
    with pytest.raises(ConfigError) as refused:
        Demo(**values)
    assert refused.value.parameter == name and refused.value.code is Code.VALUE


def test_a_configuration_checks_what_belongs_together():
    with refused(ConfigError, parameter="demo.pair"):
        Demo(pair=(2.0, 1.0))
    with pytest.raises(ConfigError):
        dataclasses.replace(Demo(), rate=-1.0)


def test_a_parameter_that_is_not_set_declares_on_a_real_node(ros_domain):
    rclpy = pytest.importorskip("rclpy")
    from rclpy.context import Context
    from rclpy.node import Node
    from rclpy.parameter import Parameter

    from erl_vlm_ros.ros.declare import declare

    context = Context()
    rclpy.init(context=context)
    try:
        for overrides, wanted in (([], None), ([Parameter("demo.lr", value=0.25)], 0.25)):
            node = Node("demo", context=context, parameter_overrides=overrides)
            assert declare(node, group("demo", Demo))["demo.lr"] == wanted
            assert node.get_parameter("demo.lr").value == wanted
            node.destroy_node()
    finally:
        rclpy.shutdown(context=context)


@pytest.mark.parametrize(
    ("node", "name", "once"),
    [(node, name, v) for node, rows in renamed.UNSET.items() for name, values in rows.items() for v in values],
)
def test_what_once_said_not_set_is_understood_and_told(node, name, once):
    with pytest.warns(renamed.RenamedWarning):
        assert resolve(node, PARAMETERS[node], {name: once})[name] is None
