# SPDX-License-Identifier: Apache-2.0
"""Actions in words, for prompts about segments of several frames."""

from __future__ import annotations

import numpy as np

from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.data.choices import is_choice, move_words
from erl_vlm_ros.data.spaces import ANGULAR, GRIPPER, LINEAR, ActionSpec, action_spec

# names of + and - along the base frame's axes (REP 103: x forward, y left, z up)
_AXES = (("forward", "backward"), ("left", "right"), ("up", "down"))
_SMALL_CM = 0.5
_SMALL_DEG = 1.0


def action_words(action: np.ndarray, task: Task, spec: ActionSpec | None = None) -> str:
    """One commanded step as words: ``forward 3.0 cm, down 1.5 cm, gripper opening``, or a choice's own label.

    Args:
        action: [A] in [-1, 1], as ``spec`` says.
        spec: None: the task's.
    """
    if is_choice(spec):
        return move_words(action, spec)
    spec = action_spec(task)
    step_cm = 100.0 * task.linear_speed / task.control_hz
    parts = []
    for value, (positive, negative) in zip(np.clip(action[spec.slice(LINEAR)], -1.0, 1.0) * step_cm, _AXES):
        if abs(value) >= _SMALL_CM:
            parts.append(f"{positive if value > 0 else negative} {abs(value):.1f} cm")
    if ANGULAR in spec:
        parts += _turns(action[spec.slice(ANGULAR)], spec.part(ANGULAR).labels, task)
    if not parts:
        parts.append("hardly any motion")
    if GRIPPER in spec and len(action) == spec.size:
        parts.append("gripper opening" if action[spec.slice(GRIPPER)][0] > 0 else "gripper closing")
    return ", ".join(parts)


def _turns(action: np.ndarray, axes: tuple[str, ...], task: Task) -> list[str]:
    """Turns of the tool about the base frame's axes, seen from their tips."""
    step = np.rad2deg(np.clip(action, -1.0, 1.0) * task.angular_speed / task.control_hz)
    turning = {"x": "rolling", "y": "pitching", "z": "turning"}
    return [
        f"{turning[axis]} {'counter-clockwise' if value > 0 else 'clockwise'} {abs(value):.0f} degrees"
        for axis, value in zip(axes, step)
        if abs(value) >= _SMALL_DEG
    ]


def segment_words(actions: np.ndarray, task: Task, spec: ActionSpec | None = None) -> str:
    """Lines for the motion between a segment's frames; empty when it has one frame.

    Args:
        actions: [H, A], the action that led to each frame; the first led to the first frame and is left out.
        spec: as of action_words.
    """
    done = [action_words(action, task, spec) for action in actions[1:]]
    return "\n".join(f"- from image {i} to image {i + 1}: {words}" for i, words in enumerate(done, 1))
