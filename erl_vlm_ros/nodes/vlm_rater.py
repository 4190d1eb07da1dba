# SPDX-License-Identifier: Apache-2.0
"""vlm_rater: has queries answered by its teacher, off the control path, and publishes the labels."""

from __future__ import annotations

import queue
import sys
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from sensor_msgs.msg import Joy
from std_msgs.msg import UInt8MultiArray

from erl_vlm_ros.common import names
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.query import NO_LABEL, Label, LabelBatch, QueryBatch
from erl_vlm_ros.feedback.kinds import BadQuery
from erl_vlm_ros.feedback.ledger.ledger import Ledger, LedgerError
from erl_vlm_ros.feedback.teacher_status import teacher_status
from erl_vlm_ros.feedback.teachers import make_teacher
from erl_vlm_ros.feedback.teachers.audited import AuditedTeacher
from erl_vlm_ros.feedback.teachers.base import Teacher
from erl_vlm_ros.feedback.teachers.both_orders import BothOrders
from erl_vlm_ros.feedback.teachers.by_kind import ByKind, each
from erl_vlm_ros.feedback.teachers.human import HumanTeacher
from erl_vlm_ros.feedback.teachers.human_desk import HumanDesk
from erl_vlm_ros.feedback.teachers.joy import JoyPresses
from erl_vlm_ros.feedback.teachers.scripted import ScriptedTeacher
from erl_vlm_ros.feedback.vlm.frames import check_frames
from erl_vlm_ros.graphs.teacher import HUMAN_URL
from erl_vlm_ros.ros import qos
from erl_vlm_ros.ros.convert import header_ns, metrics_message, metrics_of
from erl_vlm_ros.ros.node_base import BaseNode, run


