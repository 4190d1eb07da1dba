# SPDX-License-Identifier: Apache-2.0
"""Who rates: a vision-language model, a person, a ledger, the simulation's truth, or several of the first together.

All have one interface (:class:`Teacher`); :func:`make_teacher` makes each from the parameters of vlm_rater.
"""

from __future__ import annotations

from erl_vlm_ros.feedback.teachers.base import Teacher, TeacherClosed
from erl_vlm_ros.feedback.teachers.build import TEACHERS, make_teacher

__all__ = ["TEACHERS", "Teacher", "TeacherClosed", "make_teacher"]
