# SPDX-License-Identifier: Apache-2.0
"""Writes docs/nodes.md from the parameter tables: ``python -m erl_vlm_ros.params.reference [--check]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from erl_vlm_ros.params.tables import PARAMETERS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "nodes.md"
_HEAD = """# Nodes and their parameters

This page is written by `python -m erl_vlm_ros.params.reference`; edit the tables in `erl_vlm_ros/params/tables/`
instead.

Set a parameter in a YAML file in ROS form or on the command line with `--set node.parameter=value`; what concerns the
task may also stand in a task file under `parameters:` ([teachers.md](teachers.md)). A key that no node declares is
refused. What a run used is in `DIR/config/`.
Parameters marked *while running* may be changed with `ros2 param set`; all others are fixed at start.
`use_sim_time` and `qos_overrides.*` are ROS's own.
"""
_ABOUT = {
    "sim_bridge": "The simulated arm and camera behind the topics of a real arm.",
    "camera": "Images of a RealSense, of anything OpenCV opens, or of another driver: docs/camera.md.",
    "safety_guard": "The only publisher of the arm's command topics. Starts disarmed.",
    "guard_watchdog": "Sends zeros when safety_guard dies or hangs; silent while it lives. For adapter joint_velocity.",
    "policy_controller": "Observations to commands; runs the episodes and publishes each when it is over.",
    "learner": "Replay buffer, SAC updates, relabelling, choice of what is rated; publishes the actor.",
    "vlm_rater": "Has segments rated by a vision-language model, off the control path.",
    "reward_trainer": "Keeps the ratings, trains the reward model after each round, publishes it.",
    "monitor": "Figures, files, dashboard image, markers and diagnostics of a run.",
    "viewer": "A window with the dashboard.",
    "standin_vlm": "The stand-in for a vision-language model in simulation: a plain process, not a ROS node.",
}
ORDER = list(_ABOUT)


def page() -> str:
    """The whole page as Markdown."""
    names = sorted(PARAMETERS, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    return "\n".join([_HEAD, *(_section(name) for name in names)])


def _section(node: str) -> str:
    lines = [f"## {node}", ""]
    if node in _ABOUT:
        lines += [_ABOUT[node], ""]
    lines += ["| Parameter | Type | Default | Allowed | Meaning |", "|---|---|---|---|---|"]
    for p in PARAMETERS[node]:
        meaning = p.description if p.read_only else f"{p.description} *While running.*"
        cells = (f"`{p.name}`", p.type, _code(p.default), p.limits, meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _code(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, str):
        return f"`{value}`" if value else '`""`'
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, (list, tuple)):
        return "`[" + ", ".join(map(str, value)) + "]`"
    return f"`{value}`"


def main(argv: list[str] | None = None) -> int:
    """Write the page; with --check only say whether it is current (exit status 1 when it is not)."""
    parser = argparse.ArgumentParser(prog="python -m erl_vlm_ros.params.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args(argv).check
    current = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    if current == page():
        return 0
    if check:
        print(f"{PAGE} is not current: run python -m erl_vlm_ros.params.reference", file=sys.stderr)
        return 1
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
