# SPDX-License-Identifier: Apache-2.0
"""QoS profiles by purpose, so that both ends of a topic agree."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


def _profile(depth: int, reliable: bool = True, latched: bool = False) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def sensor(reliable: bool = False, depth: int = 10) -> QoSProfile:
    """Images, joint states and poses. A reliable subscriber does not connect to a best-effort publisher.

    ``depth``: a busy reader loses no image of 30 Hz for a third of a second; it judges age by the stamp.
    """
    return _profile(depth, reliable)


def command() -> QoSProfile:
    """Commands: reliable, depth 1, because a queue of old commands is worse than none."""
    return _profile(1)


def latched(depth: int = 1) -> QoSProfile:
    """Weights and states: a late subscriber gets the last one. ``depth``: of a reader of several publishers, so that
    the word of one does not take the place of another's."""
    return _profile(depth, latched=True)


def bulk(depth: int = 50) -> QoSProfile:
    """Episodes, segments, ratings: a node that restarts gets the last ``depth`` again."""
    return _profile(depth, latched=True)


def truth() -> QoSProfile:
    """Ground truth: deep enough that a busy listener loses no evaluation, and one that connects late no frame."""
    return _profile(2000, latched=True)


def metrics() -> QoSProfile:
    """Figures for plots: reliable, none lost in a burst."""
    return _profile(50)
