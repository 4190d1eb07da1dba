# SPDX-License-Identifier: Apache-2.0
"""Speed of the reward model on one thread, and the memory of a stored transition.

For each image size: seconds of one reward-training call (one pass over the rated images, three networks,
batch 512) and images relabelled per second. "erl" is the package's ERL-VLM ensemble. "plain" is the peer: the
same networks, losses and batches in plain torch, with channels-first floats, whole batches, one module a
member and default Adam. The two take turns in one process. Storage: a replay buffer of rendered episodes.
Last, our default model: training, and relabelling of a whole buffer.

    python benchmarks/reward_throughput.py [--sizes 48 64 84 224] [--rated 1000] [--relabel 2000] [--rounds 3]

For scale, the released ERL-VLM code on a machine of this kind, one thread: a training call on 1,000 rated
images 10 to 18 s at 224 px and 1.4 s at 84 px; relabelling 226 and 2,150 images/s; 150 kB for a stored
transition.

Prints a table and, last, one JSON line.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import nn

from erl_vlm_ros.agents.base import AgentSpec
from erl_vlm_ros.agents.sac_config import SACConfig
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.data.query import Label, LabelBatch
from erl_vlm_ros.data.replay import ReplayBuffer
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.data.spaces import RELEASED_OBSERVATION
from erl_vlm_ros.reward.boundaries import class_boundaries, class_logits, min_max
from erl_vlm_ros.reward.configs import ErlRewardConfig
from erl_vlm_ros.reward.erl_ensemble import ErlRewardEnsemble
from erl_vlm_ros.reward.losses import class_weights, rating_loss, rating_targets
from erl_vlm_ros.reward.networks import CHANNELS, KERNELS, STRIDES, conv_sizes
from erl_vlm_ros.reward.samplers import stratified_batches
from erl_vlm_ros.reward.trainer import RewardTrainer, RewardTrainerConfig
from erl_vlm_ros.sim.env import ArmEnv
from erl_vlm_ros.training.learner import Learner, LearnerConfig

CLASSES = 3


class Side(NamedTuple):
    """A contender at one image size: a training call (images [M, s, s, 3], ratings [M]), and relabelling."""

    train: Callable[[np.ndarray, np.ndarray], None]
    relabel: Callable[[np.ndarray], np.ndarray]


def erl(size: int) -> Side:
    """The package's ERL-VLM ensemble."""
    model = ErlRewardEnsemble(ErlRewardConfig(image_size=size, n_classes=CLASSES, passes=1), seed=0)
    rng = np.random.default_rng(0)
    return Side(lambda images, ratings: model.fit(images[:, None], ratings, rng), model.predict)


def plain(size: int) -> Side:
    """The same in plain torch, organised like the released code."""
    members, config = [], ErlRewardConfig(image_size=size, n_classes=CLASSES)
    for _ in range(config.ensemble):
        layers: list[nn.Module] = []
        for kernel, stride, channels_in, channels_out in zip(KERNELS, STRIDES, CHANNELS[:-1], CHANNELS[1:]):
            layers += [nn.Conv2d(channels_in, channels_out, kernel, stride), nn.ReLU()]
        features = CHANNELS[-1] * conv_sizes(size)[-1] ** 2
        members.append(nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, 1), nn.Tanh()))
    optimiser = torch.optim.Adam([p for member in members for p in member.parameters()], lr=config.lr)
    rng = np.random.default_rng(0)

    def floats(images: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.transpose(images, (0, 3, 1, 2)).astype(np.float32) / 255.0)

    def train(images: np.ndarray, ratings: np.ndarray) -> None:
        weights = class_weights(np.bincount(ratings, minlength=CLASSES))
        plans = [stratified_batches(ratings, config.batch_size, rng) for _ in members]
        for batches in zip(*plans):
            loss = 0.0
            for member, index in zip(members, batches):
                labels = torch.from_numpy(ratings[index])
                scaled = min_max(member(floats(images[index]))[:, 0])
                counts = torch.bincount(labels, minlength=CLASSES)
                logits = class_logits(scaled, class_boundaries(scaled, counts), config.k)
                loss = loss + rating_loss("mae", logits, rating_targets(labels, CLASSES), weights[labels])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    @torch.no_grad()
    def relabel(images: np.ndarray) -> np.ndarray:
        parts = []
        for first in range(0, len(images), 256):
            batch = floats(images[first : first + 256])
            parts.append(np.mean([member(batch)[:, 0].numpy() for member in members], axis=0))
        return np.concatenate(parts)

    return Side(train, relabel)


