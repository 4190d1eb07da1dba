# SPDX-License-Identifier: Apache-2.0
"""What ``--side``, ``--domain`` and ``--peer`` mean for a run: what is refused, how the machines find each other."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.rundir import atomic_write
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.graphs.facts import facts_of
from erl_vlm_ros.graphs.robot import ROBOT_COPY
from erl_vlm_ros.graphs.sides import BOTH, FACTS_FILE, check_side, part_of
from erl_vlm_ros.graphs.spec import TASK_COPY, DataOptions, Graph, SideOptions
from erl_vlm_ros.robot.spec import load_robot

HIGHEST_DOMAIN = 101  # above it ports are ephemeral ones on Linux
_RANGE, _PEERS, _OLD_RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_STATIC_PEERS", "ROS_LOCALHOST_ONLY"
_LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}")
_ADDRESS = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")


def completed(given: SideOptions, kept: Mapping[str, Any] | None, graph: str, data: DataOptions) -> SideOptions:
    """The options of a run that begins, or of one that is continued, whose side stays.

    Args:
        kept: of the run that is continued; None: a new run.

    Raises:
        ConfigError: an unknown side, no domain or two of them, an option that needs a side, or a graph without sides.
    """
    check_side(given.side)
    if kept is not None:
        before = SideOptions(**{**kept, "peers": tuple(kept.get("peers", ()))})
        if given.side not in (BOTH, before.side):
            text = f"--side {given.side}: this run directory is that of side {before.side}; leave it away"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="side")
        given = replace(
            given, side=before.side, peers=given.peers or before.peers,
            domain=before.domain if given.domain is None else given.domain,
        )  # fmt: skip
    if given.side == BOTH:
        for name in ("domain", "peers"):
            if getattr(given, name) not in (None, ()):
                option = name.removesuffix("s")
                text = f"--{option} is for a run on two machines: give --side robot or --side workstation as well"
                raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter=option)
        return given
    if graph in ("train_offline", "collect"):
        why = "has no robot side" if graph == "train_offline" else "runs on one machine"
        text = f"--side {given.side}: {graph} {why}; leave it away"
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="side")
    if data.before:
        text = "--from and --side: a run that goes on from another one is on one machine; leave one away"
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="from")
    for peer in given.peers:
        if not _ADDRESS.fullmatch(peer):
            raise ConfigError(f"--peer {peer!r}: expected the other machine's address or name", parameter="peer")
    _check_reach(given)
    return replace(given, domain=_domain(given))


def _domain(given: SideOptions) -> int:
    text = os.environ.get("ROS_DOMAIN_ID", "")
    if given.domain is None and not text:
        raise ConfigError(
            f"--side {given.side} needs --domain N, 0 to {HIGHEST_DOMAIN}, the same on both machines",
            code=Code.NOT_GIVEN, parameter="domain",
        )  # fmt: skip
    if given.domain is not None and text and text != str(given.domain):
        said = f"--domain is {given.domain}, but ROS_DOMAIN_ID is {text}: drivers and tools follow that; give one"
        raise ConfigError(said, code=Code.DOES_NOT_FIT, parameter="domain")
    number = given.domain if given.domain is not None else int(text) if text.isdecimal() else -1
    if not 0 <= number <= HIGHEST_DOMAIN:
        said = f"--domain {text if given.domain is None else number}: expected a number from 0 to {HIGHEST_DOMAIN}"
        raise ConfigError(said, parameter="domain")
    return number


def _check_reach(given: SideOptions) -> None:
    """Refuse a shell whose settings keep the other machine out of sight."""
    local = _local(given)
    found = os.environ.get(_RANGE, "")
    if found in ("OFF", *(() if local else ("LOCALHOST",))):
        text = f"{_RANGE} is {found}, so that the two sides never meet: unset it, or set it to SUBNET"
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter=_RANGE)
    if os.environ.get(_OLD_RANGE, "0") not in ("", "0") and not local:
        text = f"{_OLD_RANGE} is set, so that the two sides never meet: unset it"
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter=_OLD_RANGE)


def _local(side: SideOptions) -> bool:
    """Whether the other side is on this machine."""
    return bool(side.peers) and all(_LOOPBACK.fullmatch(peer) for peer in side.peers)


def discovery(side: SideOptions) -> dict[str, str]:
    """Environment variables by which nodes find those of the other machine; none for a run on one."""
    if side.side == BOTH:
        return {}
    out = {"ROS_DOMAIN_ID": str(side.domain), _RANGE: "LOCALHOST" if _local(side) else "SUBNET"}
    if side.peers and not _local(side):
        out[_PEERS] = ";".join(side.peers)
    return out


def run_id_of(task: str, seed: int) -> str:
    """The id that both sides give their messages without having met: by what they were asked for."""
    return f"{Path(task).stem}-seed{seed}"


def own_part(graph: Graph, folder: Path, side: SideOptions, run_id: str, seed: int, begun: str) -> Graph:
    """This machine's part of ``graph``; what both sides must agree on is written to ``folder``.

    Args:
        begun: names this run directory: the other side knows by it that it is not another run's.
    """
    if side.side == BOTH:
        return graph
    part = part_of(graph, side.side, str(folder / FACTS_FILE))
    bridge = part.find("sim_bridge")
    if bridge is not None:
        # The workstation knows frames and their truth by stamp, and may have outlived an earlier simulation.
        bridge.parameters["first_stamp_s"] = int(time.time())
    kept = folder / ROBOT_COPY
    robot = load_robot(kept) if kept.is_file() else None
    run = {"graph": graph.name, "run_id": run_id, "seed": seed}
    facts = facts_of(part, load_task(folder / TASK_COPY), robot, run)
    atomic_write(folder / FACTS_FILE, json.dumps({"begun": begun, "facts": facts}, indent=1) + "\n")
    return part
