# SPDX-License-Identifier: Apache-2.0
"""Markers for rviz. Needs the ROS messages, no graph."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("visualization_msgs", reason="needs ROS 2 (pip install '.[ros]')")

from visualization_msgs.msg import Marker

from erl_vlm_ros.monitoring.screen import CALM, LOUD
from erl_vlm_ros.ros.markers import FORBIDDEN, PATH, STATE, TOOL, WORKSPACE, Overview, overview

BOX = ((0.3, -0.1, 0.0), (0.5, 0.1, 0.2))


def by_space(**values):
    found: dict[str, list[Marker]] = {}
    markers = overview(Overview(BOX, "base_link", **values)).markers
    assert markers[0].action == Marker.DELETEALL
    for marker in markers[1:]:
        found.setdefault(marker.ns, []).append(marker)
    return found


def test_the_box_has_twelve_edges_on_its_corners():
    (box,) = by_space()[WORKSPACE]
    points = np.array([(p.x, p.y, p.z) for p in box.points])
    assert len(points) == 24 and np.isin(points, np.array(BOX)).all()
    assert box.color.a == 1.0 and box.scale.x > 0 and box.header.stamp.sec == 0


def test_the_path_takes_the_colour_of_the_reward():
    path = np.array([[0.3, 0, 0.1], [0.4, 0, 0.1], [0.5, 0, 0.1]])
    (line,) = by_space(path=path, rewards=np.array([0.0, 0.5, 1.0]))[PATH]
    worst, _, best = line.colors
    assert worst.r > worst.b and best.b > best.r and len(line.points) == len(line.colors) == 3
    (plain,) = by_space(path=path)[PATH]
    assert not plain.colors and PATH not in by_space(path=path[:1])


def test_forbidden_boxes_are_blocks_and_six_zeros_are_none():
    blocks = by_space(forbidden=[0.0] * 6 + [0.4, 0, 0, 0.6, 0.1, 0.2])[FORBIDDEN]
    assert [m.type for m in blocks] == [Marker.CUBE, Marker.LINE_LIST]
    cube = blocks[0]
    assert (cube.scale.x, cube.scale.y, cube.scale.z) == pytest.approx((0.2, 0.1, 0.2))
    assert (cube.pose.position.x, cube.pose.position.z) == pytest.approx((0.5, 0.1)) and 0 < cube.color.a < 1
    assert len({m.id for m in blocks}) == 2


def test_the_state_is_large_and_red_when_it_must_be_seen():
    (stopped,) = by_space(state="E-STOP", loudness=LOUD)[STATE]
    (calm,) = by_space(state="ARMED", loudness=CALM)[STATE]
    assert stopped.scale.z > calm.scale.z and stopped.color.r > 0.8 > 0.3 > stopped.color.g
    assert calm.color.g > calm.color.r


def test_the_rating_hangs_above_the_tool():
    path = np.array([[0.3, 0, 0.1], [0.4, 0.05, 0.1]])
    (words,) = by_space(path=path, tool_words="Good  0.7", lifetime_s=10)[TOOL]
    assert (words.text, words.lifetime.sec) == ("Good  0.7", 10)
    assert (words.pose.position.x, words.pose.position.z) == pytest.approx((0.4, 0.16))
