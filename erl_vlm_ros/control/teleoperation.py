# SPDX-License-Identifier: Apache-2.0
"""A person drives: commanded at once; what was executed takes the place of the action. No ROS."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from erl_vlm_ros.control.command import STILL, velocity_to_action
from erl_vlm_ros.control.executed import StepVelocity
from erl_vlm_ros.control.intervention import Intervention
from erl_vlm_ros.control.ports import Clock, Command, Log, Outputs
from erl_vlm_ros.data.spaces import GRIPPER, ActionSpec


class Teleoperation:
    """Between control steps it commands by itself; at each step the controller asks ``action`` and ``settle``."""

    def __init__(
        self,
        action: ActionSpec,
        out: Outputs,
        device: Intervention,
        rotation: Callable[[], np.ndarray | None],
        clock: Clock,
        log: Log,
        *,
        real_time: bool,
    ):
        """``rotation``: from the tool's frame to the base frame [3, 3], None while unknown."""
        self._spec, self._out, self._device, self._rotation = action, out, device, rotation
        self._clock, self._log, self._real_time = clock, log, real_time
        # In lock-step the wall clock tells nothing: the last velocity counts alone.
        self._executed, self._commanded = (StepVelocity(mean=real_time) for _ in range(2))
        self._driving = False
        self.intervened = False  # a person has driven since the last control step
        self.grip = 0.0  # the last action's gripper number, the policy's or the person's

    def active(self, now: float) -> bool:
        """Whether a person drives; also notices a device that has fallen silent."""
        driving = self._device.active(now)
        if driving != self._driving:
            self._driving = driving
            self._log.info("a person drives" if driving else "the person has let go")
        return driving

    def action(self) -> np.ndarray:
        """What the person commands, as an action in [-1, 1]^A."""
        try:
            velocity = self._device.velocity(self._rotation())
        except ValueError:
            self._log.warning("the tool's orientation is not known yet", throttle_duration_sec=2.0)
            velocity = STILL
        return velocity_to_action(velocity, self._spec, self._device.gripper or self.grip)

    def moved(self, allowed: bool) -> None:
        """The device spoke: obey at once, not at the next control step. ``allowed``: the guard is armed."""
        now, before = self._clock.now(), self._driving
        driving = self.active(now)
        if not allowed or not (driving or before) or not self._real_time:
            return  # in lock-step every command answers an observation
        self.intervened = True
        if not driving:
            self._out.stand_still()
            self._commanded.add((*STILL, *STILL), now)
            return
        self.send(self.action(), self._clock.stamp(), now)

    def send(self, action: np.ndarray, stamp_ns: int, now: float) -> Command:
        """Command an action, a person's or the policy's; returns its messages."""
        self.grip = float(action[self._spec.slice(GRIPPER)][0]) if GRIPPER in self._spec else 0.0
        command, velocity = self._out.command(action, stamp_ns)
        self._out.send(command)
        self._commanded.add(velocity, now)
        return command

    def executed(self, velocity: Sequence[float]) -> None:
        """The guard let this velocity [6] through, m/s and rad/s."""
        self._executed.add(velocity, self._clock.now())

    def settle(self, now: float) -> np.ndarray | None:
        """At a control step: the action of the step that ends, if a person drove in it, else None.

        It is what the guard let through, or what was commanded when the guard does not tell.
        """
        executed, commanded = self._executed.take(now), self._commanded.take(now)
        velocity, intervened = commanded if executed is None else executed, self.intervened
        self.intervened = False
        return velocity_to_action(velocity, self._spec, self.grip) if intervened and velocity is not None else None

    def clear(self) -> None:
        """A new recording begins."""
        self._executed.clear()
        self._commanded.clear()
        self.intervened = False