# A row of the table is a function from an image size to a Side; a new model is one more entry.
ROWS: dict[str, Callable[[int], Side]] = {"erl": erl, "plain": plain}


def measure(size: int, names: list[str], rated: int, relabel: int, rounds: int) -> dict[str, dict[str, float]]:
    """Medians over rounds in which the sides take turns; wall and CPU time apart."""
    rng = np.random.default_rng(size)
    images = rng.integers(0, 256, (max(rated, relabel), size, size, 3), dtype=np.uint8)
    ratings = rng.integers(0, CLASSES, rated)
    sides = {name: ROWS[name](size) for name in names}
    for side in sides.values():
        side.train(images[:64], ratings[:64])
        side.relabel(images[:64])
    clocks: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    for _ in range(rounds):
        for name, side in sides.items():
            held = clocks[name]
            _clock(held, "train", side.train, images[:rated], ratings)
            _clock(held, "relabel", side.relabel, images[:relabel])
    return {name: {key: statistics.median(values) for key, values in held.items()} for name, held in clocks.items()}


def _clock(held: dict[str, list[float]], work: str, call: Callable, *args: np.ndarray) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    call(*args)
    held.setdefault(f"{work}_s", []).append(time.perf_counter() - wall)
    held.setdefault(f"{work}_cpu_s", []).append(time.process_time() - cpu)


def record(task: str, size: int, episodes: int) -> list[Episode]:
    """Rendered episodes of 50 steps of piecewise constant motion."""
    env = ArmEnv(task, image_size=size, render_mode="rgb_array")
    act_dim, rng = env.action_space.shape[0], np.random.default_rng(0)
    recorded = []
    for index in range(episodes):
        observations, actions, jpegs = [env.reset(seed=index)[0]], [], [encode_jpeg(env.render())]
        direction = rng.uniform(-1, 1, act_dim)
        for step in range(50):
            if step % 10 == 0:
                direction = rng.uniform(-1, 1, act_dim)
            actions.append(direction.astype(np.float32))
            observations.append(env.step(direction)[0])
            jpegs.append(encode_jpeg(env.render()))
        arrays = (np.array(observations), np.array(actions), jpegs, np.arange(len(observations)))
        recorded.append(Episode(*arrays, False, True, False, index, 0, -1, RELEASED_OBSERVATION.proprio_size))
    env.close()
    return recorded


def storage(recorded: list[Episode], size: int) -> dict[str, float]:
    """Bytes for a transition of rendered episodes in a replay buffer: its content, and what was allocated."""
    act_dim = recorded[0].actions.shape[1]
    steps = sum(episode.steps for episode in recorded)
    buffer = ReplayBuffer(max(steps, 1), recorded[0].observations.shape[1], act_dim, RELEASED_OBSERVATION.proprio_size)
    jpeg_bytes = sum(len(jpeg) for episode in recorded for jpeg in episode.jpegs)
    tracemalloc.start()
    for episode in recorded:
        # As they arrive over the network: every frame is bytes of its own.
        episode.jpegs = [bytes(bytearray(jpeg)) for jpeg in episode.jpegs]
        buffer.add_episode(episode)
    allocated = tracemalloc.get_traced_memory()[0] / steps
    tracemalloc.stop()
    content = sum(_nbytes(part) for part in buffer.state_dict().values()) / steps
    raw = 2 * 3 * size * size  # two RGB frames a transition, as arrays
    figures = {
        "bytes": content,
        "bytes_allocated": allocated,
        "jpeg_bytes": jpeg_bytes / steps,
        "bytes_as_arrays": raw,
    }
    return {key: round(value, 1) for key, value in figures.items()}


