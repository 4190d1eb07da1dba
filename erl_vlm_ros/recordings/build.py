# SPDX-License-Identifier: Apache-2.0
"""Recordings in, episodes out; what is left out is named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from erl_vlm_ros.common.tasks import TRACKED
from erl_vlm_ros.data.bundle import MAX_TOTAL
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.spaces import IMAGES, STATE, Spaces, run_spaces
from erl_vlm_ros.data.views import all_jpegs
from erl_vlm_ros.recordings.align import Aligned, Unfit, align, needed_streams
from erl_vlm_ros.recordings.bag import Bag
from erl_vlm_ros.recordings.boundaries import Interval, intervals
from erl_vlm_ros.recordings.clock import Jump, Piece, Timeline, timeline
from erl_vlm_ros.recordings.frames import read_frames
from erl_vlm_ros.recordings.options import OBJECT, RECEIVED, RECORDED, BuildOptions
from erl_vlm_ros.recordings.problems import Reason, RecordingError, Skipped
from erl_vlm_ros.recordings.recorded import recorded_episodes
from erl_vlm_ros.recordings.streams import CAMERA, POSE, camera_stream, read_streams
from erl_vlm_ros.recordings.topics import ARRAY, Roles, find_roles
from erl_vlm_ros.recordings.vectors import Arm, Vectors, vectors
from erl_vlm_ros.robot.kinematics import Kinematics

_LONGEST = 100_000  # steps
_MOST_BYTES = MAX_TOTAL * 3 // 4  # of an episode's images: a bundle holds its numbers as well


@dataclass
class Report:
    """What was made of the recordings. episodes: of each its ``number`` (that of ``--success``), recording, times and
    alignment; notes: what a person should know."""

    episodes: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    recordings: list[dict[str, Any]] = field(default_factory=list)
    found: int = 0  # episodes, those that were skipped among them

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        skipped = [one.to_json() for one in self.skipped]
        return {"episodes": self.episodes, "skipped": skipped, "recordings": self.recordings}

    def alignment_ms(self) -> dict[str, dict[str, float]]:
        """Topic -> mean and largest distance of its messages from their frames; ``step``: from the control period."""
        out: dict[str, dict[str, float]] = {}
        for name in sorted({name for one in self.episodes for name in one.get("alignment_ms", {})}):
            rows = [(one["alignment_ms"][name], one["steps"]) for one in self.episodes if name in one["alignment_ms"]]
            mean = sum(row["mean"] * steps for row, steps in rows) / sum(steps for _, steps in rows)
            out[name] = {"mean": round(mean, 3), "largest": max(row["largest"] for row, _ in rows)}
        return out


@dataclass(frozen=True)
class _Plan:
    """An episode whose images are yet to be read."""

    number: int
    interval: Interval
    aligned: Aligned
    vectors: Vectors
    images: list[np.ndarray]  # of each camera the numbers of its images [T+1]


class Builder:
    """``report`` grows while the episodes are taken."""

    def __init__(self, options: BuildOptions, by_hand: Mapping[int, bool] | bool | None = None):
        """``by_hand``: whether an episode succeeded, by its number over all recordings, or all; None: as they say."""
        self.options, self.report, self._by_hand = options, Report(), by_hand
        self._spaces: Spaces | None = None

    def episodes(self, bags: Sequence[Path]) -> Iterator[Episode]:
        """The episodes of recordings, one after the other, numbered from 0. A recording or an episode that cannot be
        used stands in the report."""
        for path in bags:
            try:
                with Bag(path) as bag:
                    for episode in self._of_bag(bag):
                        yield replace(episode, index=len(self.report.episodes) - 1)
            except RecordingError as error:
                self.report.skipped.append(Skipped(str(path), None, error.reason, str(error), error.topic))

    def _of_bag(self, bag: Bag) -> Iterator[Episode]:
        roles = find_roles(bag.topics, self.options, str(bag.path))
        told = {"recording": str(bag.path), "episodes": roles.episodes}
        self.report.recordings.append(told)
        kinematics = self._kinematics(bag, roles)
        robot = self.options.robot
        joints = robot.joints or (kinematics.joint_names if kinematics else ())
        if not joints:
            text = f"{bag.path}: the robot file names no joints, and there is no URDF (--urdf FILE)"
            raise RecordingError(Reason.URDF, text, file=str(bag.path))
        spaces = self._spaces_of(joints, roles, bag)
        if roles.episodes == RECORDED:
            yield from self._recorded(bag, roles, spaces)
        else:
            yield from self._aligned(bag, roles, spaces, joints, kinematics, told)

    # -- episodes of our own controller

    def _recorded(self, bag: Bag, roles: Roles, spaces: Spaces) -> Iterator[Episode]:
        for received, found in recorded_episodes(bag, roles.transitions, spaces, self.options.min_steps):
            number = self._next_number()
            end = (received - bag.began_ns) / 1e9
            if isinstance(found, Unfit):
                self._skip(bag, number, found, end, end)
                continue
            if self._spaces is not None and found.spaces != self._spaces:
                text = f"it has {found.spaces}, those before {self._spaces}"
                self._skip(bag, number, Unfit(Reason.SPACES, text), end, end)
                continue
            self._spaces = found.spaces
            told = {"number": number, "recording": str(bag.path), "end_s": round(end, 3), "steps": found.steps}
            self.report.episodes.append(told)
            yield replace(found, success=self._success(number, found.success))

    # -- episodes out of topics

    def _aligned(
        self, bag: Bag, roles: Roles, spaces: Spaces, joints: Sequence[str], kinematics: Kinematics | None,
        told: dict[str, Any],
    ) -> Iterator[Episode]:  # fmt: skip
        options, robot = self.options, self.options.robot
        wanted = (*joints, *robot.gripper.joints)
        streams = read_streams(bag, roles, wanted, robot.base_frame, robot.tool_frame)
        missing = [name for name in wanted if name not in streams.joints_seen]
        if missing:
            has = ", ".join(streams.joints_seen) or "none"
            text = f"{bag.path}: no joint {', '.join(missing)} on {', '.join(roles.joints)}, which has {has}"
            raise RecordingError(Reason.JOINTS, text, topic=roles.joints[0], file=str(bag.path))
        if roles.pose and POSE not in streams and kinematics is None:
            text = f"{bag.path}: nothing on {roles.pose}, and no URDF to compute it from (--urdf FILE)"
            raise RecordingError(Reason.URDF, text, topic=roles.pose, file=str(bag.path))
        line = timeline(streams, options.clock == RECEIVED)
        cameras = {camera.name or "camera": camera.topic for camera in roles.cameras}
        told |= {"cameras": cameras, "command": roles.command, "stamps_behind_s": line.behind_s}
        told |= {"left_out_messages": streams.dropped, "clock_jumps": [vars(jump) for jump in line.jumps]}
        arm = Arm(tuple(joints), kinematics, roles.width_is_opening, streams.in_tool)
        plans, kind = [], bag.topics.get(roles.marks, "")
        found = intervals(roles.episodes, streams, options.idle_s, kind)
        if not any(not interval.evaluation for interval in found):
            text = f"{bag.path}: no episode is in it, by --episodes {roles.episodes}"
            raise RecordingError(Reason.NO_EPISODE, text, topic=roles.marks, file=str(bag.path))
        for interval in found:
            if interval.evaluation:  # not learned from, and said by run/state
                continue
            number = self._next_number()
            times = ((interval.start - bag.began_ns) / 1e9, (interval.end - bag.began_ns) / 1e9)
            try:
                plans.append(_Plan(number, interval, *self._plan(line, interval, arm, spaces)))
            except Unfit as problem:
                self._skip(bag, number, problem, *times)
        silent = [c for i, c in enumerate(roles.cameras) if camera_stream(i) not in streams]
        if silent:
            text = f"{bag.path}: no image has come on {silent[0].topic}"
            raise RecordingError(Reason.NO_TOPIC, text, topic=silent[0].topic, file=str(bag.path))
        numbers = [plan.images for plan in plans]
        frames = read_frames(bag, roles.cameras, numbers, options.image_size, options.jpeg_quality)
        for plan, (jpegs, problem) in zip(plans, frames):
            times = tuple((t - bag.began_ns) / 1e9 for t in (plan.interval.start, plan.interval.end))
            if problem:
                self._skip(bag, plan.number, Unfit(Reason.IMAGE, problem.text, problem.topic), *times)
                continue
            size = sum(map(len, all_jpegs(jpegs)))
            if size > _MOST_BYTES:
                text = f"{size >> 20} MB of images: see --episodes, or a smaller --image-size"
                self._skip(bag, plan.number, Unfit(Reason.LONG, text), *times)
                continue
            self.report.episodes.append(self._told(plan, bag, times))
            self._spaces = spaces
            yield self._episode(plan, jpegs, spaces)

    def _plan(
        self, line: Timeline, interval: Interval, arm: Arm, spaces: Spaces
    ) -> tuple[Aligned, Vectors, list[np.ndarray]]:
        first, last = line.number_at(interval.start), line.number_at(interval.end)
        if first != last:
            raise Unfit(Reason.CLOCK_JUMPS, _jump_text(line.jumps[first]), line.jumps[first].topic)
        piece: Piece = line.pieces[first]
        start, end = piece.time_at(interval.start), piece.time_at(interval.end)
        needed = needed_streams(piece, (*arm.joint_names, *self.options.robot.gripper.joints))
        aligned = align(piece, start, end, needed, self.options)
        if len(aligned.times) > _LONGEST:
            raise Unfit(Reason.LONG, f"{len(aligned.times) - 1} steps; see --episodes")
        goal = np.asarray(self.options.task.goal)
        found = vectors(piece, aligned, arm, spaces, goal, self.options)
        more = [
            piece.streams[name].number[rows] for name, rows in sorted(aligned.at.items()) if name.startswith(CAMERA)
        ]
        return aligned, found, [aligned.images, *more]

    def _episode(self, plan: _Plan, jpegs: list[bytes], spaces: Spaces) -> Episode:
        return Episode(
            observations=plan.vectors.observations, actions=plan.vectors.actions, jpegs=jpegs,
            stamps=plan.aligned.times, terminated=False, truncated=True, evaluation=False, index=plan.number,
            actor_version=0, seed=-1, prop_dim=spaces.observation.proprio_size, spaces=spaces,
            intervention=plan.vectors.intervention, success=self._success(plan.number, plan.interval.success),
        )  # fmt: skip

    def _told(self, plan: _Plan, bag: Bag, times: tuple[float, ...]) -> dict[str, Any]:
        errors = {
            name: {"mean": round(float(e.mean()) * 1e3, 3), "largest": round(float(e.max()) * 1e3, 3)}
            for name, e in plan.aligned.errors_s.items()
        }
        return {
            "number": plan.number, "recording": str(bag.path), "start_s": round(times[0], 3),
            "end_s": round(times[1], 3), "steps": len(plan.aligned.times) - 1, "alignment_ms": errors,
            "cut_s": [round(s, 3) for s in plan.aligned.cut_s], "faster_than_task": round(plan.vectors.clipped, 4),
        }  # fmt: skip

    # -- what both need

    def _kinematics(self, bag: Bag, roles: Roles) -> Kinematics | None:
        """Of --urdf, the robot's file, or the recorded description, where the pose or the joints' names need it."""
        options, robot = self.options, self.options.robot
        frames = (robot.base_frame, robot.tool_frame)
        by_joints = bag.topics.get(roles.command) == ARRAY
        if robot.joints and not by_joints and not options.urdf and (roles.pose or roles.episodes == RECORDED):
            return None
        if options.urdf or robot.urdf:
            return Kinematics.from_file(options.urdf or robot.urdf, *frames)
        if roles.urdf:
            for topic, _, raw in bag.messages((roles.urdf,)):
                return Kinematics.from_text(bag.read(topic, raw).data, *frames, source=f"{bag.path}, {topic}")
        if by_joints or not roles.pose:
            why = "joint velocities need a URDF" if by_joints else "there is no ee_pose"
            text = f"{bag.path}: {why}, and neither --urdf, the robot file's urdf nor robot_description is there"
            raise RecordingError(Reason.URDF, text, file=str(bag.path))
        return None

    def _spaces_of(self, joints: Sequence[str], roles: Roles, bag: Bag) -> Spaces:
        options, robot = self.options, self.options.robot
        recorded = roles.episodes == RECORDED
        tracked = bool(roles.object) or recorded and options.observe == OBJECT
        tracked = tracked and options.task.observed_object == TRACKED
        values = {"joint_names": list(joints), "gripper_joints": list(robot.gripper.joints) or None}
        values |= {"gripper_max": robot.gripper.max_width, "observe": STATE if tracked else IMAGES}
        if not recorded:  # what our controller recorded says its cameras itself
            values |= {"cameras": list(options.camera_names), "image_size": options.image_size}
        spaces = run_spaces(values, options.task)
        if self._spaces is not None and not recorded and spaces != self._spaces:
            text = f"{bag.path}: it gives {spaces}, the recordings before {self._spaces}: see --observe"
            raise RecordingError(Reason.SPACES, text, file=str(bag.path))
        return spaces

    def _success(self, number: int, said: bool | None) -> bool | None:
        if isinstance(self._by_hand, bool):
            return self._by_hand
        return said if self._by_hand is None else self._by_hand.get(number, False)

    def _next_number(self) -> int:
        self.report.found += 1
        return self.report.found - 1

    def _skip(self, bag: Bag, number: int, problem: Unfit, start: float, end: float) -> None:
        self.report.skipped.append(
            Skipped(str(bag.path), number, problem.reason, problem.text, problem.topic, round(start, 3), round(end, 3))
        )


def _jump_text(jump: Jump) -> str:
    way = "back" if jump.by_s < 0 else "forward"
    return f"the stamps of {jump.topic} go {way} by {abs(jump.by_s):.3f} s; --clock received ignores stamps"
