# SPDX-License-Identifier: Apache-2.0
"""What the monitor knows, as messages: the health of the nodes, and the markers for rviz."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from visualization_msgs.msg import MarkerArray

from erl_vlm_ros.common.names import ALARM_PREFIX
from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.monitoring.alarms import AlarmState
from erl_vlm_ros.monitoring.health import OWN_PREFIX, NodeHealth
from erl_vlm_ros.monitoring.screen import Screen, safety_words
from erl_vlm_ros.monitoring.trace import Trace
from erl_vlm_ros.ros import markers

_MARKER_LIFE_S = 10  # in real time: what an ended monitor left must not look true


def health_message(health: Mapping[str, NodeHealth], stamp: Time, alarms: Sequence[AlarmState] = ()) -> DiagnosticArray:
    """The monitor's verdict on each node, and the training alarms; those that are over are published as OK."""
    message = DiagnosticArray(status=[_status(node, state) for node, state in health.items()])
    for alarm in alarms:
        status = DiagnosticStatus(level=bytes([alarm.level]), name=ALARM_PREFIX + alarm.name, hardware_id="erl_vlm_ros")
        status.message = alarm.text
        message.status.append(status)
    message.header.stamp = stamp
    return message


def _status(node: str, health: NodeHealth) -> DiagnosticStatus:
    ages = {"age_s": health.age_s, "figures_age_s": health.figures_age_s}
    return DiagnosticStatus(
        level=bytes([health.level]),
        name=OWN_PREFIX + node,
        message=health.text,
        hardware_id="erl_vlm_ros",
        values=[KeyValue(key=key, value=f"{age:.1f}") for key, age in ages.items() if age is not None],
    )


def markers_of(screen: Screen, trace: Trace, task: Task, p: Any) -> MarkerArray:
    """Markers of this moment; ``p``: the monitor's parameters."""
    state, loudness = safety_words(screen)
    words = [screen.last_rating, "" if screen.reward is None else f"{screen.reward:.2f}"]
    shown = markers.Overview(
        workspace=(task.workspace_min, task.workspace_max),
        frame=p.base_frame,
        forbidden=p.forbidden_boxes,
        path=trace.points,
        rewards=trace.colours,
        tool_words="  ".join(filter(None, words)),
        state=state,
        loudness=loudness,
        lifetime_s=0 if p.lock_step else _MARKER_LIFE_S,
    )
    return markers.overview(shown)
