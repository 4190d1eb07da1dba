# SPDX-License-Identifier: Apache-2.0
"""What benchmarks/papers.py can run: rows of named tables, with the numbers that the papers print."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# success % against steps, ERL-VLM's own and its re-run of RL-VLM-F, read off its figures (about 3 points)
ERL_VLM = {
    "drawer-open": {100_000: 58, 250_000: 67, 500_000: 84, 750_000: 97, 1_000_000: 96},
    "sweep-into": {100_000: 11, 250_000: 21, 500_000: 34, 750_000: 47, 1_000_000: 77},
    "soccer": {100_000: 45, 250_000: 75, 500_000: 90, 750_000: 85, 1_000_000: 99},
}
RL_VLM_F = {
    "drawer-open": {100_000: 84, 250_000: 93, 500_000: 96, 750_000: 92, 1_000_000: 91},
    "sweep-into": {100_000: 12, 250_000: 20, 500_000: 23, 750_000: 10, 1_000_000: 5},
    "soccer": {100_000: 62, 250_000: 70, 500_000: 46, 750_000: 52, 1_000_000: 52},
}
DENSE = {"drawer-open": {1_000_000: 100}, "sweep-into": {1_000_000: 100}, "soccer": {1_000_000: 100}}
# final % at a million steps of the paper's ablations
ABLATIONS = {
    "erl_vlm": {"drawer-open": 96, "sweep-into": 77},
    "no_mae": {"drawer-open": 84, "sweep-into": 2},
    "no_stratified_no_weights": {"drawer-open": 76, "sweep-into": 52},
    "vanilla_rbrl": {"drawer-open": 12, "sweep-into": 4},
}
# SAC on the true dense reward, stock v3 with random placements: public curves
STOCK_DENSE = {
    "drawer-open": {100_000: 0, 1_000_000: 50},
    "sweep-into": {100_000: 50, 1_000_000: 100},
    "soccer": {100_000: 7, 1_000_000: 10},
}

_ERL = {"reward_model": "erl_vlm"}  # its loss and its choice of batches; "ours": trunk and heads
REWARD_MODELS: dict[str, dict[str, Any]] = {
    "ours": {},
    "erl_vlm": _ERL,
    "no_mae": _ERL | {"erl.loss": "ce"},
    "no_stratified": _ERL | {"erl.stratified": False},
    "no_weights": _ERL | {"erl.class_weights": False},
    "no_stratified_no_weights": _ERL | {"erl.stratified": False, "erl.class_weights": False},
    "vanilla_rbrl": _ERL | {"erl.loss": "ce", "erl.stratified": False, "erl.class_weights": False},
}
#: one step of ours is four of MetaWorld's; queries: 150, then 50 every 500 steps
LEARNER = {"warmup_steps": 1000, "max_warmup_steps": 2500, "first_ratings": 150, "round_ratings": 50}
#: no choice of frames but chance, and no waypoints once the policy acts: what of the papers' recipe can be had here
PAPERS_CHOICE = {
    "learner": {"selection.bins_share": 0.0, "selection.novelty_share": 0.0, "selection.top_share": 0.0},
    "policy_controller": {
        "exploration.object_share": 0.0, "exploration.prefix_share": 0.0, "exploration.burst_share": 0.0,
        "exploration.drift_share": 0.0,
    },
}  # fmt: skip

#: RL-VLM-F asks which of two frames is better. Its CNN learns from ratings alone here: these are heads on our trunk
RL_VLM_F_FEEDBACK = {
    "reward": {"feedback": "preference"},
    "learner": {"feedback": "preference", "selection.pairs": "uniform"},
}


@dataclass(frozen=True)
class Row:
    """One row of a table: a task, what rewards, what is set, and what the papers print for it.

    steps: MetaWorld's own control steps, or MiniGrid's. source: model (ratings), sparse or dense (the world's
    truth). demos: episodes of the world's own expert, disturbed, before all else. paper: (whose, steps -> success %).
    """

    name: str
    task: str
    text: str
    steps: int
    queries: int = 500
    source: str = "model"
    reward: dict[str, Any] = field(default_factory=dict)
    learner: dict[str, Any] = field(default_factory=dict)
    controller: dict[str, Any] = field(default_factory=dict)
    demos: int = 0
    eval_every: int = 2000
    eval_episodes: int = 1
    paper: tuple[tuple[str, dict[int, float]], ...] = ()
    probed: bool = False  # whether each evaluation also judges the reward model on held-out frames


def _paper_rows(scene: str, steps: int) -> list[Row]:
    """The papers' set-up of a scene, in which start and policy are deterministic: an evaluation is one episode."""
    task = f"metaworld/{scene}-v3-paper"
    printed = (("ERL-VLM", ERL_VLM[scene]), ("RL-VLM-F", RL_VLM_F[scene]))
    return [
        Row(f"{scene}/ours", task, "ratings of images, trunk and heads", steps, paper=printed),
        Row(f"{scene}/ours-100k", task, "the same, a tenth of the paper's steps and queries", 100_000, 1000,
            eval_every=5000, paper=printed),
        Row(f"{scene}/erl_vlm", task, "ratings of images, the paper's reward model", steps,
            reward=REWARD_MODELS["erl_vlm"], paper=printed),
        Row(f"{scene}/sparse", task, "true sparse reward", steps, 0, "sparse"),
        Row(f"{scene}/dense", task, "true dense reward", steps, 0, "dense", paper=(("dense", DENSE[scene]),)),
    ]  # fmt: skip


