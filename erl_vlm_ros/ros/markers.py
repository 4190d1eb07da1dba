# SPDX-License-Identifier: Apache-2.0
"""Markers for rviz: workspace box, path of the end effector, last rating."""

from __future__ import annotations

import itertools

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from visualization_msgs.msg import Marker, MarkerArray

from erl_vlm_ros.tasks import Task

_BOX, _PATH, _RATING = range(3)


def overview(
    task: Task, path: np.ndarray | None, rating: str, stamp: Time, frame: str = "base_link"
) -> MarkerArray:
    """The markers; ``path`` is [n, 3] in metres or None, ``rating`` a class name or empty."""
    out = [_marker(_BOX, Marker.LINE_LIST, 0.004, (0.3, 0.7, 1.0), stamp, frame)]
    out[0].points = [_point(p) for edge in _edges(task.workspace_min, task.workspace_max) for p in edge]
    if path is not None and len(path) > 1:
        out.append(_marker(_PATH, Marker.LINE_STRIP, 0.004, (1.0, 0.7, 0.2), stamp, frame))
        out[-1].points = [_point(p) for p in path]
    if rating:
        out.append(_marker(_RATING, Marker.TEXT_VIEW_FACING, 0.05, (1.0, 1.0, 1.0), stamp, frame))
        out[-1].text = rating
        top = np.add(task.workspace_min, task.workspace_max) / 2
        out[-1].pose.position = _point((top[0], top[1], task.workspace_max[2] + 0.08))
    return MarkerArray(markers=out)


def _marker(
    number: int, kind: int, size: float, colour: tuple[float, float, float], stamp: Time, frame: str
) -> Marker:
    marker = Marker(ns="erl_vlm_ros", id=number, type=kind, action=Marker.ADD)
    marker.header.frame_id, marker.header.stamp = frame, stamp
    marker.pose.orientation.w = 1.0
    marker.scale.x = marker.scale.z = size
    marker.color.r, marker.color.g, marker.color.b = colour
    marker.color.a = 1.0
    return marker


def _point(p: np.ndarray | tuple[float, float, float]) -> Point:
    return Point(x=float(p[0]), y=float(p[1]), z=float(p[2]))


def _edges(
    low: tuple[float, ...], high: tuple[float, ...]
) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    """The 12 edges of a box: pairs of corners that differ in one axis."""
    corners = list(itertools.product(*zip(low, high)))
    return [(a, b) for a, b in itertools.combinations(corners, 2) if sum(x != y for x, y in zip(a, b)) == 1]
