# SPDX-License-Identifier: Apache-2.0
"""Run the real graph once in lock-step and keep fingerprints of everything on its learning topics and in its files.

Nothing of the package is imported: it is reached through the command line, topics and files alone.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lockstep import items
from lockstep.compare import NOT_COMPARED, NOT_SEEN

# What is recorded -> its topic, newest name first.
TOPICS = {
    "episodes": ("learning/transitions",),
    "queries": ("learning/queries", "learning/segments"),
    "labels": ("learning/labels", "learning/ratings"),
    "reward_models": ("learning/reward_model",),
    "actors": ("learning/actor",),
    "evaluations": ("evaluation/episodes",),
    "episode_rewards": ("learning/episode_reward",),
    "figures": ("learning/metrics",),
}
# Names of nodes and of NODE.PARAMETERs that changed, newest first; `erl-vlm run` refuses the wrong ones.
NAMES = ({}, {"learner": "sac_learner"})
LEARNER_FILES = ("learner.safetensors", "sac_learner.safetensors")
TRAINER_FILES = ("reward_trainer.safetensors",)
# Figures of the learner that tell how the whole buffer was labelled anew by a reward model.
BUFFER_FIGURES = ("env_steps", "reward_mean", "reward_std", "reward_spread", "reward_drift")
EXIT_CONFIG = 2  # of erl-vlm: a name it does not know, for instance
QUIET_S = 1.0  # after the run's end, for messages on their way
PATIENCE_S = 1800.0


def exact(steps: int) -> dict[str, Any]:
    """Settings under which a run depends on its seed alone: three rounds while exploring, the rest learning."""
    quarter = max(steps // 200, 1) * 50  # whole episodes
    third = max(quarter // 150, 1) * 50
    first, later = max(steps // 20, 20), max(steps // 60, 10)
    return {
        "learner.warmup_steps": quarter,
        "learner.round_steps": third,
        "learner.first_ratings": first,
        "learner.round_ratings": later,
        "learner.max_ratings": first + 2 * later,
        "learner.min_skill": 1.0,  # never reached: learning begins when all ratings are in
        "learner.max_warmup_steps": 10**9,
        "learner.max_lag_episodes": 0,
        "policy_controller.eval_every": max(steps // 3, 1),
        "policy_controller.eval_episodes": 5,
        "policy_controller.final_eval_episodes": 20,
    }


class Recorder:
    """Listens to the learning topics in a domain of its own and keeps fingerprints of all that comes."""

    def __init__(self, domain: int):
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import DurabilityPolicy, QoSProfile
        from std_msgs.msg import Float32MultiArray, UInt8MultiArray

        self.context = Context()
        rclpy.init(args=[], context=self.context, domain_id=domain)
        self.node = rclpy.create_node("lockstep_record", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.found: dict[str, list[dict[str, Any]]] = {name: [] for name in TOPICS}
        self.rewards: dict[int, str] = {}
        self.buffer: dict[str, dict[str, Any]] = {}
        latched = QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        kinds = {
            "episode_rewards": (Float32MultiArray, latched, self._on_rewards),
            "figures": (DiagnosticArray, QoSProfile(depth=1000), self._on_figures),
        }
        for what, topics in TOPICS.items():
            for topic in topics:
                kind, qos, take = kinds.get(what, (UInt8MultiArray, latched, self._taker(what)))
                self.node.create_subscription(kind, topic, take, qos)

    def _taker(self, what: str) -> Any:
        return lambda message: self.found[what].append(
            {"at": len(self.found["episodes"])} | items.bundle(bytes(message.data))
        )

    def _on_rewards(self, message: Any) -> None:
        episode = int(message.layout.dim[0].label)
        self.rewards[episode] = items.fingerprint(np.array(message.data, np.float32))

    def _on_figures(self, message: Any) -> None:
        """The first figures after each reward model: of the buffer as it was labelled anew."""
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            if "reward_version" in values and "reward_mean" in values:
                found = {"at": len(self.found["episodes"])} | {k: values[k] for k in BUFFER_FIGURES if k in values}
                self.buffer.setdefault(str(int(float(values["reward_version"]))), found)

    def spin(self, process: subprocess.Popen, patience: float) -> None:
        """Until the process has ended. TimeoutError when that takes over ``patience`` s."""
        deadline = time.monotonic() + patience
        while process.poll() is None:
            self.executor.spin_once(timeout_sec=0.2)
            if time.monotonic() > deadline:
                raise TimeoutError(f"the run has not ended after {patience:g} s")
        quiet = time.monotonic() + QUIET_S
        while time.monotonic() < quiet:
            self.executor.spin_once(timeout_sec=0.1)

    def close(self) -> None:
        """Leave the graph."""
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()

    def sections(self) -> dict[str, Any]:
        """What came, item by item, in the order of the run."""
        weights = {item["meta"].get("version"): item["arrays"] for item in self.found["actors"]}
        used: dict[str, Any] = {}
        for item in self.found["episodes"] + self.found["evaluations"]:
            # Exploring on, the controller does not wait for the learner's next message: compare weights, not versions.
            version = item["meta"].pop("actor_version", None)
            item[NOT_COMPARED] = {"actor_version": version}
            arrays = weights.get(version)
            # Latched, depth 1: a slow reader may miss one, and exploring there is none.
            item["actor"] = NOT_SEEN if arrays is None else items.together(arrays) if arrays else "none"
            if arrays and item in self.found["episodes"]:
                used.setdefault(item["actor"], {"at": item["at"], "arrays": arrays})
        for item in self.found["episodes"]:
            if (reward := self.rewards.get(item["meta"].get("index"))) is not None:
                item["learned_reward"] = reward
        return {
            "episodes": {str(item["meta"].get("index")): item for item in self.found["episodes"]},
            "queries": {str(item["meta"].get("round")): item for item in self.found["queries"]},
            "labels": {str(item["meta"].get("round")): item for item in self.found["labels"]},
            "reward_models": {str(item["meta"].get("version")): item for item in self.found["reward_models"]},
            "buffer": self.buffer,
            "actors": {str(item["at"]): item for item in used.values()},  # by the episode that used it first
            "evaluations": {str(i): item for i, item in enumerate(self.found["evaluations"])},
        }


def record(task: str, seed: int, steps: int, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Run the graph once and return its record; ``settings`` on top of ``exact``. RuntimeError: the run failed."""
    settings = {**exact(steps), **(settings or {})}
    domain = free_domain()
    recorder = Recorder(domain)
    try:
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            wanted = ["--task", task, "--seed", str(seed), "--max-steps", str(steps), "--out", str(run)]
            for names in NAMES:
                status, tail = _run([*wanted, *_set(settings, names)], recorder, environment(domain), folder)
                if status != EXIT_CONFIG:
                    break
            if status:
                raise RuntimeError(f"the run of {task} failed with status {status}:\n{tail}")
            checkpoints = {
                "learner": items.checkpoint(_first_of(run / "checkpoint", LEARNER_FILES)),
                "reward_trainer": items.checkpoint(_first_of(run / "checkpoint", TRAINER_FILES)),
            }
            summary = json.loads((run / "summary.json").read_text())
    finally:
        recorder.close()
    return {
        "run": {"settings": settings},
        **recorder.sections(),
        "checkpoints": checkpoints,
        "summary": {"run": items.flat(summary)},
    }