def _stock_rows(scene: str, steps: int) -> list[Row]:
    """Random placements: an evaluation is 20 of them."""
    task, common = f"metaworld/{scene}-v3", {"eval_every": 10_000, "eval_episodes": 20}
    return [
        Row(f"{scene}/stock-ours", task, "ratings of images, random placements", steps, **common),
        Row(f"{scene}/stock-demos", task, "ratings of images, 20 rough demonstrations", steps, demos=20, **common),
        Row(f"{scene}/stock-erl_vlm", task, "the paper's reward model, frames by chance, demonstrations", steps,
            reward=REWARD_MODELS["erl_vlm"], learner=PAPERS_CHOICE["learner"], demos=20, **common),
        Row(f"{scene}/stock-rl_vlm_f", task, "comparisons of pairs by chance, demonstrations", steps,
            demos=20, **RL_VLM_F_FEEDBACK, **common),
        Row(f"{scene}/stock-dense", task, "true dense reward, random placements", steps, 0, "dense",
            paper=(("SAC", STOCK_DENSE[scene]),), **common),
    ]  # fmt: skip


def _ablation_rows(scene: str, steps: int) -> list[Row]:
    return [
        Row(f"{scene}/{name}", f"metaworld/{scene}-v3-paper", f"reward model {name}, frames chosen by chance", steps,
            reward=REWARD_MODELS[name], learner=PAPERS_CHOICE["learner"], probed=True,
            paper=(("ERL-VLM", {1_000_000: ABLATIONS[name][scene]}),) if name in ABLATIONS else ())
        for name in REWARD_MODELS
    ]  # fmt: skip


