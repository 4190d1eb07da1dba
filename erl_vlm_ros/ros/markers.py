# SPDX-License-Identifier: Apache-2.0
"""Markers for rviz: workspace and forbidden boxes, the tool's path coloured by the learned reward, words beside it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from erl_vlm_ros.monitoring import draw
from erl_vlm_ros.monitoring.screen import LOUD, NOTE

#: namespaces, each can be switched off in rviz by itself
WORKSPACE, FORBIDDEN, PATH, TOOL, STATE = "workspace", "forbidden", "path", "tool", "state"
_LOUDNESS = {LOUD: draw.RED, NOTE: draw.ORANGE}  # else green


@dataclass(frozen=True)
class Overview:
    """What is drawn. Metres in ``frame``.

    Attributes:
        workspace: (low [3], high [3]); forbidden: flat list, six numbers a box, six zeros for none.
        path: [n, 3]; rewards: learned reward 0..1 at each of its points, or None.
        tool_words: beside the tool; state, loudness: of the arm, as ``screen.safety_words`` gives them.
        lifetime_s: rviz drops markers that are not renewed for so long; 0: keeps them.
    """

    workspace: tuple[Sequence[float], Sequence[float]]
    frame: str
    forbidden: Sequence[float] = ()
    path: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    rewards: np.ndarray | None = None
    tool_words: str = ""
    state: str = ""
    loudness: int = 0
    lifetime_s: int = 0


def overview(shown: Overview) -> MarkerArray:
    """The markers; one DELETEALL first, so that what is gone from the data goes from the screen."""
    low, high = shown.workspace
    box = _marker(shown, WORKSPACE, 0, Marker.LINE_LIST, 0.004, draw.BLUE)
    box.points = [_point(p) for edge in _edges(low, high) for p in edge]
    out = [Marker(action=Marker.DELETEALL), box, *_forbidden(shown)]
    out[0].header.frame_id = shown.frame
    path = np.asarray(shown.path, float)
    if len(path) > 1:
        line = _marker(shown, PATH, 0, Marker.LINE_STRIP, 0.006, (200, 200, 200))
        line.points = [_point(p) for p in path]
        if shown.rewards is not None:
            line.colors = [_colour(draw.reward_colour(float(r))) for r in shown.rewards]
        out.append(line)
    middle = (np.asarray(low, float) + high) / 2
    if shown.tool_words:
        at = path[-1] if len(path) else np.array([*middle[:2], high[2]])
        out.append(_words(shown, TOOL, shown.tool_words, at + (0, 0, 0.06), 0.03, (255, 255, 255)))
    if shown.state:
        colour = _LOUDNESS.get(shown.loudness, draw.GREEN)
        size = 0.1 if shown.loudness == LOUD else 0.04
        out.append(_words(shown, STATE, shown.state, np.array([*middle[:2], high[2] + 0.2]), size, colour))
    return MarkerArray(markers=out)


def _forbidden(shown: Overview) -> list[Marker]:
    """A see-through block each, with edges."""
    out = []
    for i in range(0, len(shown.forbidden) - 5, 6):
        low, high = np.array(shown.forbidden[i : i + 3]), np.array(shown.forbidden[i + 3 : i + 6])
        if not (high > low).all():
            continue
        block = _marker(shown, FORBIDDEN, i, Marker.CUBE, 0.0, draw.RED)
        block.color.a = 0.25
        block.pose.position = _point((low + high) / 2)
        block.scale.x, block.scale.y, block.scale.z = (high - low).tolist()
        edges = _marker(shown, FORBIDDEN, i + 1, Marker.LINE_LIST, 0.004, draw.RED)
        edges.points = [_point(p) for edge in _edges(low, high) for p in edge]
        out += [block, edges]
    return out


def _words(shown: Overview, space: str, words: str, at: np.ndarray, size: float, colour: draw.Colour) -> Marker:
    marker = _marker(shown, space, 0, Marker.TEXT_VIEW_FACING, size, colour)
    marker.text, marker.pose.position = words, _point(at)
    return marker


def _marker(shown: Overview, space: str, number: int, kind: int, size: float, colour: draw.Colour) -> Marker:
    """Stamp zero: rviz then takes the newest transform, whatever the clock does."""
    marker = Marker(ns=space, id=number, type=kind, action=Marker.ADD)
    marker.header.frame_id = shown.frame
    marker.lifetime = Duration(sec=shown.lifetime_s)
    marker.pose.orientation.w = 1.0
    marker.scale.x = marker.scale.z = size
    marker.color = _colour(colour)
    return marker


def _colour(colour: draw.Colour) -> ColorRGBA:
    r, g, b = (value / 255 for value in colour)
    return ColorRGBA(r=r, g=g, b=b, a=1.0)


def _point(p: Sequence[float] | np.ndarray) -> Point:
    return Point(x=float(p[0]), y=float(p[1]), z=float(p[2]))


def _edges(low: Sequence[float], high: Sequence[float]) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    """The 12 edges of a box: pairs of corners that differ in one axis."""
    corners = list(itertools.product(*zip(low, high)))
    return [(a, b) for a, b in itertools.combinations(corners, 2) if sum(x != y for x, y in zip(a, b)) == 1]
