# SPDX-License-Identifier: Apache-2.0
"""A new run that begins with what another one has learned: buffer, agent, labels, reward model, counters, ledger."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from erl_vlm_ros.agents.base import needs_of
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.rundir import RunDirectory, load_run
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data import learner_state
from erl_vlm_ros.graphs.robot import ROBOT_COPY
from erl_vlm_ros.graphs.spec import TASK_COPY
from erl_vlm_ros.monitoring.files import RECORD
from erl_vlm_ros.params.layers import Overrides, read_parameter_file
from erl_vlm_ros.params.tables import PARAMETERS
from erl_vlm_ros.params.tables._shared import OBSERVE, SPACES

_LEDGER = "ledger.sqlite"
#: parameters that are the new run's to choose: who it is, how it is paced, what it may ask
_NEW = {
    "task", "run_id", "seed", "live", "episode_source", "episode_source_path", "demonstrations", "rewards_given",
    "capacity", "warmup_steps", "max_warmup_steps", "first_ratings", "round_steps", "round_ratings", "max_ratings",
    "updates_per_step", "catch_up", "offline_updates", "max_lag_episodes", "demo_share", "feature_noise",
    "iql.best_share", "update_chunk", "checkpoint_dir", "checkpoint_every", "resume",
    *(param.name for param in SPACES if param is not OBSERVE),
}  # fmt: skip


@dataclass(frozen=True)
class Origin:
    """``path``: run directory; ``task``: as that run was asked for it; ``layer``: parameters that come along."""

    path: Path
    task: str
    layer: Overrides

    @classmethod
    def of(cls, before: str) -> Origin:
        """The run that another goes on from.

        Raises:
            ConfigError: no run, nothing learned yet, or an algorithm that learns nothing from steps of its own.
        """
        path, run = Path(before).resolve(), load_run(before)
        if learner_state.find(path / "checkpoint") is None:
            missing = learner_state.path_in("checkpoint")
            text = f"--from {before}: {missing} is missing: nothing has been learned there yet"
            raise ConfigError(text, code=Code.MISSING_FILE, parameter="from", file=str(before))
        layer = {}
        for node in ("learner", "reward_trainer", "vlm_rater"):
            file = path / "config" / f"{node}.yaml"
            if file.is_file():
                values = read_parameter_file(file).get(node, {})
                known = {param.name for param in PARAMETERS[node]} - _NEW
                known &= {"n_classes", "feedback"} if node == "vlm_rater" else known
                layer[node] = {key: value for key, value in values.items() if key in known}
        algorithm = layer.get("learner", {}).get("algorithm", "sac")
        needs = needs_of(algorithm)
        if not (needs.rewards or needs.labels):
            text = (
                f"--from {before}: its algorithm is {algorithm}, which learns nothing from steps of its own: learn "
                "from the recordings with iql, or give them with --demos"
            )
            raise ConfigError(text, parameter="learner.algorithm", code=Code.DOES_NOT_FIT)
        return cls(path, str(run.get("task", "")), layer)

    def task_file(self, task: str | None) -> str:
        """The task of the new run: the origin's, or another file of that task. ConfigError: of another task."""
        own = self.path / TASK_COPY
        if task is None:
            return str(own)
        name, given = load_task(own).name, load_task(task).name
        if name != given:
            text = (
                f"--task {task} is the task {given}, but the run in {self.path} is of {name}: its labels say nothing "
                "about another"
            )
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="task", file=str(self.path))
        return task

    def robot(self, robot: str | None) -> str | None:
        """The robot of the new run."""
        kept = self.path / ROBOT_COPY
        return robot or (str(kept) if kept.is_file() else None)

    def copy_to(self, path: Path) -> None:
        """Copy what was learned into a new run directory. ConfigError: the origin is still running."""
        held = RunDirectory(self.path, resume=True)
        try:
            learned = learner_state.find(self.path / "checkpoint")
            files = (learned, self.path / "checkpoint" / "reward_trainer.safetensors", self.path / RECORD)
            for file in files:
                if file.is_file():
                    shutil.copyfile(file, path / "checkpoint" / file.name)
            if (self.path / _LEDGER).is_file():
                with (
                    closing(sqlite3.connect(self.path / _LEDGER)) as old,
                    closing(sqlite3.connect(path / _LEDGER)) as new,
                ):
                    old.backup(new)
        finally:
            held.close()
