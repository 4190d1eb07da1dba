# SPDX-License-Identifier: Apache-2.0
"""What a graph is told of recordings: offline they are all there is, online they fill the buffer at the beginning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from erl_vlm_ros.agents.base import Needs, needs_of
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.dataset import Survey
from erl_vlm_ros.data.sources import EVERY
from erl_vlm_ros.data.spaces import GRIPPER, run_spaces
from erl_vlm_ros.feedback.kinds import BOTH, RATING, kinds_named
from erl_vlm_ros.graphs.robot import robot_of
from erl_vlm_ros.graphs.sides import ROBOT, side_of
from erl_vlm_ros.graphs.spec import DataOptions, Graph, RunArguments
from erl_vlm_ros.params.layers import EVERY_NODE
from erl_vlm_ros.params.shared import shared_values
from erl_vlm_ros.params.tables import PARAMETERS

SIM, REAL = "sim", "real"  # where a policy from recordings is evaluated
EPISODES = 20  # of that evaluation in simulation
RATINGS, FIRST, LATER = 300, 150, 50  # measured with 50 episodes: docs/offline.md
COMPARISONS = 1000  # of whole episodes, for a policy straight from them
ROUND_BYTES = 32_000_000  # of their images, in one round; bundles may hold 256 MB
COMPARED_UPDATES, SHOWN = 3400, 3  # updates after these comparisons; frames shown of each episode
_FIXED = ("algorithm", "episode_source", "episode_source_path", "live")  # by the run's own options
_LONGEST = next(int(param.high) for param in PARAMETERS["learner"] if param.name == "segment_length")


def needs_by(data: DataOptions) -> Needs:
    """What the algorithm of an offline run needs. ConfigError: no or an unknown one, or feedback it has no use for."""
    if not data.dataset:
        raise ConfigError(
            "train_offline needs --dataset DIR (see erl-vlm dataset)", parameter="dataset", code=Code.NOT_GIVEN
        )
    if not data.algorithm:
        raise ConfigError(
            "train_offline needs --algorithm: iql, cpl, bc or bc_rated", parameter="algorithm", code=Code.NOT_GIVEN
        )
    needs = needs_of(data.algorithm)
    if data.feedback and not (needs.rewards or needs.labels):
        text = f"--feedback {data.feedback}: {data.algorithm} asks nothing; leave it away"
        raise ConfigError(text, parameter="feedback", code=Code.DOES_NOT_FIT)
    return needs


def learning_nodes(needs: Needs) -> tuple[str, ...]:
    """The nodes that an algorithm learns with, monitor apart."""
    rater = ("vlm_rater",) * (needs.rewards or needs.labels)
    return ("learner", *("reward_trainer",) * needs.rewards, *rater)


def offline_values(arguments: RunArguments, needs: Needs, found: Survey) -> dict[str, dict[str, Any]]:
    """Parameters that follow from the recordings and the algorithm: node -> parameter -> value.

    The budgets of a task file are for a policy that explores, and do not hold here.

    Raises:
        ConfigError: a parameter is set that belongs to one of the run's options.
    """
    data = arguments.data
    for key in _FIXED:
        if key in arguments.overrides.get("learner", {}):
            raise ConfigError(
                f"--set learner.{key}: train_offline has --algorithm and --dataset for that; use these",
                parameter=f"learner.{key}",
            )
    learner: dict[str, Any] = {"algorithm": data.algorithm, **source_of(data.dataset, found)}
    learner["episode_source_keep"] = data.keep or EVERY
    out: dict[str, dict[str, Any]] = {"learner": learner, "monitor": {}}
    learner["max_ratings"] = 0
    if needs.rewards or needs.labels:
        learner |= {"max_ratings": RATINGS, "first_ratings": FIRST, "round_ratings": LATER}
        kind = data.feedback or needs.feedback or RATING.name
        out["vlm_rater"] = {"feedback": kind}
        if needs.labels and any(
            k.size == 2 for k in kinds_named(kind)
        ):  # what happens in an episode is compared, not how it ends
            length = min(found.shortest, _LONGEST)
            learner |= {"max_ratings": COMPARISONS, "offline_updates": COMPARED_UPDATES}
            learner |= {"segment_length": length, "selection.pairs": "uniform"}
            learner |= dict.fromkeys(("first_ratings", "round_ratings"), _round(2 * length * found.frame_bytes))
            out["vlm_rater"]["shown_frames"] = SHOWN
    if data.updates is not None:
        learner["offline_updates"] = data.updates
    if robot_of(arguments) is None and found.spaces is not None:
        out[EVERY_NODE] = _arm_of(found)
    return out


def _round(query_bytes: int) -> int:
    """Comparisons asked for at once: a round is one message, which has to fit into every queue that it passes."""
    return min(max(ROUND_BYTES // query_bytes, 1), COMPARISONS)


def source_of(path: str, found: Survey) -> dict[str, Any]:
    """The learner's parameters for a dataset; its buffer holds all of it."""
    capacity = next(param.default for param in PARAMETERS["learner"] if param.name == "capacity")
    values = {"episode_source": "dataset", "episode_source_path": str(Path(path).resolve())}
    return values | ({"capacity": 2 * found.steps} if 2 * found.steps > capacity else {})


