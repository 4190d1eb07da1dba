# SPDX-License-Identifier: Apache-2.0
"""``--demos scripted:N[:NOISE]``: the scripted expert drives the graph's simulated arm before the run begins."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.dataset import write_dataset
from erl_vlm_ros.graphs.spec import DataOptions, Graph

FOLDER = "demos"  # of the run directory
_SCRIPTED = "scripted"
_MOST = 10_000  # episodes


@dataclass(frozen=True)
class Scripted:
    """``count`` episodes; ``noise`` of the expert, 0..1; None: people of three skills."""

    count: int
    noise: float | None = None

    @classmethod
    def read(cls, text: str) -> Scripted | None:
        """From ``scripted:N[:NOISE]``; None: something else, a dataset. ConfigError says what is wrong."""
        word, *numbers = text.split(":")
        if word != _SCRIPTED:
            return None
        try:
            count, noise = int(numbers[0]), float(numbers[1]) if len(numbers) > 1 else None
        except (ValueError, IndexError):
            count, noise = 0, None
        if len(numbers) > 2 or not 1 <= count <= _MOST or not (noise is None or 0 <= noise <= 1):
            raise ConfigError(
                f"--demos {text}: expected a dataset's folder, or scripted:N or scripted:N:NOISE with N from 1 to "
                f"{_MOST} episodes and NOISE from 0 (the expert) to 1",
                parameter="demos",
            )
        return cls(count, noise)

    def collect(self, graph: Graph, dataset: Path, seed: int) -> str:
        """Let the expert drive in the graph's simulation, for the run of ``seed``; returns what came of it, in a line.

        Raises:
            ConfigError: the graph has no simulated arm, or its backend or task no expert.
        """
        bridge = graph.find("sim_bridge")
        if bridge is None:
            text = (
                "--demos scripted: only a simulated arm has a scripted expert (train_sim, or --use-sim-arm); record "
                "demonstrations and name their dataset"
            )
            raise ConfigError(text, parameter="demos", code=Code.DOES_NOT_FIT)
        from erl_vlm_ros.sim.backend import make_backend  # loads MuJoCo
        from erl_vlm_ros.sim.cameras import sim_cameras
        from erl_vlm_ros.sim.demonstrations import rough_demonstrations

        sim = bridge.parameters
        task = load_task(sim["task"])
        size = sim["image_width"], sim["image_height"]
        cameras = sim_cameras(sim["cameras"] or (), sim["camera_views"], sim["camera_sizes"], size)
        arm = make_backend(sim["backend"], task, size, sim["robot_file"], cameras)
        kept = graph.node("policy_controller").parameters["image_size"]
        try:
            if not hasattr(arm, "state"):
                text = f"--demos scripted: no scripted expert knows the backend {sim['backend'] or task.world}"
                raise ConfigError(text, parameter="demos", code=Code.DOES_NOT_FIT)
            shown = rough_demonstrations(arm, task, self.count, seed, self.noise, kept)
        finally:
            arm.close()
        episodes = (replace(one.episode, success=one.succeeded) for one in shown)
        write_dataset(dataset, task.name, episodes, f"scripted, noise {self.noise}, seed {seed}")
        return f"{self.count} scripted demonstrations, {sum(one.succeeded for one in shown)} successful"


def take_scripted(data: DataOptions) -> tuple[Scripted | None, DataOptions]:
    """The scripted demonstrations that are asked for, and the options without them. ConfigError says what is wrong."""
    scripted = Scripted.read(data.demos)
    return scripted, data if scripted is None else replace(data, demos="")