def _parity_rows(scene: str, steps: int) -> list[Row]:
    """What of the papers' recipes can be had here: reward model, SAC, frames or pairs by chance, waypoints at first."""
    task, erl, f = f"metaworld/{scene}-v3-paper", REWARD_MODELS["erl_vlm"], RL_VLM_F_FEEDBACK
    common = {"controller": PAPERS_CHOICE["policy_controller"], "paper": (("ERL-VLM", ERL_VLM[scene]),)}
    theirs = common | {"paper": (("RL-VLM-F", RL_VLM_F[scene]),)}
    sac = {"profile": "erl_vlm_parity"}
    return [
        Row(f"{scene}/parity-our-sac", task, "the paper's reward model and choice of frames, our SAC", steps,
            reward=erl, learner=PAPERS_CHOICE["learner"], **common),
        Row(f"{scene}/rl_vlm_f-our-sac", task, "comparisons of pairs by chance, our networks and SAC", steps,
            **f, **theirs),
        Row(f"{scene}/parity", task, "the paper's reward model, choice of frames and SAC", steps,
            reward=erl, learner=PAPERS_CHOICE["learner"] | sac, **common),
        Row(f"{scene}/rl_vlm_f", task, "comparisons of pairs by chance, our networks, the papers' SAC", steps,
            reward=f["reward"], learner=f["learner"] | sac, **theirs),
    ]  # fmt: skip


#: settings of IQL stand in the task file; networks, learning rate and Polyak share suit 5,000 steps
LANGUAGE = {
    "feedback": "transitions", "warmup_steps": 1000, "max_warmup_steps": 2000, "first_ratings": 400,
    "round_ratings": 140, "round_steps": 500, "updates_per_step": 0.75, "iql.hidden": [64, 64], "iql.tau": 0.02,
}  # fmt: skip
#: what the paper has for ALFRED
PAPERS_IQL = {"iql.expectile": 0.5, "iql.beta": 5.0, "iql.normalise_advantages": False}
#: the image trunk learns little of a few grids; these take a third of the default's time
LANGUAGE_REWARD = {
    "feedback": "transitions",
    "trunk.first_iterations": 200,
    "trunk.iterations": 50,
    "trunk.growth": 1.5,
}
#: bursts of any move, as long as these episodes allow
ANY_MOVE = {"exploration.prefix_share": 0.25, "exploration.prefix_steps": [1, 6], "exploration.burst_share": 0.0}
# success % of ERL-VLM and of the sparse environment reward on ALFRED at 500,000 steps: Pickup, Put, Cool, Clean
ALFRED = (("ERL-VLM", {500_000: 98.75}), ("sparse", {500_000: 89.75}))


def _language_rows(scene: str, steps: int) -> list[Row]:
    """One policy of three missions, as the paper's over 20 instructions; 3 demonstrations a mission for both."""
    common = {"eval_every": 2500, "eval_episodes": 60, "controller": ANY_MOVE, "demos": 9}
    theirs, common = common | {"learner": LANGUAGE | PAPERS_IQL}, common | {"learner": LANGUAGE}
    task = f"minigrid/{scene}"
    return [
        Row(f"{scene}/ratings", task, "ratings of each transition", steps, 1500, reward=LANGUAGE_REWARD,
            paper=ALFRED[:1], **common),
        Row(f"{scene}/sparse", task, "true sparse reward", steps, 0, "sparse", paper=ALFRED[1:], **common),
        Row(f"{scene}/dense", task, "true nearness", steps, 0, "dense", **common),
        Row(f"{scene}/ratings-paper-iql", task, "ratings of each transition, the paper's IQL", steps, 1500,
            reward=LANGUAGE_REWARD, paper=ALFRED[:1], **theirs),
        Row(f"{scene}/sparse-paper-iql", task, "true sparse reward, the paper's IQL", steps, 0, "sparse",
            paper=ALFRED[1:], **theirs),
    ]  # fmt: skip


TABLES: dict[str, list[Row]] = {
    "language": [row for scene in ("three-5x5", "three-6x6", "three-8x8") for row in _language_rows(scene, 5000)],
    "metaworld": [row for scene in ERL_VLM for row in _paper_rows(scene, 20_000)],
    "stock": [row for scene in ERL_VLM for row in _stock_rows(scene, 100_000)],
    "parity": [row for scene in ERL_VLM for row in _parity_rows(scene, 20_000)],
    "ablations": [row for scene in ("drawer-open", "sweep-into") for row in _ablation_rows(scene, 20_000)],
}