def demonstrations(path: str, found: Survey) -> dict[str, dict[str, Any]]:
    """Parameters for a run whose buffer the dataset at ``path`` fills first."""
    learner = {**source_of(path, found), "demonstrations": True}
    return {"learner": learner, "monitor": {"recorded_episodes": found.episodes}}


def check_recordings(graph: Graph, found: Survey) -> None:
    """Refuse a dataset of other spaces than the graph's nodes have. ConfigError names both.

    Where the joints are those of a URDF that is yet to come, the node judges.
    """
    rater = graph.find("vlm_rater")
    if rater is not None and rater.parameters["teacher"] == "scripted":
        text = f"vlm_rater.teacher is scripted, which knows nothing of the recordings in {found.path}: choose another"
        raise ConfigError(text, parameter="vlm_rater.teacher", code=Code.DOES_NOT_FIT)
    values = graph.node("learner").parameters
    if values["joint_names"] is not None:
        found.require(run_spaces(values, load_task(values["task"])))


def check_feedback(nodes: Mapping[str, Mapping[str, Any]]) -> None:
    """An algorithm that learns from one kind of feedback alone is not given another. ConfigError names both."""
    if "vlm_rater" not in nodes or "learner" not in nodes:
        return
    algorithm, kind = nodes["learner"]["algorithm"], nodes["vlm_rater"]["feedback"]
    needed = needs_of(algorithm).feedback if ":" not in algorithm else ""  # of another package: its own to say
    if needed and kind != needed:
        text = f"learner.algorithm {algorithm} learns from {needed}s, but vlm_rater.feedback is {kind}"
        raise ConfigError(text, parameter="vlm_rater.feedback", code=Code.DOES_NOT_FIT)
    if kind == BOTH and nodes.get("reward_trainer", {}).get("reward_model") == "erl_vlm":
        text = (
            "the reward model erl_vlm learns from ratings alone, but vlm_rater.feedback is both: set "
            "reward_trainer.reward_model to trunk_heads, or feedback to rating"
        )
        raise ConfigError(text, parameter="reward_trainer.reward_model", code=Code.DOES_NOT_FIT)


def split_sides(overrides: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """--set for the nodes of an offline run, and for those of its evaluation, with what both must know alike."""
    here = {node: values for node, values in overrides.items() if side_of(node) != ROBOT}
    there = {node: values for node, values in overrides.items() if side_of(node) == ROBOT}
    shared = {**overrides.get(EVERY_NODE, {}), **shared_values([("--set", overrides)])}
    return here, there | ({EVERY_NODE: shared} if shared else {})


def _arm_of(found: Survey) -> dict[str, Any]:
    """Facts of the arm that a dataset's spaces tell, where no robot file does."""
    seen, done = found.spaces.observation, found.spaces.action
    facts: dict[str, Any] = {}
    if seen.joint_names:
        facts["joint_names"] = list(seen.joint_names)
    if GRIPPER in done:
        facts["gripper_max"] = done.part(GRIPPER).scale
    return facts
