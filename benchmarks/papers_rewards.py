# SPDX-License-Identifier: Apache-2.0
"""The ERL-VLM paper's ablations of its reward model on equal ratings of equal frames: no policy stands between.

    python benchmarks/papers_rewards.py --seeds 1 2 3 --out rewards.jsonl
    python benchmarks/papers_rewards.py --report --out rewards.jsonl

For a scene and a seed: 24 episodes, 22 of exploration and 2 of the rough demonstrator, in random order; 500 of their
frames, drawn by chance as the paper does, rated by the truth with 20% errors. Every reward model is fitted four
times, after 150 to 500 of these ratings, going on from fit to fit as in a run, and judged on frames of other drives
(benchmarks/papers_probe.py). Up to 512 ratings are ONE batch of the paper's size, where stratified batches are no
others than uniform ones: --batch 64 makes eight. Images have 48 px, for speed (a run's: 84). Prints a table and one
JSON line; what --out holds is not run again.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("LP_NUM_THREADS", "1")  # of the software renderer

import numpy as np
from papers_probe import HeldOut, driven
from papers_report import HELD_OUT
from papers_tables import REWARD_MODELS
from resumable import gather

EPISODES, RATINGS, ERRORS = 24, 500, 0.2
ROUNDS = (150, 250, 350, 500)  # ratings by each fit
LAST = 2  # fits whose figures are averaged
SIDE = 48  # px
PAPERS = [name for name in REWARD_MODELS if name != "ours"]
NAMES = {"classed": "classed rightly", "ordered": "ordered", "corr": "correlation", "top_error": "error at the top"}


def main() -> None:
    """Fit what is missing, print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", nargs="+", default=["drawer-open", "sweep-into"])
    parser.add_argument("--models", nargs="+", default=PAPERS, choices=list(REWARD_MODELS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--demos", nargs="+", type=int, default=[2], help="of the 24 episodes")
    parser.add_argument("--batch", nargs="+", type=int, default=[64], help="reward_trainer.erl.batch_size")
    parser.add_argument("--out", type=Path, help="JSON lines, one a reward model; kept and continued")
    parser.add_argument("--report", action="store_true", help="fit nothing; print what --out holds")
    args = parser.parse_args()
    combinations = itertools.product(args.demos, args.seeds, args.scenes, args.batch, args.models)
    wanted = {
        key(scene, name, seed, demos, batch): (scene, name, seed, demos, batch)
        for demos, seed, scene, batch, name in combinations  # those of the same ratings one after another
    }
    done = gather(wanted, args.out, lambda job: one(*job), json.dumps, report=args.report)
    rows = [
        (scene, demos, batch, name, runs)
        for scene in args.scenes for demos in args.demos for batch in args.batch for name in args.models
        if (runs := [found for seed in args.seeds if (found := done[key(scene, name, seed, demos, batch)])])
    ]  # fmt: skip
    print(table(rows))
    figures = [
        {"scene": s, "demos": d, "batch": b, "model": n} | {f: [r[f] for r in runs] for f in ("seed", *HELD_OUT)}
        for s, d, b, n, runs in rows
    ]
    print(json.dumps({"benchmark": "papers_rewards", "error_rate": ERRORS, "rows": figures}))


def key(scene: str, name: str, seed: int, demos: int, batch: int) -> str:
    """What a line is told by; the batch is of the paper's model alone."""
    return f"{scene} {name} {seed} {demos} {0 if name == 'ours' else batch}"


def one(scene: str, name: str, seed: int, demos: int, batch: int) -> dict[str, Any]:
    """A line of --out."""
    rated = rated_frames(f"metaworld/{scene}-v3-paper", seed, demos)
    return {"key": key(scene, name, seed, demos, batch), "seed": seed, **fitted(rated, name, seed, batch)}


@dataclass
class Rated:
    """Frames of one seed with their ratings, in the order of rating."""

    task: Any
    spaces: Any
    episodes: list[Any]
    jpegs: list[bytes]
    proprio: np.ndarray
    truth: np.ndarray
    ratings: np.ndarray
    held_out: HeldOut

    @classmethod
    def of(cls, name: str, seed: int, demos: int, judges: dict[str, HeldOut]) -> Rated:
        """Drive the episodes of a task and rate frames of them. ``judges``: held-out frames by task, kept."""
        from erl_vlm_ros.agents.exploration_choice import rollout_policy
        from erl_vlm_ros.common.tasks import load_task
        from erl_vlm_ros.sim.backend import backend_spaces, make_backend
        from erl_vlm_ros.sim.demonstrator import rough_demonstrator
        from erl_vlm_ros.training.configs import exploration_config, node_values

        task = load_task(name)
        arm = make_backend("", task, (128, 128))
        spaces, rng = backend_spaces(arm, task, 128), np.random.default_rng(seed)
        exploration = exploration_config(node_values("policy_controller", task, {}))
        if name not in judges:
            judges[name] = HeldOut(arm, task, spaces, exploration)
        explorer = rollout_policy(exploration, task, spaces, seed + 3)
        taught = set(rng.permutation(EPISODES)[:demos].tolist())
        episodes, classes = [], []
        for i in range(EPISODES):
            demo = rough_demonstrator(task, seed, i) if i in taught else None
            done = driven(arm, task, spaces, explorer, demo, seed * 1000 + i, i, evaluation=False)
            episodes.append(done.episode)
            classes.append(done.classes[:, task.n_classes])
        arm.close()
        truth, size = np.concatenate(classes), spaces.observation.proprio_size
        chosen = rng.permutation(len(truth))[:RATINGS]
        wrong = rng.random(RATINGS) < ERRORS
        other = (truth[chosen] + rng.integers(1, task.n_classes, RATINGS)) % task.n_classes
        jpegs = [jpeg for episode in episodes for jpeg in episode.jpegs]
        proprio = np.concatenate([episode.observations[:, :size] for episode in episodes])
        ratings = np.where(wrong, other, truth[chosen])
        rated = [jpegs[i] for i in chosen], proprio[chosen], truth[chosen], ratings
        return cls(task, spaces, episodes, *rated, judges[name])


_judges: dict[str, HeldOut] = {}


@functools.lru_cache(maxsize=1)
def rated_frames(name: str, seed: int, demos: int) -> Rated:
    """As Rated.of; the newest are kept, for the reward models that learn from the same."""
    return Rated.of(name, seed, demos, _judges)


def fitted(rated: Rated, name: str, seed: int, batch: int) -> dict[str, Any]:
    """The figures of one reward model, means of its last fits, and those after each."""
    import time

    import torch

    from erl_vlm_ros.data.views import decode_views
    from erl_vlm_ros.reward.models import REWARD_MODELS as TRAINERS
    from erl_vlm_ros.reward.models.base import LabelSet
    from erl_vlm_ros.training.configs import node_values, reward_config

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    given = REWARD_MODELS[name] | ({} if name == "ours" else {"erl.batch_size": batch, "erl.image_size": SIDE})
    config = reward_config(node_values("reward_trainer", rated.task, given), rated.task, rated.spaces)
    started = time.process_time()
    trainer = TRAINERS.load(config.reward_model)(config, seed)
    for episode in rated.episodes:
        trainer.add_episode(episode)
    images = decode_views(rated.jpegs, trainer.image_size)[:, None]
    proprio, history, model = rated.proprio[:, None].astype(np.float32), [], None
    for count in ROUNDS:
        classes = rated.ratings[:count].astype(np.int64)
        soft = np.eye(config.n_classes, dtype=np.float32)[classes]
        labels = LabelSet(images[:count], proprio[:count], classes, soft, np.zeros(count, bool))
        model, _ = trainer.fit(labels, len(history) + 1, model)
        history.append({"ratings": count, **rated.held_out(model)})
    means = {figure: round(float(np.mean([h[figure] for h in history[-LAST:]])), 4) for figure in HELD_OUT}
    counts = np.bincount(rated.truth, minlength=config.n_classes).tolist()
    cpu = round(time.process_time() - started, 1)
    return {"model": name, "truth": counts, **means, "cpu_s": cpu, "history": history}


def table(rows: list[tuple[str, int, int, str, list[dict[str, Any]]]]) -> str:
    """Markdown: a value a seed, then their mean."""
    head = ["scene", "demonstrations", "batch", "reward model", "seeds", *NAMES.values()]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for scene, demos, batch, name, runs in rows:
        cells = [scene, str(demos), "-" if name == "ours" else str(batch), name]
        cells.append(" / ".join(str(run["seed"]) for run in runs))
        for figure in NAMES:
            values = [run[figure] for run in runs]
            cells.append(" / ".join(f"{v:.2f}" for v in values) + f", {np.mean(values):.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
