# SPDX-License-Identifier: Apache-2.0
"""A LeRobot dataset of somebody else: joints by name, the tool's pose by kinematics, actions by the motion."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from erl_vlm_ros.control.recorder import square
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.image_headers import JPEG_SIGNATURE
from erl_vlm_ros.data.images import decode_image, encode_jpeg, image_size
from erl_vlm_ros.data.notes import Notes
from erl_vlm_ros.data.spaces import IMAGES, run_spaces
from erl_vlm_ros.data.views import Frame
from erl_vlm_ros.recordings.align import Unfit, align
from erl_vlm_ros.recordings.clock import Piece, Timed
from erl_vlm_ros.recordings.lerobot import layout as lay
from erl_vlm_ros.recordings.lerobot.tables import Dataset, Rows
from erl_vlm_ros.recordings.options import NEXT_POSE, BuildOptions
from erl_vlm_ros.recordings.problems import Reason
from erl_vlm_ros.recordings.streams import CAMERA, JOINTS
from erl_vlm_ros.recordings.vectors import Arm, vectors
from erl_vlm_ros.robot.kinematics import Kinematics

_BEGAN_NS = 1_000_000_000  # of each episode: what LeRobot stamps is its place within the episode
_ENDINGS = (".pos", ".position", "_pos")


class Foreign:
    """Joints come out of observation.state; what it has else, and the action column, is not read."""

    def __init__(self, dataset: Dataset, options: BuildOptions, degrees: bool, state_names: tuple[str, ...]):
        """Raises RecordingError: ``NO_TOPIC``, ``JOINTS``, ``URDF``, ``SLOW_CAMERA``."""
        robot = options.robot
        urdf = options.urdf or robot.urdf
        if not urdf:
            text = "the tool's pose follows from the joints: name their --urdf FILE, or the robot file's urdf"
            raise dataset.error(Reason.URDF, text)
        self.kinematics = Kinematics.from_file(urdf, robot.base_frame, robot.tool_frame)
        self.joints = robot.joints or self.kinematics.joint_names
        size = dataset.require(lay.OBSERVATION)["shape"][0]
        names = list(state_names) or dataset.names(lay.OBSERVATION)
        if len(names) != size:
            text = f"{lay.OBSERVATION} has {size} numbers and {len(names)} names: give them with --state-names A,B,..."
            raise dataset.error(Reason.JOINTS, text, lay.OBSERVATION)
        self._at = {name: _find(names, name) for name in (*self.joints, *robot.gripper.joints)}
        missing = [name for name, column in self._at.items() if column is None]
        if missing:
            text = (
                f"no joint {', '.join(missing)} in {lay.OBSERVATION}, which has {', '.join(names)}; see --state-names"
            )
            raise dataset.error(Reason.JOINTS, text, lay.OBSERVATION)
        period = 1.0 / dataset.fps
        if period - options.period_s > options.tolerance:
            text = f"{dataset.fps:g} frames a second, the control rate is {options.task.control_hz:g} Hz"
            raise dataset.error(Reason.SLOW_CAMERA, text, dataset.cameras[0][1])
        self._data, self._degrees = dataset, degrees
        self._options = BuildOptions(**{**vars(options), "action": NEXT_POSE})
        values = {"joint_names": list(self.joints), "gripper_joints": list(robot.gripper.joints) or None}
        values |= {"cameras": list(options.camera_names), "image_size": options.image_size}
        self.spaces = run_spaces(values | {"gripper_max": robot.gripper.max_width, "observe": IMAGES}, options.task)

    def episode(self, rows: Rows) -> tuple[Episode, Notes | None, dict[str, Any]]:
        """At the control rate. Raises Unfit."""
        state = rows.columns[lay.OBSERVATION].reshape(rows.count, -1).astype(np.float64)
        bad = np.flatnonzero(~np.isfinite(state).all(1))
        if len(bad):
            text = f"row {bad[0]} of {len(state)} in {lay.OBSERVATION} is not finite"
            raise Unfit(Reason.NOT_FINITE, text, lay.OBSERVATION)
        values = np.stack([state[:, column] for column in self._at.values()], axis=1)
        if self._degrees:
            values[:, : len(self.joints)] = np.deg2rad(values[:, : len(self.joints)])
        piece = self._piece(rows, values)
        times = piece.streams[CAMERA].times
        stream = f"{JOINTS}{lay.OBSERVATION}"
        aligned = align(piece, int(times[0]), int(times[-1]), [stream], self._options)
        arm = Arm(tuple(self.joints), self.kinematics, True, False)
        found = vectors(piece, aligned, arm, self.spaces, np.asarray(self._options.task.goal), self._options)
        try:
            jpegs = [self._frame(rows, i) for i in aligned.images]
        except ValueError as error:
            raise Unfit(Reason.IMAGE, str(error), self._data.cameras[0][1]) from error
        columns = rows.columns
        between = list(zip(aligned.images, aligned.images[1:]))
        driven = np.ones(len(between), bool)
        if lay.DRIVEN in columns:
            driven = np.array([columns[lay.DRIVEN].reshape(-1)[a:b].any() for a, b in between])
        success = None
        if lay.SUCCESS in columns:
            success = bool(columns[lay.SUCCESS].any())
        episode = Episode(
            observations=found.observations, actions=found.actions, jpegs=jpegs, stamps=aligned.times, terminated=False,
            truncated=True, evaluation=False, index=rows.number, actor_version=0, seed=-1,
            prop_dim=self.spaces.observation.proprio_size, spaces=self.spaces, intervention=driven, success=success,
        )  # fmt: skip
        notes = None
        if lay.REWARD in columns:
            reward = columns[lay.REWARD].reshape(-1)
            if not np.isfinite(reward).all():
                text = f"row {np.flatnonzero(~np.isfinite(reward))[0]} of {lay.REWARD} is not finite"
                raise Unfit(Reason.NOT_FINITE, text, lay.REWARD)
            notes = Notes(np.array([reward[a:b].sum() for a, b in between]), reward_model=lay.REWARD)
        return episode, notes, {"faster_than_task": round(found.clipped, 4)}

    def _frame(self, rows: Rows, i: int) -> bytes:
        small = {name: _small(images[i], self._options) for (name, _), images in zip(self._data.cameras, rows.images)}
        return small[""] if "" in small else Frame.of(small)

    def _piece(self, rows: Rows, values: np.ndarray) -> Piece:
        stamps = rows.columns.get("timestamp", np.arange(len(values)) / self._data.fps).reshape(-1).astype(np.float64)
        times = _BEGAN_NS + np.round(stamps * 1e9).astype(np.int64)
        if not np.isfinite(stamps).all() or (np.diff(times) <= 0).any():
            row = int(np.flatnonzero(np.diff(times) <= 0)[0]) + 1 if (np.diff(times) <= 0).any() else 0
            raise Unfit(Reason.CLOCK_JUMPS, f"timestamp goes back, or stands, at row {row}", "timestamp")
        numbers = np.arange(len(times))
        empty = np.zeros((len(times), 0))
        streams = {
            CAMERA: Timed(self._data.cameras[0][1], times, times, empty, numbers),
            f"{JOINTS}{lay.OBSERVATION}": Timed(lay.OBSERVATION, times, times, values, numbers, tuple(self._at)),
        }
        return Piece(streams, None, (times, times))


def _find(names: list[str], joint: str) -> int | None:
    """Column of a joint: under its name, or that with an ending, or as the last part of a dotted name."""
    for same in (
        lambda name: name == joint,
        lambda name: any(name == joint + ending for ending in _ENDINGS),
        lambda name: name.split(".")[-1] == joint,
    ):
        found = [i for i, name in enumerate(names) if same(name)]
        if len(found) == 1:
            return found[0]
    return None


def _small(data: bytes, options: BuildOptions) -> bytes:
    """A square JPEG of the size that is kept; one that is so already stays as it is. ValueError: not an image."""
    if image_size(data) == (options.image_size, options.image_size) and data[:2] == JPEG_SIGNATURE:
        return data
    rgb = cv2.cvtColor(decode_image(data), cv2.COLOR_BGR2RGB)
    return encode_jpeg(square(rgb, options.image_size), options.jpeg_quality)