def _set(settings: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
    """Options for ``erl-vlm run``, with the names of one generation of the package."""
    out = []
    for key, value in settings.items():
        node, _, parameter = key.partition(".")
        out.append(f"--set={names.get(key, f'{names.get(node, node)}.{parameter}')}={value}")
    return out


def _run(options: list[str], recorder: Recorder, variables: dict[str, str], folder: str) -> tuple[int, str]:
    """(exit status, end of the output) of ``erl-vlm run train_sim``; in ``folder``, for ``-m`` looks there first."""
    command = [sys.executable, "-m", "erl_vlm_ros.cli", "run", "train_sim", "--headless", *options]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=variables, cwd=folder
        )
        try:
            recorder.spin(process, PATIENCE_S)
        finally:
            if process.poll() is None:
                process.terminate()  # it ends its nodes
                process.wait(60)
        log.seek(0)
        return process.returncode, log.read()[-3000:]


def _first_of(folder: Path, names: tuple[str, ...]) -> Path:
    """The first of these files that is there. FileNotFoundError: none is."""
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(f"{folder} has none of {', '.join(names)}")


def environment(domain: int) -> dict[str, str]:
    """This process's variables, with the domain that the recorder listens in and with PYTHONPATH for any folder."""
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "ROS_DOMAIN_ID": str(domain),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }


def free_domain() -> int:
    """A ROS domain without a participant on this machine: the port of its first participant is free."""
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"  # the recorder's, too
    for i in range(101):
        domain = (os.getpid() + i) % 101 + 1
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", 7400 + 250 * domain + 10))
                return domain
            except OSError:
                continue
    raise RuntimeError("no free ROS domain from 1 to 101 on this machine")
