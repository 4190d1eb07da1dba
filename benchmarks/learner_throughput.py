# SPDX-License-Identifier: Apache-2.0
"""SAC updates per second against Stable-Baselines3, at equal sizes, in one process on one thread.

Both sample from their own replay buffer and do one critic, actor, temperature and target update a batch; both
have plain critics (SB3 has no LayerNorm), 19 observations and 3 actions in float32. Rounds alternate, so that
a busy machine slows both; medians over rounds are reported, wall time and CPU time apart.

    python benchmarks/learner_throughput.py [--rounds 9] [--updates 100] [--sizes 256x256:256 128x128:128]

Prints a table and, last, one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from erl_vlm_ros.agents.sac import SAC
from erl_vlm_ros.agents.sac_config import SACConfig
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.replay import ReplayBuffer

OBS, ACT, STEPS, STORED = 19, 3, 50, 10_000


def episodes(seed: int = 0) -> list[Episode]:
    """Random transitions, the same for both sides."""
    rng = np.random.default_rng(seed)
    return [
        Episode(
            observations=rng.normal(size=(STEPS + 1, OBS)),
            actions=rng.uniform(-1, 1, (STEPS, ACT)),
            jpegs=[b""] * (STEPS + 1),
            stamps=np.arange(STEPS + 1),
            terminated=False,
            truncated=True,
            evaluation=False,
            index=index,
            actor_version=0,
            seed=-1,
            prop_dim=10,
        )
        for index in range(STORED // STEPS)
    ]


def ours(hidden: list[int], batch: int, layer_norm: bool) -> Callable[[int], None]:
    """A function that does n updates."""
    sac = SAC(SACConfig(OBS, ACT, hidden=tuple(hidden), batch_size=batch, critic_layer_norm=layer_norm), seed=0)
    replay, rng = ReplayBuffer(STORED, OBS, ACT, 10), np.random.default_rng(0)
    for episode in episodes():
        replay.add_episode(episode, rng.normal(size=STEPS))

    def train(count: int) -> None:
        for _ in range(count):
            sac.update(replay.sample(batch, rng))

    return train


def theirs(hidden: list[int], batch: int) -> Callable[[int], None]:
    """The same for Stable-Baselines3: its own buffer and its own train()."""
    try:
        import gymnasium
        import stable_baselines3
        from stable_baselines3.common.logger import Logger
    except ImportError as error:
        sys.exit(f"{error}: this comparison needs Stable-Baselines3: pip install stable-baselines3")

    class Spaces(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (OBS,), np.float32)
        action_space = gymnasium.spaces.Box(-1, 1, (ACT,), np.float32)

        def reset(self, *, seed=None, options=None):
            return np.zeros(OBS, np.float32), {}

        def step(self, action):
            return np.zeros(OBS, np.float32), 0.0, False, False, {}

    model = stable_baselines3.SAC(
        "MlpPolicy", Spaces(), batch_size=batch, buffer_size=STORED, seed=0, device="cpu",
        policy_kwargs={"net_arch": list(hidden)},
    )  # fmt: skip
    model.set_logger(Logger(folder=None, output_formats=[]))
    rng = np.random.default_rng(0)
    for episode in episodes():
        for t in range(STEPS):
            model.replay_buffer.add(
                episode.observations[t], episode.observations[t + 1], episode.actions[t],
                rng.normal(), np.array([False]), [{}],
            )  # fmt: skip
    return lambda count: model.train(gradient_steps=count, batch_size=batch)


def measure(sides: dict[str, Callable[[int], None]], rounds: int, updates: int) -> dict[str, dict[str, list[float]]]:
    """Seconds an update, by side and clock, for each round; the sides take turns."""
    seconds = {name: {"wall": [], "cpu": []} for name in sides}
    for train in sides.values():
        train(max(10, updates // 5))
    for _ in range(rounds):
        for name, train in sides.items():
            wall, cpu = time.perf_counter(), time.process_time()
            train(updates)
            seconds[name]["wall"].append((time.perf_counter() - wall) / updates)
            seconds[name]["cpu"].append((time.process_time() - cpu) / updates)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--updates", type=int, default=100, help="per side and round")
    parser.add_argument("--sizes", nargs="+", default=["256x256:256", "128x128:128"], help="hidden layers:batch")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)

    results = {}
    print(
        f"{'hidden:batch':<14}{'ours /s':>9}{'+LayerNorm /s':>15}{'SB3 /s':>9}"
        f"{'ratio wall':>12}{'ratio CPU':>11}{'lowest':>8}{'highest':>9}"
    )
    for size in args.sizes:
        hidden, batch = [int(h) for h in size.split(":")[0].split("x")], int(size.split(":")[1])
        sides = {
            "ours": ours(hidden, batch, False),
            "norm": ours(hidden, batch, True),
            "sb3": theirs(hidden, batch),
        }
        seconds = measure(sides, args.rounds, args.updates)
        rate = {name: 1 / statistics.median(s["wall"]) for name, s in seconds.items()}
        ratios = {
            clock: [b / a for a, b in zip(seconds["ours"][clock], seconds["sb3"][clock])] for clock in ("wall", "cpu")
        }
        wall, cpu = statistics.median(ratios["wall"]), statistics.median(ratios["cpu"])
        low, high = min(ratios["wall"]), max(ratios["wall"])
        print(
            f"{size:<14}{rate['ours']:>9.0f}{rate['norm']:>15.0f}{rate['sb3']:>9.0f}{wall:>12.2f}{cpu:>11.2f}{low:>8.2f}{high:>9.2f}",
            flush=True,
        )
        results[size] = {
            "updates_per_s": round(rate["ours"], 1),
            "updates_per_s_layer_norm": round(rate["norm"], 1),
            "sb3_updates_per_s": round(rate["sb3"], 1),
            "ratio": round(wall, 3),
            "ratio_cpu": round(cpu, 3),
        }
    machine = {"cpu": platform.processor() or platform.machine(), "torch": torch.__version__, "threads": 1}
    print(json.dumps({"benchmark": "sac_updates", "sizes": results, "machine": machine}))


if __name__ == "__main__":
    main()
