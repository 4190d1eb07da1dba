# SPDX-License-Identifier: Apache-2.0
"""Observations and actions of an episode, out of its aligned messages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from erl_vlm_ros.control.command import velocity_to_action
from erl_vlm_ros.data.observation import build_observation
from erl_vlm_ros.data.spaces import ANGULAR, GRIPPER, Spaces
from erl_vlm_ros.recordings.align import Aligned, Unfit, any_within, held_mean
from erl_vlm_ros.recordings.clock import Piece
from erl_vlm_ros.recordings.options import AUTO, POLICY, BuildOptions
from erl_vlm_ros.recordings.options import COMMAND as BY_COMMAND
from erl_vlm_ros.recordings.problems import Reason
from erl_vlm_ros.recordings.streams import COMMAND, EXECUTED, JOINT_COMMAND, JOINTS, OBJECT, POSE, STATE, WIDTH
from erl_vlm_ros.robot.kinematics import Kinematics
from erl_vlm_ros.robot.rotation import rotation_of, rotation_vector


@dataclass(frozen=True)
class Arm:
    """What is known of the arm: joint names in order; ``kinematics`` None: there is no URDF, and the pose is recorded.
    ``our_width``: the gripper's command is its opening in m, not what its driver takes. ``in_tool``: commands are in
    the tool's frame."""

    joint_names: tuple[str, ...]
    kinematics: Kinematics | None
    our_width: bool
    in_tool: bool


@dataclass(frozen=True)
class Vectors:
    """observations [T+1, O], actions [T, A], intervention bool [T]; ``clipped``: share of steps that were faster than
    the task's speeds."""

    observations: np.ndarray
    actions: np.ndarray
    intervention: np.ndarray
    clipped: float


class _Motion:
    """The arm's state at each of T + 1 frames."""

    def __init__(self, piece: Piece, aligned: Aligned, arm: Arm, options: BuildOptions):
        gripper = options.robot.gripper
        found: dict[str, np.ndarray] = {}
        for name, rows in aligned.at.items():
            if name.startswith(JOINTS):
                stream = piece.streams[name]
                for column, joint in enumerate(stream.joints):
                    found.setdefault(joint, stream.values[rows, column])
        missing = [name for name in (*arm.joint_names, *gripper.joints) if name not in found]
        if missing:
            topics = ", ".join(sorted({s.topic for s in piece.joints()}))
            raise Unfit(Reason.JOINTS, f"no joint {', '.join(missing)} on {topics or 'joint_states'}", topics)
        self.joints = np.stack([found[name] for name in arm.joint_names], axis=1)
        self.position, self.rotation = _poses(piece, aligned, arm, self.joints)
        if gripper.joints:
            total = np.sum([found[name] for name in gripper.joints], axis=0)
            self.width = gripper.measured_offset + gripper.measured_scale * total
        else:
            self.width = commanded_width(piece, aligned.times - 1, arm, options)  # before it was answered

    def speeds(self, times: np.ndarray) -> np.ndarray:
        """[T, 6] m/s and rad/s from each frame to the next."""
        dt = np.diff(times)[:, None] / 1e9
        turns = [rotation_vector(b @ a.T) for a, b in zip(self.rotation, self.rotation[1:])]
        return np.hstack([np.diff(self.position, axis=0), np.array(turns).reshape(-1, 3)]) / dt


def vectors(
    piece: Piece, aligned: Aligned, arm: Arm, spaces: Spaces, goal: np.ndarray, options: BuildOptions
) -> Vectors:
    """Raises Unfit: ``JOINTS``, ``NO_COMMAND``, ``NOT_FINITE``; it names the row."""
    motion = _Motion(piece, aligned, arm, options)
    objects = piece.streams[OBJECT].values[aligned.at[OBJECT]] if OBJECT in aligned.at else [None] * len(aligned.times)
    try:
        observations = np.stack([
            build_observation(spaces.observation, *row, goal, rotation)
            for *row, rotation in zip(motion.joints, motion.position, motion.width, objects, motion.rotation)
        ])  # fmt: skip
    except ValueError as error:
        raise Unfit(Reason.NOT_FINITE, str(error)) from error
    by_command = options.action == BY_COMMAND
    velocity = _commands(piece, aligned, arm, motion, options) if by_command else motion.speeds(aligned.times)
    grip = _grip(piece, aligned, arm, motion, spaces, options, by_command)
    bad = np.flatnonzero(~np.isfinite(np.column_stack([velocity, grip])).all(1))
    if len(bad):
        topic = piece.streams[COMMAND].topic if by_command else ""
        text = f"the action of step {bad[0]} of {len(velocity)} is not finite ({len(bad)} such steps)"
        raise Unfit(Reason.NOT_FINITE, text, topic)
    driven = _driven(piece, aligned, options)
    if by_command and EXECUTED in piece.streams and STATE in piece.streams:
        # As our own controller does it: while a person drove, what the guard let through counts.
        executed = held_mean(piece.streams[EXECUTED], aligned.times, options.command_hold_s)
        velocity[driven] = executed[driven]
    actions = np.stack([velocity_to_action(v, spaces.action, g) for v, g in zip(velocity, grip)])
    return Vectors(observations, actions, driven, float(np.mean(_too_fast(velocity, spaces))))


