# SPDX-License-Identifier: Apache-2.0
"""sac_learner: buffers episodes, updates the actor, relabels with each new reward model, asks for ratings."""

from __future__ import annotations

import sys

import torch
from diagnostic_msgs.msg import DiagnosticArray
from std_msgs.msg import Float32MultiArray, UInt8MultiArray

from erl_vlm_ros.agents.judge import Judge
from erl_vlm_ros.agents.learner import Learner
from erl_vlm_ros.data.checkpoint import CheckpointError, load_state, save_state
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.segment import RatingBatch
from erl_vlm_ros.errors import ConfigError
from erl_vlm_ros.reward.model import load_reward_model
from erl_vlm_ros.ros import names, qos
from erl_vlm_ros.ros.bundle import BundleError, decode, encode
from erl_vlm_ros.ros.convert import bytes_message, bytes_of, metrics_message, rewards_message
from erl_vlm_ros.ros.node_base import BaseNode, run
from erl_vlm_ros.settings import learner_config
from erl_vlm_ros.tasks import load_task

LOOK_EVERY_S = 0.2  # for the nodes that a resumed run waits for


class SacLearnerNode(BaseNode):
    """Wires topics to a Learner. Updates run in chunks between messages, so that none waits long."""

    NAME = "sac_learner"

    def __init__(self) -> None:
        super().__init__(self.NAME)
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)  # denormal weights slow a CPU down several times
        task = load_task(self.p.task)
        self.learner = Learner(learner_config(self.values, task), self.p.seed)
        self._path = self.checkpoint_path()
        self._metrics: dict[str, float] = {}
        self._judge = Judge(self.p.success_reward)
        if self.p.resume or self.stands_in(self._path):
            self._resume()
        self._stop_if_hopeless()
        self._next_checkpoint = self.learner.env_steps + self.p.checkpoint_every
        self._actor = self.create_publisher(UInt8MultiArray, names.ACTOR, qos.latched())
        self._segments = self.create_publisher(UInt8MultiArray, names.SEGMENTS, qos.bulk())
        self._figures = self.create_publisher(DiagnosticArray, names.METRICS, qos.metrics())
        self._rewards = self.create_publisher(Float32MultiArray, names.EPISODE_REWARD, qos.latched())
        self._more = self.create_guard_condition(self._work)
        self.create_subscription(UInt8MultiArray, names.TRANSITIONS, self._on_episode, qos.bulk())
        self.create_subscription(UInt8MultiArray, names.EVALUATION_EPISODES, self._on_evaluation, qos.bulk())
        ratings = self.create_subscription(UInt8MultiArray, names.RATINGS, self._on_ratings, qos.bulk())
        models = self.create_subscription(UInt8MultiArray, names.REWARD_MODEL, self._on_reward_model, qos.latched())
        if self.learner.pending is not None:
            self._segments.publish(bytes_message(encode(self.learner.pending.to_bundle())))
        self._awaited = [ratings.topic_name, models.topic_name] if self.p.resume else []
        if self._awaited:
            self._look_around = self.wall_timer(LOOK_EVERY_S, self._await_others)
        self._report()
        self._more.trigger()

    def _await_others(self) -> None:
        """A resumed arm rests until rater and trainer have read their files: a damaged one ends the run before."""
        self._awaited = [topic for topic in self._awaited if not self.count_publishers(topic)]
        if self._awaited:
            self.get_logger().info(f"waiting for {', '.join(self._awaited)}", throttle_duration_sec=10.0)
            return
        self._look_around.cancel()
        self._report()

    def _on_episode(self, message: UInt8MultiArray) -> None:
        try:
            episode = Episode.from_bundle(decode(bytes_of(message), "episode"))
        except BundleError as error:
            self.get_logger().error(f"episode dropped: {error}")
            return
        if episode.index < self.learner.episodes:
            return  # history that a restart replays
        try:
            self.learner.add_episode(episode)
        except ValueError as error:  # left out, it would be waited for
            raise ConfigError(f"episode {episode.index} of policy_controller: {error}") from error
        self._judge.see(episode, self.learner.model)
        if self.learner.model is not None:
            self._rewards.publish(rewards_message(self.learner.replay.rewards[-episode.steps :], episode.index))
        if self.learner.round_due():
            self._segments.publish(bytes_message(encode(self.learner.make_round().to_bundle())))
        self._report()
        self._more.trigger()
        if self._path and self.learner.env_steps >= self._next_checkpoint:
            self._next_checkpoint = self.learner.env_steps + self.p.checkpoint_every
            self._save()

    def _on_evaluation(self, message: UInt8MultiArray) -> None:
        """Judged, never learned from."""
        try:
            self._judge.see(Episode.from_bundle(decode(bytes_of(message), "episode")), self.learner.model)
        except ValueError as error:
            self.get_logger().error(f"evaluation episode ignored: {error}")
            return
        stamp = self.get_clock().now().nanoseconds
        self._figures.publish(metrics_message(self.NAME, self._judge.figures(), stamp))

    def _on_ratings(self, message: UInt8MultiArray) -> None:
        try:
            batch = RatingBatch.from_bundle(decode(bytes_of(message), "ratings"))
        except BundleError as error:
            self.get_logger().error(f"ratings ignored: {error}")
            return
        self.learner.round_answered(batch)
        if batch.round >= self.learner.rounds_done and all(r.rating < 0 for r in batch.rated):
            self.get_logger().warning(f"round {batch.round}: no valid rating; asking again later")
            self.learner.round_failed(batch.round)
            self._stop_if_hopeless()
            self._report()
            self._more.trigger()

    def _on_reward_model(self, message: UInt8MultiArray) -> None:
        try:
            model = load_reward_model(decode(bytes_of(message), "reward_model"))
        except BundleError as error:
            self.get_logger().error(f"reward model ignored: {error}")
            return
        if not self.learner.is_news(model):
            return
        try:
            self.learner.set_reward_model(model)
        except (ValueError, RuntimeError) as error:
            self.get_logger().error(f"reward model {model.version} is of no use: {error}")
            self.learner.round_failed(int(model.health.get("round", 0)) - 1)
            self._stop_if_hopeless()
        self._report()
        self._more.trigger()

    def _work(self) -> None:
        """One chunk of the updates that are owed; publishes the actor when an episode's worth is done."""
        learner = self.learner
        if learner.owed < 1:
            return
        budget = learner.episode_budget()
        metrics = learner.update(self.p.update_chunk)
        if learner.episode_budget() != budget or learner.owed < 1:
            self._metrics = {name: float(metrics[name]) for name in metrics}
            self._report()
        if learner.owed >= 1:
            self._more.trigger()

    def _report(self) -> None:
        if not self._awaited:
            self._actor.publish(bytes_message(encode(self.learner.actor_bundle())))
        stamp = self.get_clock().now().nanoseconds
        figures = self.learner.metrics() | self._metrics | self._judge.figures()
        self._figures.publish(metrics_message(self.NAME, figures, stamp))

    def _stop_if_hopeless(self) -> None:
        if self.learner.hopeless:
            raise ConfigError(
                f"max_ratings ({self.learner.config.max_ratings}) are spent and not one is valid: there is nothing to "
                "learn from. See the log of vlm_rater, then go on with a larger max_ratings"
            )

    def _resume(self) -> None:
        if self._path is None:
            raise CheckpointError("resume needs checkpoint_dir; set the parameter checkpoint_dir of sac_learner")
        self.learner.load_state_dict(load_state(self._path, self.NAME))
        learner = self.learner
        self.get_logger().info(
            f"resumed from {self._path}: {learner.env_steps} steps, {learner.episodes} episodes, "
            f"{learner.updates} updates, "
            f"{len(learner.replay)} transitions, {learner.ratings_requested} ratings requested"
        )

    def _save(self) -> None:
        if not self.learner.sac.finite():
            raise CheckpointError(
                f"the networks hold numbers that are not finite: {self._path}, if it is there, is left as it was. "
                "Lower sac.actor_lr and sac.critic_lr, then continue from it"
            )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        save_state(self._path, self.learner.state_dict(), self.NAME)

    def on_stop(self) -> None:
        """Leave a checkpoint."""
        if self._path:
            self._save()


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run(SacLearnerNode, args)


if __name__ == "__main__":
    sys.exit(main())
