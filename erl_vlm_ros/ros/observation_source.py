# SPDX-License-Identifier: Apache-2.0
"""Where the policy controller's observations come from: subscriptions, pairing, and what is refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from geometry_msgs.msg import PoseStamped, WrenchStamped
from sensor_msgs.msg import Image, JointState

from erl_vlm_ros.common import names
from erl_vlm_ros.common.errors import Code, ConfigError, wrong_parameter
from erl_vlm_ros.control.camera_watch import CameraWatch
from erl_vlm_ros.control.frame_sync import LatestSync, StampSync
from erl_vlm_ros.control.ports import Observed
from erl_vlm_ros.control.view_sync import ViewSync
from erl_vlm_ros.data import spaces
from erl_vlm_ros.data.observation import build_observation
from erl_vlm_ros.data.spaces import ObservationSpec
from erl_vlm_ros.robot.joint_store import JointStore
from erl_vlm_ros.robot.rotation import rotation_of
from erl_vlm_ros.ros import convert, qos
from erl_vlm_ros.ros.robot_facts import measured_width

if TYPE_CHECKING:
    from erl_vlm_ros.ros.node_base import BaseNode

IMAGE, JOINTS, EE, OBJECT, WRENCH = "image", "joint state", "end-effector pose", "object pose", "wrench"
WRENCH_NAMES = tuple(f"wrench_{axis}" for axis in ("fx", "fy", "fz", "tx", "ty", "tz"))  # N, N m, sensor frame
_GRACE_S = 3.0  # several drivers may share joint_states: so long until a joint counts as unknown


class ObservationSource:
    """Subscribes to the parts of an observation and pairs them, by stamp in lock-step, by age in real time."""

    def __init__(
        self,
        node: BaseNode,
        spec: ObservationSpec,
        goal: np.ndarray,
        on_set: Callable[[int, dict[str, Any]], None],
        commanded_width: Callable[[], float],
        *,
        real_time: bool,
    ):
        """``on_set``: called in lock-step with each complete set; in real time call ``problem`` and ``take``.

        ``commanded_width``: the opening that was asked for last, m, for grippers that do not tell theirs.
        """
        self._node, self._spec, self._goal, self._on_set = node, spec, goal, on_set
        self._commanded_width = commanded_width
        self._arm = spec.joint_names
        self._joints = (*self._arm, *(node.p.gripper_joints or ()))
        p, sensor = node.p, qos.sensor(node.p.reliable_sensors)
        self._cameras = {f"{IMAGE} {name}": name for name in spec.cameras}
        self._watch = CameraWatch(spec.cameras, p.camera_sizes, p.camera_wait_s)
        self._views = ViewSync(spec.cameras, p.camera_tolerance_s) if self._cameras and real_time else None
        images = {part: (Image, names.NAMED_IMAGE.format(name)) for part, name in self._cameras.items()}
        kinds = {
            **(images or {IMAGE: (Image, names.IMAGE)}),
            JOINTS: (JointState, names.JOINT_STATES),
            EE: (PoseStamped, names.EE_POSE),
        }
        if spaces.OBJECT in spec:
            kinds[OBJECT] = (PoseStamped, names.OBJECT_POSE)
        if p.extras_wrench:
            if not real_time:
                raise wrong_parameter(
                    "policy_controller", "extras.wrench", ": the simulation has no wrench topic", code=Code.DOES_NOT_FIT
                )
            kinds[WRENCH] = (WrenchStamped, names.WRENCH)
        self._by_stamp = StampSync(tuple(kinds))
        self._latest = LatestSync(
            {k: p.image_timeout_s if k == IMAGE else p.state_timeout_s for k in kinds if k not in self._cameras}
        )
        self._store = JointStore(self._joints)
        self._seen_joints: set[str] = set()
        self._first_joints_at: float | None = None
        self._rotation: np.ndarray | None = None
        receive = self._real_time if real_time else self._lock_step
        for part, (kind, topic) in kinds.items():
            for name in p.joint_state_topics if part == JOINTS else (topic,):
                node.create_subscription(kind, name, lambda m, part=part: receive(part, m), sensor)
        if self._cameras:
            node.wall_timer(0.5, lambda: self._watch.check(time.monotonic(), self._views))

    def figures(self) -> dict[str, float]:
        """Seconds between the images of one moment, since it was asked last; none of one camera without a name."""
        return self._watch.figures()

    @property
    def extra_names(self) -> list[str]:
        """Names of what is measured beside the observation."""
        p = self._node.p
        efforts = [f"effort_{name}" for name in self._arm] if p.extras_efforts else []
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
        stamp = convert.header_ns(message)
        if part == JOINTS:
            message = self._merged(message, stamp)
        if part in self._cameras:
            self._views.add(self._cameras[part], stamp, message, time.monotonic())
        elif message is not None:
            self._latest.add(part, stamp, message, time.monotonic())

    def _merged(self, message: JointState, stamp: int) -> JointState | None:
        """Our joints as they are now, from messages that hold any of them; None while one was never heard of."""
        ours = [name for name in message.name if name in self._joints]
        known = max((self._store.get(name).stamp_ns for name in ours if self._store.get(name)), default=None)
        if not ours or known == stamp:
            return None  # another driver's joints, or an old message once more: that must not look alive
        if known is not None and self._latest.restarted(known, stamp):
            self._store = JointStore(self._joints)
        update = self._store.update(
            message.name, message.position, (), message.effort, stamp_ns=stamp, at=time.monotonic()
        )
        if update.problem is not None:
            self._node.get_logger().warning(update.text, throttle_duration_sec=1.0)
            return None
        if self._store.missing():
            return None
        out = JointState(header=message.header, name=list(self._joints))
        out.position = self._store.vector(self._joints).tolist()
        effort = self._store.vector(self._joints, "effort")
        if not np.isnan(effort).all():
            out.effort = effort.tolist()
        return out

    def _check(self, part: str, message: Any) -> None:
        """Refuse what no waiting will fix: the arm must not move on wrong names or a wrong frame. ConfigError."""
        if part in self._cameras:
            self._watch.heard(self._cameras[part], message.width, message.height)
        if part in (EE, OBJECT) and message.header.frame_id != self._node.p.base_frame:
            topic = names.EE_POSE if part == EE else names.OBJECT_POSE
            text = (
                f"parameter 'base_frame' is '{self._node.p.base_frame}', but {topic} comes in the frame "
                f"'{message.header.frame_id}': set base_frame, or transform the pose"
            )
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="base_frame")
        if part == JOINTS and not self._seen_joints.issuperset(self._joints):
            self._seen_joints.update(message.name)
            now = time.monotonic()
            self._first_joints_at = self._first_joints_at or now
            gripper = self._node.p.gripper_joints or ()
            for parameter, wanted in (("joint_names", self._arm), ("gripper_joints", gripper)):
                missing = [name for name in wanted if name not in self._seen_joints]
                topics = self._node.p.joint_state_topics
                if missing and now - self._first_joints_at > _GRACE_S:
                    text = (
                        f"parameter '{parameter}': no joint {', '.join(missing)} on {', '.join(topics)}, "
                        f"which has {', '.join(sorted(self._seen_joints))}"
                    )
                    raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter=f"policy_controller.{parameter}")
        if part == EE:
            try:
                self._rotation = rotation_of(*_quaternion(message))
            except ValueError:
                self._rotation = None

    # -- observations out

    @property
    def rotation(self) -> np.ndarray | None:
        """Newest rotation [3, 3] from the tool's frame to the base frame; None while unknown."""
        return self._rotation

    def problem(self, not_before: int) -> str:
        """Real time: why there is nothing to act on, or an empty text. ``not_before``: least stamp, ns."""
        now = time.monotonic()
        problem = self._latest.problem(now, not_before)
        if not problem and self._views is not None:
            problem = self._views.problem(now, self._node.p.image_timeout_s, not_before)
        if problem:
            return problem
        # Arm and gripper may come in messages of their own: each joint has its age.
        limit = self._node.p.state_timeout_s
        stale = self._store.stale(now, limit, self._joints)
        if stale:
            return f"{JOINTS} is more than {limit:g} s old ({', '.join(stale)})"
        if self._store.oldest_stamp_ns(self._joints) < not_before:
            return f"{JOINTS} is from before the reset"
        return ""

    def take(self) -> tuple[int, dict[str, Any]]:
        """Real time: (stamp of the image, of the first camera's, because that is what is rated; part -> message)."""
        if self._views is None:
            return self._latest.take(IMAGE)
        seen, (_, found) = self._views.found, self._latest.take(JOINTS)
        return seen.stamp, found | {part: seen.images[name] for part, name in self._cameras.items()}

    def unpack(self, found: dict[str, Any]) -> Observed:
        """Numbers and image of one set. Raises ValueError when a part cannot be used."""
        p, joints = self._node.p, found[JOINTS]
        positions = convert.joints_by_name(joints, self._joints)
        count = len(self._arm)
        rotation = rotation_of(*_quaternion(found[EE])) if spaces.EE_ROTATION in self._spec else None
        observation = build_observation(
            self._spec,
            positions[:count],
            convert.position_of(found[EE]),
            measured_width(p, positions[count:]) if len(positions) > count else self._commanded_width(),
            convert.position_of(found[OBJECT]) if OBJECT in found else None,
            self._goal,
            rotation,
        )
        if not self._cameras:
            return Observed(observation, convert.image_to_rgb(found[IMAGE]), self._extras(found))
        views = {name: convert.image_to_rgb(found[part]) for part, name in self._cameras.items()}
        self._watch.used([convert.header_ns(found[part]) for part in self._cameras])
        return Observed(observation, next(iter(views.values())), self._extras(found), views)

    def _extras(self, found: dict[str, Any]) -> np.ndarray:
        out: list[float] = []
        if WRENCH in found:
            force, torque = found[WRENCH].wrench.force, found[WRENCH].wrench.torque
            out += [force.x, force.y, force.z, torque.x, torque.y, torque.z]
        if self._node.p.extras_efforts:
            joints = found[JOINTS]
            if len(joints.effort) != len(joints.name):  # not given, or not one for each joint
                raise ValueError("joint state has no efforts; set extras.efforts of policy_controller to false")
            at = {name: i for i, name in enumerate(joints.name)}
            out += [joints.effort[at[name]] for name in self._arm]
        extras = np.array(out, np.float32)
        if not np.isfinite(extras).all():
            raise ValueError("a force, torque or effort is not finite")
        return extras


def _quaternion(message: PoseStamped) -> tuple[float, float, float, float]:
    q = message.pose.orientation
    return q.x, q.y, q.z, q.w