def commanded_width(piece: Piece, times: np.ndarray, arm: Arm, options: BuildOptions) -> np.ndarray:
    """The opening in m that was asked for last, at each time; zero before the first command."""
    if WIDTH not in piece.streams or not len(piece.streams[WIDTH].times):
        return np.zeros(len(times))
    stream, gripper = piece.streams[WIDTH], options.robot.gripper
    rows = stream.before(times)
    width = np.where(rows >= 0, stream.values[np.maximum(rows, 0), 0], 0.0 if arm.our_width else gripper.offset)
    return width if arm.our_width else (width - gripper.offset) / gripper.scale


def _poses(piece: Piece, aligned: Aligned, arm: Arm, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tool positions [T+1, 3] and rotations [T+1, 3, 3]: as recorded, else by forward kinematics."""
    if POSE in aligned.at:
        found = piece.streams[POSE].values[aligned.at[POSE]]
        try:
            return found[:, :3], np.stack([rotation_of(*q) for q in found[:, 3:]])
        except ValueError as error:
            raise Unfit(Reason.NOT_FINITE, str(error), piece.streams[POSE].topic) from error
    if arm.kinematics is None:
        raise Unfit(Reason.URDF, "ee_pose is not there, and no URDF was named (--urdf FILE)")
    poses = [arm.kinematics.forward(q) for q in joints]
    return np.stack([p for p, _ in poses]), np.stack([r for _, r in poses])


def _commands(piece: Piece, aligned: Aligned, arm: Arm, motion: _Motion, options: BuildOptions) -> np.ndarray:
    """[T, 6] m/s and rad/s in the base frame."""
    name = COMMAND if COMMAND in piece.streams else JOINT_COMMAND
    if name not in piece.streams or not any_within(piece.streams[name], aligned.times):
        text = "name another topic with --command, or take the motion itself with --action next-pose"
        raise Unfit(Reason.NO_COMMAND, text, piece.streams[name].topic if name in piece.streams else "")
    mean = held_mean(piece.streams[name], aligned.times, options.command_hold_s)
    if name == COMMAND:
        mean *= np.repeat(options.command_scale, 3)
        turn = motion.rotation[:-1] if arm.in_tool else np.eye(3)[None]
        return np.hstack([(turn @ part[:, :, None])[:, :, 0] for part in (mean[:, :3], mean[:, 3:])])
    order = options.robot.controller_joints or arm.joint_names
    topic = piece.streams[name].topic
    if arm.kinematics is None or mean.shape[1] != len(order):
        text = (
            f"{topic} has {mean.shape[1]} numbers: the velocities of {len(order)} joints are as many, and need a URDF"
        )
        raise Unfit(Reason.TYPE, text, topic)
    columns = [order.index(joint) for joint in arm.joint_names]
    return np.stack([arm.kinematics.jacobian(q) @ v[columns] for q, v in zip(motion.joints[:-1], mean)])


def _grip(
    piece: Piece, aligned: Aligned, arm: Arm, motion: _Motion, spaces: Spaces, options: BuildOptions, by_command: bool
) -> np.ndarray:
    """[T] the gripper's number of an action: as commanded, else the opening that the next frame shows."""
    steps = len(aligned.times) - 1
    if GRIPPER not in spaces.action:
        return np.zeros(steps)
    told = by_command and WIDTH in piece.streams and len(piece.streams[WIDTH].times)
    width = motion.width[1:]
    if told:  # a command that comes within a step belongs to it; before the first the opening is all that is known
        last = aligned.times[1:] - 1
        width = np.where(piece.streams[WIDTH].before(last) >= 0, commanded_width(piece, last, arm, options), width)
    part = spaces.action.part(GRIPPER)
    value = np.clip(2.0 * width / part.scale - 1.0, -1.0, 1.0)
    return value if part.unit == "m" else np.where(value > 0.0, 1.0, -1.0)


def _driven(piece: Piece, aligned: Aligned, options: BuildOptions) -> np.ndarray:
    """bool [T]: where a person drove; by run/state where that is there, else all: a session of teleoperation."""
    steps = len(aligned.times) - 1
    if options.driven_by != AUTO or STATE not in piece.streams:
        return np.full(steps, options.driven_by != POLICY)
    stream = piece.streams[STATE]
    if not len(stream.times):
        return np.zeros(steps, bool)
    rows = stream.before(aligned.times)
    at_start = (rows >= 0) & (stream.values[np.maximum(rows, 0), 1] > 0)
    return at_start[:-1] | at_start[1:]


def _too_fast(velocity: np.ndarray, spaces: Spaces) -> np.ndarray:
    limits = np.repeat([spaces.action.part("linear").scale, np.inf], 3)
    if ANGULAR in spaces.action:
        part = spaces.action.part(ANGULAR)
        limits[3 if part.size == 3 else 5 :] = part.scale
    return (np.abs(velocity) > 1.01 * limits).any(1)
