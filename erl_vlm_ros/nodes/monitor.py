# SPDX-License-Identifier: Apache-2.0
"""monitor: listens to all, keeps the run's figures, and ends when the run is finished.

Subscribes to learning/metrics, learning/labels, learning/transitions, learning/episode_reward,
evaluation/episodes, task/ground_truth, run/state, the guard's state and /diagnostics; in real time also to the
camera, joint_states, ee_pose and learning/reward_model. Publishes monitor/image (+ compressed), monitor/markers
and, on /diagnostics, the health of each node.
Writes into run_dir: summary.json, progress.json, metrics.csv, tensorboard/, learning_curve.png and
evaluation.mp4.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Bool, Float32MultiArray, String, UInt8MultiArray
from visualization_msgs.msg import MarkerArray

from erl_vlm_ros.common import names
from erl_vlm_ros.common.errors import Code, wrong_parameter
from erl_vlm_ros.common.plan import CONTROLLER
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.data.query import LabelBatch
from erl_vlm_ros.feedback.kinds import kinds_named, true_class
from erl_vlm_ros.monitoring.alarms import TrainingAlarms
from erl_vlm_ros.monitoring.dashboard import render
from erl_vlm_ros.monitoring.files import RunFiles
from erl_vlm_ros.monitoring.health import Health
from erl_vlm_ros.monitoring.line import format_line
from erl_vlm_ros.monitoring.record import RunRecord
from erl_vlm_ros.monitoring.video import Clip
from erl_vlm_ros.monitoring.view import View
from erl_vlm_ros.ros import convert, qos, screens
from erl_vlm_ros.ros.live_view import LiveView
from erl_vlm_ros.ros.node_base import BaseNode, run

_SUCCESS_SOURCES = {
    "person": "labelled by a person",
    "topic": "labelled by task/success",
    "reward": "by the learned reward",
}


class Monitor(BaseNode):
    """ROS side of RunRecord and RunFiles."""

    NAME = "monitor"

    def __init__(self) -> None:
        super().__init__(self.NAME)
        p, self.task = self.p, load_task(self.p.task)
        now = time.monotonic()
        class_names = {n: self.task.class_names(n) for n in self.task.classes}
        source = _SUCCESS_SOURCES.get(p.success_source, "")
        kinds_named(p.feedback)  # known from here on
        self.record = RunRecord(
            self.task.name, p.seed, class_names, p.max_steps, p.max_ratings, now, source, true_class,
            p.max_updates, p.recorded_episodes, p.max_episodes,
        )  # fmt: skip
        self.health = Health(p.nodes, now, p.stale_s, p.start_s)
        self.alarms = TrainingAlarms()
        where = [self.task.name, f"seed {p.seed}", p.run_dir]
        self.view = View(self.task.instruction, "  ·  ".join(filter(None, where)), live=not p.lock_step)
        self.files: RunFiles | None = None
        if p.run_dir:
            if not Path(p.run_dir).is_dir():
                raise wrong_parameter(
                    "monitor", "run_dir", f": {p.run_dir} is not a folder", code=Code.MISSING_FILE, file=p.run_dir
                )
            self.files = RunFiles(Path(p.run_dir))
            if self.files.restore(self.record):
                self.get_logger().info(f"figures go on from step {self.record.env_steps}")
        self._clips: list[Clip] = []  # of the newest evaluation
        self._clip_stamps: list[int] = []
        self._expected = 0  # episodes of the last evaluation, as the controller says
        self._over_at: float | None = None
        self._ended = False
        self._drawn_at = now
        self._make_topics()

    def _make_topics(self) -> None:
        p = self.p
        self._pub_image = self.create_publisher(Image, names.MONITOR_IMAGE, qos.latched())
        self._pub_jpeg = self.create_publisher(CompressedImage, names.MONITOR_IMAGE_COMPRESSED, qos.latched())
        self._pub_markers = self.create_publisher(MarkerArray, names.MONITOR_MARKERS, qos.latched())
        self._pub_diagnostics = self.create_publisher(DiagnosticArray, names.DIAGNOSTICS, 10)
        self.create_subscription(DiagnosticArray, names.METRICS, self._on_metrics, qos.metrics())
        self.create_subscription(UInt8MultiArray, names.LABELS, self._on_labels, qos.bulk())
        self.create_subscription(UInt8MultiArray, names.TRANSITIONS, self._on_transitions, qos.bulk())
        self.create_subscription(UInt8MultiArray, names.EVALUATION_EPISODES, self._on_evaluation, qos.bulk())
        self.create_subscription(DiagnosticArray, names.GROUND_TRUTH, self._on_truth, qos.truth())
        self.create_subscription(String, names.RUN_STATE, self._on_state, qos.latched(10))
        self.create_subscription(Float32MultiArray, names.EPISODE_REWARD, self._on_rewards, qos.latched())
        self.create_subscription(DiagnosticArray, names.DIAGNOSTICS, self._on_diagnostics, 50)
        for kind, topic, field in (
            (Bool, names.ARMED, "armed"),
            (Bool, names.ESTOP_STATE, "estop"),
            (String, names.REASON, "reason"),
        ):
            said = lambda m, field=field: self._on_guard(field, m.data)  # noqa: E731
            self.create_subscription(kind, topic, said, qos.latched())
        self._live = None if p.lock_step else LiveView(self, self.view)
        if self._live is not None:
            self.create_subscription(UInt8MultiArray, names.REWARD_MODEL, self._on_model, qos.latched())
        self.wall_timer(p.progress_s, self._tick)
        self.wall_timer(p.dashboard_s, self._show)
        self.wall_timer(p.log_s, self._log)

    # -- what is heard

    def _on_metrics(self, message: DiagnosticArray) -> None:
        now, texts = time.monotonic(), convert.texts_of(message)
        for node, values in convert.metrics_of(message).items():
            self.record.add_metrics(node, values, now)
            self.health.figures(node, now)
            self.view.figures(node, values, texts[node])
            self.alarms.metrics(node, values)
            if self.files is not None:
                self.files.figures(self.record, node, values, now)

    def _on_labels(self, message: UInt8MultiArray) -> None:
        batch = LabelBatch.from_bundle(self.bundle_of(message, "labels"))
        self.record.add_labels(batch)
        self.alarms.labels(batch)

    def _on_transitions(self, message: UInt8MultiArray) -> None:
        self.view.episode(Episode.from_bundle(self.bundle_of(message, "episode")))

    def _on_evaluation(self, message: UInt8MultiArray) -> None:
        episode = Episode.from_bundle(self.bundle_of(message, "episode"))
        self.view.episode(episode)
        evaluation = self.record.add_evaluation(episode, time.monotonic())
        if evaluation.episodes == 1:
            self._clips, self._clip_stamps = [], []
        if len(self._clips) < self.p.video_episodes:
            caption = f"{self.task.instruction}  {evaluation.env_steps:,} steps  episode {episode.index}"
            self._clips.append(Clip(episode.jpegs, caption))
            self._clip_stamps.append(int(episode.stamps[-1]))

    def _on_rewards(self, message: Float32MultiArray) -> None:
        rewards, number = convert.rewards_of(message)
        self.view.rewards(rewards, number)
        self.alarms.rewards(rewards)

    def _on_model(self, message: UInt8MultiArray) -> None:
        self._live.set_model(self.bundle_of(message, "reward_model"))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        now, figures = time.monotonic(), convert.metrics_of(message)
        for status in message.status:
            busy = figures[status.name].get("busy_s", 0.0)
            self.health.hear(status.name, ord(status.level), status.message, now, busy)

    def _on_guard(self, field: str, value: bool | str) -> None:
        self.view.guard = replace(self.view.guard, **{field: value})

    def _on_truth(self, message: DiagnosticArray) -> None:
        truth = convert.metrics_of(message).get("ground_truth")
        if truth is not None:
            self.record.add_truth(convert.header_ns(message), truth)

    def _on_state(self, message: String) -> None:
        said: dict[str, Any] = json.loads(message.data)
        state, steps = str(said["state"]), int(said["env_steps"])
        now, record = time.monotonic(), self.record
        if state == "finished" and str(said.get("node", CONTROLLER)) != self.p.finished_by:
            state = "running"  # a part of the run is over, not the run
        record.state, record.detail = state, str(said.get("waiting_for") or "")
        record.add_kept(said)
        self.view.state(said)
        if self.p.mode == "train":
            episodes = int(said.get("episodes", 0))
            if steps < record.env_steps and said.get("detail") == "running":
                self.get_logger().warning(f"the run goes on from {steps} steps; {record.env_steps} had been reached")
                record.go_back(steps, episodes)
            record.set_steps(steps, now)
            record.episodes = max(record.episodes, episodes)
            record.updates = max(record.updates, int(said.get("updates", 0)))
        self._expected = int(said.get("eval_episodes", 0)) if int(said.get("eval_round", 0)) else 0
        if state in ("finished", "failed") and self._over_at is None:
            self._over_at = now

    # -- outputs

    def _tick(self) -> None:
        now = time.monotonic()
        if self._over_at is not None:
            # The last episode and its ground truth may still be on their way.
            if self._complete() or now - self._over_at > self.p.settle_s:
                self._finish()
            return
        if self.files is None:
            return
        self.files.progress(self.record, now)
        if now - self._drawn_at > self.p.plot_s:
            self._drawn_at = now
            self.files.summary(self.record, now, self._raised())
            self.files.curve(self.record, now)

    def _log(self) -> None:
        record = self.record
        names = record.class_names.get(record.n_classes, [])
        self.get_logger().info(format_line(record.progress(time.monotonic()), names))

    def _complete(self) -> bool:
        record = self.record
        if record.state == "failed":
            return True
        heard = record.evaluations[-1].episodes if record.evaluations else 0
        return heard >= self._expected and record.settled

    def _finish(self) -> None:
        """Write everything and leave."""
        if self._ended:
            return
        self._write_last()
        if self.record.state == "failed":
            raise RuntimeError(f"the run failed: {self.record.detail or 'see the log of policy_controller'}")
        os.kill(os.getpid(), signal.SIGTERM)  # the way in which every node is asked to stop

    def _write_last(self) -> None:
        self._ended = True
        files, self.files = self.files, None  # what still arrives is not recorded
        if files is None:
            return
        now = time.monotonic()
        for clip, stamp in zip(self._clips, self._clip_stamps):
            clip.success = self.record.success_at(stamp)
        files.progress(self.record, now)
        files.summary(self.record, now, self._raised())
        files.curve(self.record, now)
        if self._over_at is not None:
            files.film(self._clips, self.task.control_hz, self.p.video_scale)
        files.close()

    def _raised(self) -> dict[str, Any]:
        return {"alarms": {alarm.name: alarm.text for alarm in self.alarms.raised()}}

    def on_stop(self) -> None:
        """Leave the figures so far."""
        if not self._ended:
            self.record.state = "interrupted"
            self._write_last()

    # -- what is shown

    def _show(self) -> None:
        now, stamp = time.monotonic(), self.get_clock().now()
        screen = self.view.screen(self.record, self.health, now)
        self._pub_diagnostics.publish(screens.health_message(screen.health, stamp.to_msg(), self.alarms.check()))
        self._pub_markers.publish(screens.markers_of(screen, self.view.trace, self.task, self.p))
        raw, jpeg = self._pub_image.get_subscription_count(), self._pub_jpeg.get_subscription_count()
        if not raw and not jpeg:
            return
        image = render(screen)
        if raw:
            self._pub_image.publish(convert.image_message(image, stamp.nanoseconds, "monitor"))
        if jpeg:
            self._pub_jpeg.publish(convert.compressed_message(encode_jpeg(image), stamp.nanoseconds, "monitor"))


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run(Monitor, args)


if __name__ == "__main__":
    sys.exit(main())
