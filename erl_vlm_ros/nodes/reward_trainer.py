# SPDX-License-Identifier: Apache-2.0
"""reward_trainer: keeps the ratings, trains the reward model after each round, publishes it with its health."""

from __future__ import annotations

import sys

import torch
from diagnostic_msgs.msg import DiagnosticArray
from std_msgs.msg import UInt8MultiArray

from erl_vlm_ros.common import names
from erl_vlm_ros.common.errors import Code
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.checkpoint import CheckpointError, load_state, save_state
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.query import LabelBatch
from erl_vlm_ros.data.sources import make_source, unseen
from erl_vlm_ros.reward.trainer import RewardTrainer
from erl_vlm_ros.ros import qos
from erl_vlm_ros.ros.convert import metrics_message
from erl_vlm_ros.ros.node_base import BaseNode, run
from erl_vlm_ros.ros.refusals import own_work
from erl_vlm_ros.ros.robot_facts import node_spaces
from erl_vlm_ros.training.configs import reward_config


class RewardTrainerNode(BaseNode):
    """Wires topics to a RewardTrainer."""

    NAME = "reward_trainer"

    def __init__(self) -> None:
        super().__init__(self.NAME)
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)  # denormal weights slow a CPU down several times
        task = load_task(self.p.task)
        spaces = node_spaces(self, task)
        self.trainer = RewardTrainer(reward_config(self.values, task, spaces), self.p.seed)
        self._path = self.checkpoint_path()
        if self.p.resume or self.stands_in(self._path):
            self._resume()
        p = self.p
        source = make_source(p.episode_source, p.episode_source_path, False, p.episode_source_keep)
        if source is not None:
            for item in unseen(source, lambda: self.trainer.episodes, spaces):
                self.trainer.add_episode(item.episode)
        self._models = self.create_publisher(UInt8MultiArray, names.REWARD_MODEL, qos.latched())
        self._figures = self.create_publisher(DiagnosticArray, names.METRICS, qos.metrics())
        if self.trainer.model is not None:
            self._publish()  # a learner that missed it would wait for it
        self.create_subscription(UInt8MultiArray, names.TRANSITIONS, self._on_episode, qos.bulk())
        self.create_subscription(UInt8MultiArray, names.LABELS, self._on_labels, qos.bulk())

    def _on_episode(self, message: UInt8MultiArray) -> None:
        self.trainer.add_episode(Episode.from_bundle(self.bundle_of(message, "episode")))

    def _on_labels(self, message: UInt8MultiArray) -> None:
        if not self.trainer.add_labels(LabelBatch.from_bundle(self.bundle_of(message, "labels"))):
            return
        with own_work():
            self.trainer.train()
            if self._path:
                self._save()  # first: what the learner has heard of must not be forgotten here
            self._publish()

    def _publish(self) -> None:
        model = self.trainer.model
        self._models.publish(self.bundle_message(model.to_bundle()))
        stamp = self.get_clock().now().nanoseconds
        self._figures.publish(metrics_message(self.NAME, {"version": model.version, **model.health}, stamp))

    def _resume(self) -> None:
        if self._path is None:
            text = "resume needs checkpoint_dir; set the parameter checkpoint_dir of reward_trainer"
            raise CheckpointError(text, code=Code.NOT_GIVEN, parameter="reward_trainer.checkpoint_dir")
        self.trainer.load_state_dict(load_state(self._path, self.NAME))
        trainer = self.trainer
        self.get_logger().info(
            f"resumed from {self._path}: {len(trainer.ratings)} ratings {trainer.counts().tolist()}, "
            f"{trainer.trainer.describe()}, model version {trainer.version}"
        )

    def _save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        save_state(self._path, self.trainer.state_dict(), self.NAME)

    def on_stop(self) -> None:
        """Leave a checkpoint."""
        if self._path:
            self._save()


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run(RewardTrainerNode, args)


if __name__ == "__main__":
    sys.exit(main())
