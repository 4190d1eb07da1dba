# SPDX-License-Identifier: Apache-2.0
"""Ratings by the buttons of a joystick."""

from __future__ import annotations

from collections.abc import Sequence

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.feedback.teachers.human import HumanTeacher


class JoyPresses:
    """Turns button states into presses of the segment that the page shows; a held button counts once.

    Args:
        rate: the button of each class, worst first; None: the joystick does not rate.
        skip, undo: buttons, or None.

    Raises:
        ConfigError: not a button for each class, or one button twice.
    """

    def __init__(
        self, teacher: HumanTeacher, rate: Sequence[int] | None, skip: int | None = None, undo: int | None = None
    ) -> None:
        self._teacher, self._before = teacher, frozenset[int]()
        self._actions = {}
        if rate is not None:
            if len(rate) != teacher.n_classes:
                text = f"human.joy_buttons has {len(rate)} entries for {teacher.n_classes} classes"
                raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="vlm_rater.human.joy_buttons")
            self._actions = {button: ("rate", i) for i, button in enumerate(rate)}
        others = [(button, action) for button, action in ((skip, "skip"), (undo, "undo")) if button is not None]
        self._actions |= {button: (action, 0) for button, action in others}
        wanted = [*(rate or ()), *(button for button, _ in others)]
        if len(self._actions) != len(wanted) or any(button < 0 for button in wanted):
            text = "human.joy_buttons, human.joy_skip and human.joy_undo must be different buttons, from 0"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="vlm_rater.human.joy_buttons")

    @property
    def used(self) -> bool:
        """Whether any button does something."""
        return bool(self._actions)

    def buttons(self, states: Sequence[int]) -> bool:
        """The joystick's buttons now, 1 for pressed; True when a press counted. Only the first new one does."""
        now = frozenset(i for i, state in enumerate(states) if state)
        new, self._before = sorted(now - self._before), now
        for button in new:
            if button in self._actions:
                action, rating = self._actions[button]
                if action == "rate":
                    return self._teacher.rate(rating)
                return self._teacher.skip() if action == "skip" else self._teacher.undo()
        return False
