# SPDX-License-Identifier: Apache-2.0
"""learner: buffers episodes, updates the actor, relabels with each new reward model, asks for ratings."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import torch
from diagnostic_msgs.msg import DiagnosticArray
from std_msgs.msg import Float32MultiArray, String, UInt8MultiArray

from erl_vlm_ros.common import names
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.control.episode_machine import Awaited
from erl_vlm_ros.data import learner_state
from erl_vlm_ros.data.checkpoint import CheckpointError, save_state
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.query import LabelBatch
from erl_vlm_ros.data.sources import LIVE, LiveSource, make_source, unseen
from erl_vlm_ros.reward.model import load_reward_model
from erl_vlm_ros.reward.models import REWARD_MODELS
from erl_vlm_ros.ros import qos
from erl_vlm_ros.ros.convert import metrics_message, rewards_message
from erl_vlm_ros.ros.node_base import BaseNode, run
from erl_vlm_ros.ros.refusals import own_work
from erl_vlm_ros.ros.robot_facts import node_spaces
from erl_vlm_ros.training.configs import learner_config
from erl_vlm_ros.training.learner import Learner
from erl_vlm_ros.training.success import SuccessEstimator

ASK_EVERY_S = 5.0
REPORT_EVERY = 100  # updates, where no step is collected
LOOK_EVERY_S = 0.2  # for the nodes that a resumed run waits for


class LearnerNode(BaseNode):
    """Wires topics to a Learner. Updates run in chunks between messages, so that none waits long."""

    NAME = "learner"

    def __init__(self) -> None:
        super().__init__(self.NAME)
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)  # denormal weights slow a CPU down several times
        task = load_task(self.p.task)
        REWARD_MODELS.load(self.p.reward_model)  # its module says how the weights that come are read
        self.learner = Learner(learner_config(self.values, task, node_spaces(self, task)), self.p.seed)
        self._path = self.checkpoint_path()
        self._live = LiveSource()
        self._metrics: dict[str, float] = {}
        self._success = SuccessEstimator(self.p.success_reward)
        if self.p.resume or (self._path and learner_state.find(self.p.checkpoint_dir)):
            self._resume()
        self._read_source()
        self._stop_if_out_of_ratings()
        self._next_checkpoint = self.learner.clock + self.p.checkpoint_every
        self._actor = self.create_publisher(UInt8MultiArray, names.ACTOR, qos.latched())
        self._segments = self.create_publisher(UInt8MultiArray, names.QUERIES, qos.bulk())
        self._figures = self.create_publisher(DiagnosticArray, names.METRICS, qos.metrics())
        self._rewards = self.create_publisher(Float32MultiArray, names.EPISODE_REWARD, qos.latched())
        self._more = self.create_guard_condition(self._work)
        self.create_subscription(UInt8MultiArray, names.TRANSITIONS, self._on_episode, qos.bulk())
        self.create_subscription(UInt8MultiArray, names.EVALUATION_EPISODES, self._on_evaluation, qos.bulk())
        ratings = self.create_subscription(UInt8MultiArray, names.LABELS, self._on_labels, qos.bulk())
        models = self.create_subscription(UInt8MultiArray, names.REWARD_MODEL, self._on_reward_model, qos.latched())
        if self.learner.schedule.pending is not None:
            self._segments.publish(self.bundle_message(self.learner.schedule.pending.to_bundle()))
        self._awaited = self._partners(ratings.topic_name, models.topic_name) if self.p.resume else []
        if self._awaited:
            self._look_around = self.wall_timer(LOOK_EVERY_S, self._await_others)
        self._state = self.create_publisher(String, names.RUN_STATE, qos.latched()) if not self.p.live else None
        if self._state is not None:
            self.wall_timer(ASK_EVERY_S, self._ask)
        if self.p.episode_source != LIVE:
            self._ask()  # about its episodes, before a step is made
        self._report()
        self._more.trigger()

    def _read_source(self) -> None:
        """Take what the source has; those of it that a checkpoint brought are passed over."""
        p = self.p
        source = make_source(p.episode_source, p.episode_source_path, p.rewards_given, p.episode_source_keep)
        if source is not None:
            for item in unseen(source, lambda: self.learner.episodes, self.learner.config.spaces):
                episode = item.episode
                if self.p.demonstrations:
                    episode = replace(episode, intervention=np.ones(episode.steps, bool))
                try:
                    self.learner.add_episode(episode, item.rewards)
                except ValueError as error:  # of other spaces, or a frame is no JPEG
                    text = f"{self.p.episode_source_path}: episode {episode.index} cannot be learned from: {error}"
                    raise ConfigError(text, parameter="learner.episode_source_path", code=Code.UNREADABLE) from error
        if not self.p.live:
            self.learner.end_of_data()

    def _partners(self, labels: str, models: str) -> list[str]:
        """Topics of the nodes that the learner depends on."""
        rewarded = self.learner.agent.needs.rewards and not self.p.rewards_given
        return [labels] * self.learner.asks + [models] * rewarded

    def _ask(self) -> None:
        """Without new episodes rounds are made by the clock: an endpoint that is away is not asked over and over."""
        if self.learner.round_due():
            queries = self.learner.make_round()
            if queries.queries:
                self._segments.publish(self.bundle_message(queries.to_bundle()))
            self._report()
            self._more.trigger()
        elif self.learner.stalled:
            text = (
                "the source's episodes leave nothing to ask the teacher about, and without labels nothing is learned: "
                "give more episodes, a smaller segment_length or a larger max_ratings"
            )
            raise ConfigError(text, parameter="learner.episode_source", code=Code.NOT_GIVEN)

    def _await_others(self) -> None:
        """A resumed arm rests until rater and trainer have read their files: a damaged one ends the run before."""
        self._awaited = [topic for topic in self._awaited if not self.count_publishers(topic)]
        if self._awaited:
            self.get_logger().info(f"waiting for {', '.join(self._awaited)}", throttle_duration_sec=10.0)
            return
        self._look_around.cancel()
        self._report()

    def _on_episode(self, message: UInt8MultiArray) -> None:
        self._live.push(Episode.from_bundle(self.bundle_of(message, "episode")))
        for item in unseen(self._live, lambda: self.learner.episodes):
            self.learner.add_episode(item.episode)
            with own_work():
                self._learn_on(item.episode)

    def _learn_on(self, episode: Episode) -> None:
        self._success.see(episode, self.learner.model)
        if self.learner.model is not None:
            self._rewards.publish(rewards_message(self.learner.replay.rewards[-episode.steps :], episode.index))
        if self.learner.round_due():
            self._segments.publish(self.bundle_message(self.learner.make_round().to_bundle()))
        self._report()
        self._more.trigger()
        self._save_now_and_then()

    def _save_now_and_then(self) -> None:
        if self._path and self.learner.clock >= self._next_checkpoint:
            self._next_checkpoint = self.learner.clock + self.p.checkpoint_every
            self._save()

    def _on_evaluation(self, message: UInt8MultiArray) -> None:
        """Judged, never learned from."""
        self._success.see(Episode.from_bundle(self.bundle_of(message, "episode")), self.learner.model)
        stamp = self.get_clock().now().nanoseconds
        self._figures.publish(metrics_message(self.NAME, self._success.figures(), stamp))

    def _on_labels(self, message: UInt8MultiArray) -> None:
        batch = LabelBatch.from_bundle(self.bundle_of(message, "labels"))
        before = self.learner.schedule.done
        useful = self.learner.add_labels(batch)
        if not useful:
            self.get_logger().warning(f"round {batch.round}: no valid rating; asking again later")
            self._stop_if_out_of_ratings()
        if self.learner.schedule.done != before:
            self._round_over(useful)

    def _round_over(self, useful: bool) -> None:
        """Offline the next round follows at once, where this one brought something."""
        if useful and not self.p.live:
            self._ask()
        self._report()
        self._more.trigger()

    def _on_reward_model(self, message: UInt8MultiArray) -> None:
        model = load_reward_model(self.bundle_of(message, "reward_model"))
        if not self.learner.supersedes_current(model):
            return
        useful = False
        try:
            self.learner.set_reward_model(model)
            useful = True
        except (ValueError, RuntimeError) as error:
            self.get_logger().error(f"reward model {model.version} is of no use: {error}")
            self.learner.round_failed(model.info.round - 1)
            self._stop_if_out_of_ratings()
        self._round_over(useful)

    def _work(self) -> None:
        """One chunk of the updates that are due; publishes the actor when an episode's worth is done."""
        learner = self.learner
        if learner.pending_updates < 1:
            self._say_state()
            return
        budget, before = learner.episode_budget(), learner.updates
        metrics = learner.update(self.p.update_chunk)
        mark = not self.p.live and learner.updates // REPORT_EVERY > before // REPORT_EVERY
        if mark or learner.episode_budget() != budget or learner.pending_updates < 1:
            self._metrics = {name: float(metrics[name]) for name in metrics}
            self._report()
        if learner.ended_at is not None:
            self._save_now_and_then()
            self._say_state()
        if learner.pending_updates >= 1:
            self._more.trigger()

    def _say_state(self) -> None:
        """Without a robot side it is the learner that knows when the run is over."""
        if self._state is None:
            return
        learner = self.learner
        waiting = "labels of a teacher" if learner.schedule.waiting else ""
        awaits = Awaited.LABELS if waiting else Awaited.NOBODY
        said = {"node": self.NAME, "state": "finished" if learner.done else "running", "waiting_for": waiting}
        said |= {"awaits": awaits.value}
        said |= {"env_steps": learner.env_steps, "episodes": learner.episodes, "updates": learner.updates}
        self._state.publish(String(data=json.dumps(said)))

    def _report(self) -> None:
        if not self._awaited:
            self._actor.publish(self.bundle_message(self.learner.actor_bundle()))
        stamp = self.get_clock().now().nanoseconds
        figures = self.learner.metrics() | self._metrics | self._success.figures()
        self._figures.publish(metrics_message(self.NAME, figures, stamp))

    def _stop_if_out_of_ratings(self) -> None:
        if self.learner.out_of_ratings:
            text = (
                f"max_ratings ({self.learner.config.max_ratings}) are spent and not one is valid: there is nothing to "
                "learn from. See the log of vlm_rater, then go on with a larger max_ratings"
            )
            raise ConfigError(text, code=Code.NOT_GIVEN, parameter="learner.max_ratings")

    def _resume(self) -> None:
        if self._path is None:
            text = "resume needs checkpoint_dir; set the parameter checkpoint_dir of learner"
            raise CheckpointError(text, code=Code.NOT_GIVEN, parameter="learner.checkpoint_dir")
        learner, source = self.learner, learner_state.find(self.p.checkpoint_dir)
        learner.load_state_dict(learner_state.load(self.p.checkpoint_dir))
        self.get_logger().info(
            f"resumed from {source}: {learner.env_steps} steps, {learner.episodes} episodes, "
            f"{learner.updates} updates, "
            f"{len(learner.replay)} transitions, {learner.schedule.requested} ratings requested"
        )

    def _save(self) -> None:
        if not self.learner.agent.finite():
            raise CheckpointError(
                f"the networks hold numbers that are not finite: {self._path}, if it is there, is left as it was. "
                "Lower the algorithm's learning rates (sac.actor_lr, sac.critic_lr), then continue from it",
                file=str(self._path),
            )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        save_state(self._path, self.learner.state_dict(), learner_state.KIND)

    def on_stop(self) -> None:
        """Leave a checkpoint."""
        if self._path:
            self._save()


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run(LearnerNode, args)


if __name__ == "__main__":
    sys.exit(main())