class VlmRaterNode(BaseNode):
    """Wires topics to a teacher; answers come back on its threads and are published from the executor's."""

    NAME = "vlm_rater"

    def __init__(self) -> None:
        super().__init__(self.NAME)
        self._ledger = Ledger(self.p.ledger)
        self.teacher = make_teacher(self.p.teacher, self.values, load_task(self.p.task), self._ledger)
        check = getattr(self.teacher, "check_endpoint", None)
        if check is not None and self.p.check_endpoint:
            check()
        if self._ledger.lost:
            self.get_logger().warning(
                f"{self._ledger.lost} requests were cut off when their process died: perhaps billed, and counted so"
            )
        self._done: queue.SimpleQueue[tuple[QueryBatch, Future[LabelBatch]]] = queue.SimpleQueue()
        self._answered = self.create_guard_condition(self._publish)
        self._ratings = self.create_publisher(UInt8MultiArray, names.LABELS, qos.bulk())
        self._log = self.create_publisher(DiagnosticArray, names.LABEL_LOG, qos.metrics())
        self._figures = self.create_publisher(DiagnosticArray, names.METRICS, qos.metrics())
        self._state = self.create_publisher(DiagnosticArray, names.DIAGNOSTICS, 10)
        for teacher in (self.teacher,) if isinstance(self.teacher, HumanDesk) else each(self.teacher):
            if isinstance(teacher, AuditedTeacher):
                self._introduce(teacher.teacher)
                self._introduce(teacher.auditor)
            else:
                self._introduce(teacher)
        self.create_subscription(UInt8MultiArray, names.QUERIES, self._on_queries, qos.bulk())
        self.wall_timer(2.0, self._report)

    def _introduce(self, teacher: Teacher) -> None:
        """What is special about this teacher: its inputs, and what a person has to know."""
        if isinstance(teacher, BothOrders):
            teacher = teacher.teacher
        log = self.get_logger()
        if isinstance(teacher, (HumanTeacher, HumanDesk)):
            address = Path(self.p.ledger).parent / HUMAN_URL
            teacher.page.write_url(address)
            log.info(f"rate at the address in {address}")  # not the address: a log and /rosout are read by others
            self._joy = JoyPresses(teacher, self.p.human_joy_buttons, self.p.human_joy_skip, self.p.human_joy_undo)
            if self._joy.used:
                self.create_subscription(Joy, names.JOY, lambda m: self._joy.buttons(m.buttons), qos.sensor(False))
        elif isinstance(teacher, ScriptedTeacher):
            log.warning("ratings are made from the simulation's ground truth (teacher: scripted): for benchmarks only")
            self.create_subscription(
                DiagnosticArray, names.GROUND_TRUTH, lambda m: self._on_truth(teacher, m), qos.truth()
            )
        else:
            log.info(
                f"{self.p.ledger} holds {teacher.stats()['valid']:.0f} {teacher.kind.part.name}s of this task; "
                f"{teacher.budget_left} more may be asked for"
            )

    def _on_truth(self, teacher: ScriptedTeacher, message: DiagnosticArray) -> None:
        truth = metrics_of(message).get("ground_truth")
        if truth is not None:
            teacher.add_truth(header_ns(message), truth)

    def _on_queries(self, message: UInt8MultiArray) -> None:
        batch = QueryBatch.from_bundle(self.bundle_of(message, "queries"))
        try:
            self._check_kind(batch)
            check_frames(batch)
            future = self.teacher.submit(batch)
        except ValueError as error:  # queries that this teacher cannot answer
            future = Future()
            future.set_exception(error)
        future.add_done_callback(lambda done: self._on_done(batch, done))

    def _check_kind(self, batch: QueryBatch) -> None:
        if isinstance(self.teacher, ByKind):
            self.teacher.of(batch.kind)
            return
        kind = self.teacher.kind
        if batch.kind != kind.name:
            raise BadQuery("bad_query", f"queries are of kind {batch.kind}, vlm_rater.feedback is {kind.name}")

    def _teacher_of(self, kind: str) -> Teacher:
        """Of that kind of feedback; of one that nobody answers, any."""
        several = self.teacher.teachers if isinstance(self.teacher, ByKind) else {}
        return several.get(kind, self.teacher)

    def _on_done(self, batch: QueryBatch, future: Future[LabelBatch]) -> None:
        """On the teacher's thread."""
        self._done.put((batch, future))
        self._answered.trigger()

    def _publish(self) -> None:
        while not self._done.empty():
            asked, future = self._done.get()
            if future.cancelled():
                continue
            batch = replace(self._result(asked, future), classes=self._teacher_of(asked.kind).class_names)
            self._ratings.publish(self.bundle_message(batch.to_bundle()))
            self._log.publish(self._log_message(batch))
        self._report()

    def _result(self, asked: QueryBatch, future: Future[LabelBatch]) -> LabelBatch:
        """The round's ratings; none at all when the teacher failed, so that the learner does not wait for them.

        Raises:
            LedgerError: ends the node. There is no rating without its record.
        """
        error = future.exception()
        if error is None:
            return future.result()
        if isinstance(error, LedgerError):
            raise error
        self.get_logger().error(f"round {asked.round}: no ratings: {error}")
        reason = "bad_query" if isinstance(error, ValueError) else "teacher_failed"
        labels = [Label(query, NO_LABEL, reason) for query in asked.queries]
        name = self.teacher.texts()["teacher"]
        count = len(self._teacher_of(asked.kind).class_names)
        return LabelBatch(asked.round, count, len(labels), labels, name, asked.kind)

    def _log_message(self, batch: LabelBatch) -> DiagnosticArray:
        """A line per label, for `ros2 topic echo`."""
        teacher = self._teacher_of(batch.kind)
        kind = teacher.kind.part
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        for label in batch.labels:
            valid = label.value != NO_LABEL
            status = DiagnosticStatus(
                level=DiagnosticStatus.OK if valid else DiagnosticStatus.WARN, name=label.query.id
            )
            status.message = kind.text(label.value, teacher.class_names, label.reason)
            pairs = {"kind": batch.kind, "label": label.value, "round": batch.round, "teacher": batch.teacher}
            if label.audited:
                pairs["audited"] = True
            if label.probabilities is not None:
                pairs["probabilities"] = " ".join(f"{p:.2f}" for p in label.probabilities)
            status.values = [KeyValue(key=key, value=str(value)) for key, value in pairs.items()]
            message.status.append(status)
        return message

    def _report(self) -> None:
        stamp = self.get_clock().now().nanoseconds
        figures, texts = self.teacher.stats(), self.teacher.texts()
        self._figures.publish(metrics_message(self.NAME, figures, stamp, texts=texts))
        level, words = teacher_status(figures, texts)
        self._state.publish(metrics_message(f"{self.NAME}: teacher", {}, stamp, bytes([level]), words))

    def on_stop(self) -> None:
        """Let queries on their way be answered and recorded."""
        self.teacher.close(grace_s=3.0)
        self._ledger.close()


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run(VlmRaterNode, args)


if __name__ == "__main__":
    sys.exit(main())
