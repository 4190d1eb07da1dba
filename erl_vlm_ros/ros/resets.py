# SPDX-License-Identifier: Apache-2.0
"""How an episode begins: the reset service, the joints' home pose through the guard, a person, or some of them in turn.

Each step has ``ready``, ``start``, ``tick``, ``cancel`` ``waiting`` (what it waits for, in words) and ``awaits``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from builtin_interfaces.msg import Duration
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from erl_vlm_ros.common import names
from erl_vlm_ros.common.errors import Code, wrong_parameter
from erl_vlm_ros.control.episode_machine import Awaited
from erl_vlm_ros.control.home_watch import HomeWatch
from erl_vlm_ros.ros import qos
from erl_vlm_ros.ros.robot_calls import Answer, Resetter

if TYPE_CHECKING:
    from erl_vlm_ros.ros.node_base import BaseNode

SERVICE, HOME, PERSON = "service", "home", "person"
_AGAIN_S = 0.1  # the guard stops a motion home when it is not asked for any more
_ATTEMPTS = 3


class ServiceStep:
    """Calls sim_bridge/reset, or whatever service is remapped to it."""

    waiting, awaits = "the reset service", Awaited.RESET

    def __init__(self, node: BaseNode, joints: Sequence[str], held: Callable[[], bool]):
        del joints, held  # a service is asked for once
        self._call = Resetter(node, node.p.set_episode_seed, node.p.reset_timeout_s)

    def ready(self) -> bool:
        return self._call.ready()

    def start(self, seed: int, index: int, answer: Answer) -> None:
        self._call.start(seed, index, answer)

    def tick(self) -> bool:
        """Whether the step has just given up, and the whole reset is to be begun again."""
        return self._call.gave_up()

    def cancel(self) -> None:
        self._call.cancel()


class HomeStep:
    """Asks the guard to drive the joints home, and watches joint_states until they are there."""

    waiting, awaits = "the arm to reach its home pose", Awaited.RESET

    def __init__(self, node: BaseNode, joints: Sequence[str], held: Callable[[], bool]):
        """``held``: whether a person drives the arm just now."""
        p = node.p
        if len(p.home_positions) != len(joints):
            raise wrong_parameter(
                "policy_controller",
                "home_positions",
                f"has {len(p.home_positions)} numbers for "
                f"{len(joints)} joints ({', '.join(joints)}); reset '{p.reset}' needs one in rad for each",
                code=Code.DOES_NOT_FIT,
            )
        self._node, self._log = node, node.get_logger()
        self._watch = HomeWatch(dict(zip(joints, p.home_positions)), p.home_tolerance, 0.3, p.home_timeout_s)
        self._answer: Answer | None = None
        self._attempt, self._held = 0, held
        self._publisher = node.create_publisher(JointTrajectory, names.POLICY_HOME, qos.command())
        for topic in p.joint_state_topics:
            node.create_subscription(JointState, topic, self._on_joints, qos.sensor(p.reliable_sensors))
        node.wall_timer(_AGAIN_S, self._ask)

    def ready(self) -> bool:
        return self._answer is None and self._publisher.get_subscription_count() > 0

    def start(self, seed: int, index: int, answer: Answer) -> None:
        del seed, index  # a home pose is the same for every episode
        self._answer, self._attempt = answer, 1
        self._ask()
        self._watch.begin(time.monotonic())

    def _ask(self) -> None:
        if self._answer is None or self._held():
            return
        message = JointTrajectory(joint_names=list(self._watch.target))
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.header.frame_id = self._node.p.base_frame
        # The time is a bound only: the guard drives as fast as its own limits allow.
        limit = Duration(sec=int(self._node.p.home_timeout_s))
        message.points = [JointTrajectoryPoint(positions=list(self._watch.target.values()), time_from_start=limit)]
        self._publisher.publish(message)

    def _on_joints(self, message: JointState) -> None:
        if self._answer is not None and len(message.name) == len(message.position):
            self._watch.see(dict(zip(message.name, message.position)), time.monotonic())

    def tick(self) -> bool:
        """Look whether home is reached; False: nothing is begun again from here."""
        if self._answer is None:
            return False
        now = time.monotonic()
        late = self._watch.too_late(now)
        if self._watch.there(now):
            self._finish(True, "home")
        elif late and self._attempt >= _ATTEMPTS:
            self._finish(False, f"{late} ({_ATTEMPTS} attempts); see safety_guard/reason")
        elif late:
            self._log.warning(f"{late}; trying again")
            self._attempt += 1
            self._watch.begin(now)
        return False

    def _finish(self, done: bool, message: str) -> None:
        answer, self._answer = self._answer, None
        answer(done, message, -1)

    def cancel(self) -> None:
        self._answer = None


class PersonStep:
    """Waits until a person says that the scene is ready."""

    awaits = Awaited.PERSON

    def __init__(self, node: BaseNode, joints: Sequence[str], held: Callable[[], bool]):
        del joints, held
        button = node.values["human.continue_button"]
        self.waiting = f"a person to reset the scene, then to call {names.HUMAN_CONTINUE}" + (
            f" or press Joy button {button}" if button is not None else ""
        )
        self._log = node.get_logger()
        self._answer: Answer | None = None

    def ready(self) -> bool:
        return self._answer is None

    def start(self, seed: int, index: int, answer: Answer) -> None:
        del seed, index
        self._answer = answer
        self._log.info(f"waiting for {self.waiting}")

    def go_on(self) -> bool:
        """The person is done; False when no reset waits for one."""
        answer, self._answer = self._answer, None
        if answer is not None:
            answer(True, "a person", -1)
        return answer is not None

    def tick(self) -> bool:
        """A person may take any time: never begun again."""
        return False

    def cancel(self) -> None:
        self._answer = None


_KINDS = {SERVICE: ServiceStep, HOME: HomeStep, PERSON: PersonStep}


class ResetSequence:
    """The steps of the parameter ``reset``, for instance ``home_then_person``, one after the other."""

    def __init__(self, node: BaseNode, joints: Sequence[str], held: Callable[[], bool], *, real_time: bool):
        """``joints``: the arm's. ``held``: whether a person drives just now; the arm is not asked for anything then."""
        p = node.p
        wanted = p.reset.split("_then_")
        if not real_time and wanted[-1] != SERVICE:
            text = f"is '{p.reset}': in lock-step only the service can reset; set lock_step to false"
            raise wrong_parameter("policy_controller", "reset", text, code=Code.DOES_NOT_FIT)
        self._steps: Sequence[Any] = [_KINDS[kind](node, joints, held) for kind in wanted]
        self._current: int | None = None

    @property
    def waiting(self) -> str:
        """What is waited for just now; empty between resets."""
        return "" if self._current is None else self._steps[self._current].waiting

    @property
    def awaits(self) -> Awaited:
        """The same by its kind."""
        return Awaited.NOBODY if self._current is None else self._steps[self._current].awaits

    def ready(self) -> bool:
        """Whether a reset can be started."""
        return self._current is None and all(step.ready() for step in self._steps)

    def start(self, seed: int, index: int, answer: Answer) -> None:
        """Run all steps for the episode of ``seed`` or number ``index``, then call ``answer``."""

        def begin(i: int) -> None:
            self._current = i
            self._steps[i].start(seed, index, lambda done, text, stamp: ended(i, done, text, stamp))

        def ended(i: int, done: bool, text: str, stamp: int) -> None:
            if self._current != i:
                return
            if done and i + 1 < len(self._steps):
                begin(i + 1)
                return
            self._current = None
            answer(done, text, stamp)

        begin(0)

    def go_on(self) -> bool:
        """A person says that the scene is ready; False when no reset waits for that."""
        step = None if self._current is None else self._steps[self._current]
        return isinstance(step, PersonStep) and step.go_on()

    def tick(self) -> bool:
        """Call often. True when the reset has just been given up; plan the episode again then."""
        if self._current is None or not self._steps[self._current].tick():
            return False
        self.cancel()
        return True

    def cancel(self) -> None:
        """Forget the reset under way."""
        self._current = None
        for step in self._steps:
            step.cancel()
