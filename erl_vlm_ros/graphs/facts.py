# SPDX-License-Identifier: Apache-2.0
"""What the two sides of a run must agree on, as plain data, and who gives way where they do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from erl_vlm_ros import __version__
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.graphs.sides import OTHER, ROBOT, side_of
from erl_vlm_ros.graphs.spec import Graph
from erl_vlm_ros.params.tables import SIDE_KIND, kind_of
from erl_vlm_ros.robot.spec import RobotSpec

SCHEMA = 1
_TIE_S = 1.0  # started within so long of each other: the workstation gives way
# Each machine's own: places on its disk, and how it goes on.
_OWN = frozenset({
    "task", "run_id", "run_dir", "checkpoint_dir", "checkpoint_every", "resume", "urdf_file", "urdf_wait_s",
    "encoder.path", "realtime_priority",
})  # fmt: skip
_OWN_OF_ROBOT = frozenset({"urdf", "model", "description"})
_OWN_OF_TASK = frozenset({"path", "scene", "rules"})  # rules: the simulation's, which one side has


def facts_of(graph: Graph, task: Task, robot: RobotSpec | None, run: Mapping[str, Any]) -> dict[str, Any]:
    """All that the sides compare, as JSON: dotted name -> value.

    Args:
        graph: the whole of it, or one side's part.
        run: further facts of the run, such as run_id and seed.
    """
    specs = [s for s in (*graph.nodes, *graph.elsewhere) if s.ros and kind_of(s.name) != SIDE_KIND]
    sides: dict[str, set[str]] = {}
    for spec in specs:
        for key in spec.parameters:
            sides.setdefault(key, set()).add(side_of(spec.name))
    # What only one side's nodes have is that side's own business: --set learner.batch_size is given there alone.
    shared = {key for key, found in sides.items() if len(found) > 1} - _OWN
    values = {f"run.{key}": value for key, value in run.items()}
    values |= _flat("task", {k: v for k, v in asdict(task).items() if k not in _OWN_OF_TASK})
    about = {"name": ""} if robot is None else robot.model_dump(mode="json")
    values |= _flat("robot", {k: v for k, v in about.items() if k not in _OWN_OF_ROBOT})
    for spec in specs:
        values |= {f"{spec.name}.{key}": _plain(v) for key, v in spec.parameters.items() if key in shared}
    return {"schema": SCHEMA, "version": __version__, "values": values}


def compare(mine: Mapping[str, Any], theirs: Mapping[str, Any], side: str) -> ConfigError | None:
    """What ``side`` is refused with when the other side's facts differ: the first difference; None: they agree.

    A node that only one side has in its graph (a camera's, say) is not compared.
    """
    other = OTHER[side]
    if mine["schema"] != theirs.get("schema"):
        text = f"this machine has erl_vlm_ros {mine['version']}, the {other} side {theirs.get('version')}: update one"
        return ConfigError(text, code=Code.OTHER_VERSION, parameter="version")
    ours, yours = mine["values"], theirs["values"]
    wrong = [key for key in ours if key in yours and ours[key] != yours[key]]
    nodes = {spec.partition(".")[0] for spec in ours} & {spec.partition(".")[0] for spec in yours}
    wrong += [key for key in (*ours, *yours) if (key in ours) != (key in yours) and key.partition(".")[0] in nodes]
    if not wrong:
        return None
    key = min(wrong, key=_rank)
    name = key.removeprefix("run.")
    more = "" if len(wrong) == 1 else f" (and {len(wrong) - 1} more that differ)"
    text = (
        f"{name} is {ours.get(key)!r} here, but {yours.get(key)!r} on the {other} side{more}: both must be given alike"
    )
    return ConfigError(text, code=Code.DOES_NOT_FIT, parameter=name)


def gives_way(side: str, my_age_s: float, other_age_s: float) -> bool:
    """Whether this side is the one that ends: the later one, of two that began together the workstation.

    Args:
        my_age_s, other_age_s: s since each one's start, as known at one moment; clocks of machines are not compared.
    """
    margin = -_TIE_S if side == ROBOT else _TIE_S
    return my_age_s < other_age_s + margin


# The cause is told before what follows from it.
_ORDER = ("run.graph", "task.name", "run.seed", "run.", "robot.name", "robot.", "task.", "")


def _rank(name: str) -> tuple[int, str]:
    return next(i for i, start in enumerate(_ORDER) if name.startswith(start)), name


def _flat(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        out: dict[str, Any] = {}
        for key, part in value.items():
            out |= _flat(f"{name}.{key}", part)
        return out
    return {name: _plain(value)}


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
