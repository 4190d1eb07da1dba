# SPDX-License-Identifier: Apache-2.0
"""collector: keeps the episodes that are driven as a dataset, in the learner's place, and says when there are enough.

Subscribes to learning/transitions. Publishes learning/actor (counters without weights: the controller's driver acts),
learning/metrics and run/state.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray
from std_msgs.msg import String, UInt8MultiArray

from erl_vlm_ros.common import names
from erl_vlm_ros.common.errors import Code, wrong_parameter
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.control.episode_machine import Awaited
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.growing_dataset import GrowingDataset
from erl_vlm_ros.recordings.collection import Collection, Verdict
from erl_vlm_ros.ros import qos
from erl_vlm_ros.ros.convert import metrics_message
from erl_vlm_ros.ros.node_base import BaseNode, run


class Collector(BaseNode):
    """ROS side of Collection."""

    NAME = "collector"

    def __init__(self) -> None:
        super().__init__(self.NAME)
        p = self.p
        if not p.dataset:
            raise wrong_parameter(self.NAME, "dataset", "is empty: name a folder", code=Code.NOT_GIVEN)
        task = p.task_name or load_task(p.task).name
        counters = Path(p.checkpoint_dir) / f"{self.NAME}.json" if p.checkpoint_dir else None
        dataset = GrowingDataset(p.dataset, task, p.made_by, p.robot_file or None)
        self.collection = Collection(dataset, p.episodes, p.keep, p.min_steps, counters)
        self._actor = self.create_publisher(UInt8MultiArray, names.ACTOR, qos.latched())
        self._figures = self.create_publisher(DiagnosticArray, names.METRICS, qos.metrics())
        self._state = self.create_publisher(String, names.RUN_STATE, qos.latched())
        self.create_subscription(UInt8MultiArray, names.TRANSITIONS, self._on_episode, qos.bulk())
        self._report()

    def _on_episode(self, message: UInt8MultiArray) -> None:
        episode = Episode.from_bundle(self.bundle_of(message, "episode"))
        verdict, found = self.collection.add(episode), self.collection
        if verdict is not Verdict.KNOWN:
            self.get_logger().info(
                f"episode {episode.index}, {episode.steps} steps, {verdict.value}: {found.kept} of {found.wanted}"
            )
        self._report()

    def _report(self) -> None:
        found = self.collection
        self._figures.publish(metrics_message(self.NAME, found.metrics(), self.get_clock().now().nanoseconds))
        self._actor.publish(self.bundle_message(found.actor_bundle()))
        said = {"node": self.NAME, "state": "finished" if found.done else "running", "waiting_for": ""}
        said |= {"awaits": Awaited.NOBODY.value, "env_steps": found.env_steps, "episodes": found.episodes}
        said |= {"kept_episodes": found.kept, "kept_successes": found.successes}
        if found.done:  # until then the controller tells how it goes
            self._state.publish(String(data=json.dumps(said)))


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run(Collector, args)


if __name__ == "__main__":
    sys.exit(main())
