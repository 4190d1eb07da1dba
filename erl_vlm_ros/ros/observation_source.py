# SPDX-License-Identifier: Apache-2.0
"""Where the policy controller's observations come from: subscriptions, pairing, and what is refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from geometry_msgs.msg import PoseStamped, WrenchStamped
from sensor_msgs.msg import Image, JointState

from erl_vlm_ros.agents.frame_sync import LatestSync, StampSync
from erl_vlm_ros.agents.intervention import rotation_of
from erl_vlm_ros.data.observation import build_observation
from erl_vlm_ros.errors import ConfigError
from erl_vlm_ros.ros import convert, names, qos

if TYPE_CHECKING:
    from erl_vlm_ros.ros.node_base import BaseNode

IMAGE, JOINTS, EE, OBJECT, WRENCH = "image", "joint state", "end-effector pose", "object pose", "wrench"
WRENCH_NAMES = tuple(f"wrench_{axis}" for axis in ("fx", "fy", "fz", "tx", "ty", "tz"))  # N, N m, sensor frame
_GRACE_S = 3.0  # several drivers may share joint_states: so long until a joint counts as unknown


@dataclass(frozen=True)
class Observed:
    """One observation: policy vector [O], picture [h, w, 3], what was measured beside them [K]."""

    observation: np.ndarray
    rgb: np.ndarray
    extras: np.ndarray


class ObservationSource:
    """Subscribes to the parts of an observation and pairs them, by stamp in lock-step, by age in real time."""

    def __init__(self, node: BaseNode, goal: np.ndarray, on_set: Callable[[int, dict[str, Any]], None]):
        """``on_set``: called in lock-step with each complete set; in real time call ``problem`` and ``take``."""
        self._node, self._goal, self._on_set = node, goal, on_set
        p, sensor = node.p, qos.sensor(node.p.reliable_sensors)
        kinds = {
            IMAGE: (Image, names.IMAGE),
            JOINTS: (JointState, names.JOINT_STATES),
            EE: (PoseStamped, names.EE_POSE),
            OBJECT: (PoseStamped, names.OBJECT_POSE),
        }
        if p.extras_wrench:
            if p.lock_step:
                raise ConfigError("parameter 'extras.wrench' of policy_controller: the simulation has no wrench topic")
            kinds[WRENCH] = (WrenchStamped, names.WRENCH)
        self._by_stamp = StampSync(tuple(kinds))
        self._latest = LatestSync({k: p.image_timeout_s if k == IMAGE else p.state_timeout_s for k in kinds})
        self._seen_joints: set[str] = set()
        self._first_joints_at: float | None = None
        self._rotation: np.ndarray | None = None
        receive = self._lock_step if p.lock_step else self._real_time
        for part, (kind, topic) in kinds.items():
            node.create_subscription(kind, topic, lambda m, part=part: receive(part, m), sensor)

    @property
    def extra_names(self) -> list[str]:
        """Names of what is measured beside the observation."""
        p = self._node.p
        efforts = [f"effort_{name}" for name in p.joint_names] if p.extras_efforts else []
        return (list(WRENCH_NAMES) if p.extras_wrench else []) + efforts

    # -- messages in

    def _lock_step(self, part: str, message: Any) -> None:
        self._check(part, message)
        stamp = convert.header_ns(message)
        found = self._by_stamp.add(part, stamp, message)
        if found is not None:
            self._on_set(stamp, found)

    def _real_time(self, part: str, message: Any) -> None:
        self._check(part, message)
        if part == JOINTS and not set(self._joints).issubset(message.name):
            return  # another driver's joints on the same topic
        self._latest.add(part, convert.header_ns(message), message, time.monotonic())

    @property
    def _joints(self) -> Sequence[str]:
        return (*self._node.p.joint_names, *self._node.p.gripper_joints)

    def _check(self, part: str, message: Any) -> None:
        """Refuse what no waiting will mend: the arm must not move on wrong names or a wrong frame. ConfigError."""
        if part in (EE, OBJECT) and message.header.frame_id != self._node.p.base_frame:
            topic = names.EE_POSE if part == EE else names.OBJECT_POSE
            raise ConfigError(
                f"parameter 'base_frame' is '{self._node.p.base_frame}', but {topic} comes in the frame "
                f"'{message.header.frame_id}': set base_frame, or transform the pose"
            )
        if part == JOINTS and not self._seen_joints.issuperset(self._joints):
            self._seen_joints.update(message.name)
            now = time.monotonic()
            self._first_joints_at = self._first_joints_at or now
            for parameter in ("joint_names", "gripper_joints"):
                missing = [name for name in getattr(self._node.p, parameter) if name not in self._seen_joints]
                if missing and now - self._first_joints_at > _GRACE_S:
                    raise ConfigError(
                        f"parameter '{parameter}': no joint {', '.join(missing)} on {names.JOINT_STATES}, "
                        f"which has {', '.join(sorted(self._seen_joints))}"
                    )
        if part == EE:
            q = message.pose.orientation
            try:
                self._rotation = rotation_of(q.x, q.y, q.z, q.w)
            except ValueError:
                self._rotation = None

    # -- observations out

    @property
    def rotation(self) -> np.ndarray | None:
        """Newest rotation [3, 3] from the tool's frame to the base frame; None while unknown."""
        return self._rotation

    def problem(self, not_before: int) -> str:
        """Real time: why there is nothing to act on, or an empty text. ``not_before``: least stamp, ns."""
        return self._latest.problem(time.monotonic(), not_before)

    def take(self) -> tuple[int, dict[str, Any]]:
        """Real time: (stamp of the picture, because that is what is rated; part -> message)."""
        return self._latest.take(IMAGE)

    def unpack(self, found: dict[str, Any]) -> Observed:
        """Numbers and picture of one set. Raises ValueError when a part cannot be used."""
        p, joints = self._node.p, found[JOINTS]
        positions = convert.joints_by_name(joints, self._joints)
        count = len(p.joint_names)
        observation = build_observation(
            positions[:count],
            convert.position_of(found[EE]),
            float(positions[count:].sum()),
            convert.position_of(found[OBJECT]),
            self._goal,
        )
        return Observed(observation, convert.image_to_rgb(found[IMAGE]), self._extras(found))

    def _extras(self, found: dict[str, Any]) -> np.ndarray:
        out: list[float] = []
        if WRENCH in found:
            force, torque = found[WRENCH].wrench.force, found[WRENCH].wrench.torque
            out += [force.x, force.y, force.z, torque.x, torque.y, torque.z]
        if self._node.p.extras_efforts:
            joints = found[JOINTS]
            if len(joints.effort) != len(joints.name):
                raise ValueError("joint state has no efforts; set extras.efforts of policy_controller to false")
            at = {name: i for i, name in enumerate(joints.name)}
            out += [joints.effort[at[name]] for name in self._node.p.joint_names]
        extras = np.array(out, np.float32)
        if not np.isfinite(extras).all():
            raise ValueError("a force, torque or effort is not finite")
        return extras
