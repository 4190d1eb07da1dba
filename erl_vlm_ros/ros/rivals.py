# SPDX-License-Identifier: Apache-2.0
"""Who else publishes on the arm's command topics: two who command one arm undo each other's limits.

The ROS graph tells (at a slow timer: not in the guard's tick). It still lists a killed process until DDS gives it up,
20 s by Fast DDS's default, so another guard under the same name, as one that was killed has, is recognised by a sign of
life of its own instead, and on this machine by a lock.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from std_msgs.msg import String

from erl_vlm_ros.common import names
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.local import OnlyOne, local_name
from erl_vlm_ros.ros import qos
from erl_vlm_ros.safety.faults import Fault, Refusal, Unready
from erl_vlm_ros.safety.watchdog import ARMED

if TYPE_CHECKING:
    from erl_vlm_ros.ros.node_base import BaseNode
    from erl_vlm_ros.safety.core import GuardCore

_EVERY_S = 1.0
_NAMELESS_S = 30.0  # an endpoint without a node's name is one that starts, or one that died and is still listed
_UNKNOWN = "UNKNOWN_"  # the end of the name that rmw gives them
_ALIVE_S = 2.5  # without a sign of life for so long another guard is dead
_COMMANDS = (names.ARM_TWIST, names.ARM_JOINT_COMMANDS, names.ARM_TRAJECTORY, names.ARM_GRIPPER)


class Rivals:
    """Looks for other publishers once a second, and on demand."""

    def __init__(
        self, node: BaseNode, core: GuardCore, policy: str, friends: Sequence[str], announce: Callable[[], None]
    ) -> None:
        """Make it after the adapter's publishers.

        Args:
            policy: "fault", "warn" or "off".
            friends: names of nodes in our namespace that may publish there.
            announce: says that the guard's state has changed.

        Raises:
            ConfigError: a guard under the same name runs on this machine.
        """
        self._node, self._core, self._policy, self._announce = node, core, policy, announce
        own = (node.get_namespace(), node.get_name())
        self._friends = {own, *((node.get_namespace(), name) for name in friends)}
        commands = {node.resolve_topic_name(name) for name in _COMMANDS}
        self._topics = sorted({p.topic_name for p in node.publishers} & commands)
        self._me, self._other_at = uuid.uuid4().hex, -math.inf
        self._nameless: dict[bytes, float] = {}  # endpoint -> since when it has been listed without a name
        self._lock: OnlyOne | None = None
        if policy == "off":
            return
        self._hold_name()
        self._publisher = node.create_publisher(String, names.GUARD_ALIVE, qos.metrics())
        node.create_subscription(String, names.GUARD_ALIVE, self._on_alive, qos.metrics())
        node.wall_timer(_EVERY_S, self._look)

    def found(self) -> str:
        """Which other nodes command the arm now, for people; empty: none."""
        if self._policy == "off":
            return ""
        others = []
        for topic in self._topics:
            for info in self._node.get_publishers_info_by_topic(topic):
                who = (info.node_namespace, info.node_name)
                if who not in self._friends and not self._is_passing(info):
                    others.append(f"{who[0].rstrip('/')}/{who[1]} on {topic}")
        if time.monotonic() - self._other_at < _ALIVE_S:
            others.append(f"another {self._node.get_fully_qualified_name()}")
        return "another publisher commands the arm: " + ", ".join(sorted(set(others))) if others else ""

    def _is_passing(self, info: Any) -> bool:
        """Whether an endpoint has no name, and has not been there for long."""
        if not info.node_name.endswith(_UNKNOWN):
            return False
        now = time.monotonic()
        since = self._nameless.setdefault(bytes(info.endpoint_gid), now)
        return now - since < _NAMELESS_S

    def refusal(self) -> Refusal | None:
        """Why the guard must not be armed; None: it may."""
        problem = self.found() if self._policy == "fault" else ""
        text = f"{problem}; end it, or set parameter rivals to warn"
        return Refusal(Unready.OTHER_PUBLISHER, text) if problem else None

    def close(self) -> None:
        """Let go of the name: another guard may have it."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _hold_name(self) -> None:
        name = self._node.get_fully_qualified_name()
        try:
            self._lock = OnlyOne(local_name("guard", self._node.context.get_domain_id(), name))
        except BlockingIOError as holder:
            raise ConfigError(
                f"a guard named {name} runs on this machine already, process {holder}: end it, or use another "
                "ROS_DOMAIN_ID or namespace",
                code=Code.IN_USE,
            ) from None

    def _on_alive(self, message: String) -> None:
        if message.data != self._me:
            self._other_at = time.monotonic()

    def _look(self) -> None:
        self._publisher.publish(String(data=self._me))
        problem = self.found()
        if problem and self._policy == "fault" and self._core.watchdog.state == ARMED:
            self._core.fault(Fault.OTHER_PUBLISHER, problem)
            self._announce()
        if problem:
            self._node.get_logger().warning(problem, throttle_duration_sec=10.0)
