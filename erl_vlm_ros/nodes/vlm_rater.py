# SPDX-License-Identifier: Apache-2.0
"""vlm_rater: has segments rated by a vision-language model, off the control path, and publishes the ratings."""

from __future__ import annotations

import queue
import sys
from concurrent.futures import Future
from dataclasses import fields

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import UInt8MultiArray

from erl_vlm_ros.data.segment import RatingBatch, SegmentBatch
from erl_vlm_ros.feedback.config import RaterConfig
from erl_vlm_ros.feedback.ledger import Ledger
from erl_vlm_ros.feedback.rater import VlmRater
from erl_vlm_ros.ros import names, qos
from erl_vlm_ros.ros.bundle import BundleError, decode, encode
from erl_vlm_ros.ros.convert import bytes_message, bytes_of, metrics_message
from erl_vlm_ros.ros.node_base import BaseNode, run
from erl_vlm_ros.tasks import load_task


class VlmRaterNode(BaseNode):
    """Wires topics to a VlmRater; answers come back on its thread and are published from the executor's."""

    NAME = "vlm_rater"

    def __init__(self) -> None:
        super().__init__(self.NAME)
        config = RaterConfig(**{f.name: self.values[f.name] for f in fields(RaterConfig)})
        self._ledger = Ledger(self.p.ledger)
        self.rater = VlmRater(config, load_task(self.p.task), self._ledger)
        if self.p.check_endpoint:
            self.rater.check_endpoint()
        if self._ledger.lost:
            self.get_logger().warning(
                f"{self._ledger.lost} requests were cut off when their process died: perhaps billed, and counted so"
            )
        self.get_logger().info(
            f"{self.p.ledger} holds {self.rater.stats()['valid']:.0f} ratings of this task; "
            f"{self.rater.budget_left} more may be asked for"
        )
        self._done: queue.SimpleQueue[Future[RatingBatch]] = queue.SimpleQueue()
        self._answered = self.create_guard_condition(self._publish)
        self._ratings = self.create_publisher(UInt8MultiArray, names.RATINGS, qos.bulk())
        self._log = self.create_publisher(DiagnosticArray, names.RATING_LOG, qos.metrics())
        self._figures = self.create_publisher(DiagnosticArray, names.METRICS, qos.metrics())
        self.create_subscription(UInt8MultiArray, names.SEGMENTS, self._on_segments, qos.bulk())
        self.wall_timer(2.0, self._report)

    def _on_segments(self, message: UInt8MultiArray) -> None:
        try:
            batch = SegmentBatch.from_bundle(decode(bytes_of(message), "segments"))
        except BundleError as error:
            self.get_logger().error(f"segments dropped: {error}")
            return
        self.rater.submit(batch).add_done_callback(self._on_done)

    def _on_done(self, future: Future[RatingBatch]) -> None:
        """On the rater's thread."""
        self._done.put(future)
        self._answered.trigger()

    def _publish(self) -> None:
        while not self._done.empty():
            future = self._done.get()
            if future.cancelled():
                continue
            batch = future.result()  # a ledger that cannot record ends the node: no rating without its record
            self._ratings.publish(bytes_message(encode(batch.to_bundle())))
            self._log.publish(self._log_message(batch))
        self._report()

    def _log_message(self, batch: RatingBatch) -> DiagnosticArray:
        """A line per rating, for `ros2 topic echo`."""
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        for rated in batch.rated:
            valid = rated.rating >= 0
            status = DiagnosticStatus(
                level=DiagnosticStatus.OK if valid else DiagnosticStatus.WARN, name=rated.segment.id
            )
            status.message = self.rater.class_names[rated.rating] if valid else f"no rating: {rated.reason}"
            status.values = [
                KeyValue(key="rating", value=str(rated.rating)),
                KeyValue(key="round", value=str(batch.round)),
            ]
            message.status.append(status)
        return message

    def _report(self) -> None:
        stamp = self.get_clock().now().nanoseconds
        self._figures.publish(metrics_message(self.NAME, self.rater.stats(), stamp))

    def on_stop(self) -> None:
        """Let queries on their way be answered and recorded."""
        self.rater.close(grace_s=3.0)
        self._ledger.close()


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run(VlmRaterNode, args)


if __name__ == "__main__":
    sys.exit(main())