def default_model(recorded: list[Episode], transitions: int, rated: int) -> dict[str, float]:
    """Our default on a buffer of ``transitions``: training and relabelling, with a new trunk or new heads."""
    act_dim = recorded[0].actions.shape[1]
    sizes = (RELEASED_OBSERVATION.size, act_dim)
    agent, prop_dim = AgentSpec("sac", SACConfig(*sizes)), recorded[0].prop_dim
    learner = Learner(LearnerConfig(agent, *sizes, prop_dim, capacity=transitions), seed=0)
    trainer, rng = RewardTrainer(RewardTrainerConfig(), seed=0), np.random.default_rng(0)
    for index in range(transitions // recorded[0].steps):
        episode = dataclasses.replace(recorded[index % len(recorded)], index=index)
        learner.add_episode(episode)
        if index < 4 * len(recorded):
            trainer.add_episode(episode)
    segments = []
    for i in range(rated):
        source, t = recorded[int(rng.integers(len(recorded)))], int(rng.integers(1, recorded[0].steps + 1))
        segments.append(Segment(f"r{i}", [source.jpegs[t]], source.observations[t : t + 1, : source.prop_dim],
                                source.actions[t - 1 : t], source.stamps[t : t + 1]))  # fmt: skip
    ratings = [Label.of(s, int(rng.integers(5)), "") for s in segments]
    trainer.add_labels(LabelBatch(0, 5, rated, ratings))
    figures: dict[str, float] = {"transitions": len(learner.replay), "rated": rated}
    for name in ("new_trunk", "new_heads"):
        started = time.perf_counter()
        model = trainer.train()
        figures[f"train_{name}_s"] = time.perf_counter() - started
        started = time.perf_counter()
        learner.set_reward_model(model)
        figures[f"relabel_{name}_s"] = time.perf_counter() - started
    return {key: round(value, 3) for key, value in figures.items()}


def _nbytes(part: object) -> int:
    if isinstance(part, dict):
        return sum(_nbytes(value) for value in part.values())
    return part.nbytes if isinstance(part, np.ndarray) else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[48, 64, 84, 224], help="px")
    parser.add_argument("--rows", nargs="+", choices=sorted(ROWS), default=list(ROWS))
    parser.add_argument("--rated", type=int, default=1000, help="rated images of a training call")
    parser.add_argument("--relabel", type=int, default=2000, help="images of a relabelling")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--task", default="drawer_open", help="whose frames fill the replay buffer")
    parser.add_argument("--stored-size", type=int, default=128, help="side of the stored frames, px")
    parser.add_argument("--transitions", type=int, default=100_000, help="buffer that our default relabels; 0: none")
    parser.add_argument("--episodes", type=int, default=20, help="stored episodes of 50 steps")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)

    results: dict[str, dict[str, dict[str, float]]] = {}
    print(f"{'size':>5} {'row':<8}{'train call s':>13}{'CPU s':>8}{'relabel img/s':>15}{'per CPU s':>11}")
    for size in args.sizes:
        rows = measure(size, args.rows, args.labels, args.relabel, args.rounds)
        for name, row in rows.items():
            row["relabel_images_per_s"] = args.relabel / row["relabel_s"]
            per_cpu = args.relabel / row["relabel_cpu_s"]
            print(
                f"{size:>5} {name:<8}{row['train_s']:>13.2f}{row['train_cpu_s']:>8.2f}"
                f"{row['relabel_images_per_s']:>15.0f}{per_cpu:>11.0f}",
                flush=True,
            )
        results[str(size)] = {name: {key: round(v, 4) for key, v in row.items()} for name, row in rows.items()}
    recorded = record(args.task, args.stored_size, args.episodes)
    stored = storage(recorded, args.stored_size)
    kilo = {key: value / 1000 for key, value in stored.items()}
    print(
        f"stored transition ({args.task}, {args.stored_size} px): {kilo['bytes']:.2f} kB, of which the frame "
        f"{kilo['jpeg_bytes']:.2f}; allocated {kilo['bytes_allocated']:.2f}; as two RGB arrays "
        f"{kilo['bytes_as_arrays']:.1f}"
    )
    ours = default_model(recorded, args.transitions, args.labels) if args.transitions else {}
    if ours:
        print(
            f"our default, {ours['transitions']} stored transitions, {args.labels} ratings: train with a new "
            f"trunk {ours['train_new_trunk_s']:.2f} s, heads only {ours['train_new_heads_s']:.2f} s; relabel "
            f"with a new trunk {ours['relabel_new_trunk_s']:.2f} s, heads {ours['relabel_new_heads_s']:.2f} s"
        )
    machine = {"cpu": platform.processor() or platform.machine(), "torch": torch.__version__, "threads": 1}
    amounts = {"rated": args.labels, "relabel": args.relabel, "rounds": args.rounds}
    print(
        json.dumps(
            {
                "benchmark": "reward",
                **amounts,
                "sizes": results,
                "storage": stored,
                "default": ours,
                "machine": machine,
            }
        )
    )


if __name__ == "__main__":
    main()
