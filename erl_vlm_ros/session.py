# SPDX-License-Identifier: Apache-2.0
"""Whole runs from the command line: make the run directory, start the graph, show how it goes, sum up."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TextIO

from erl_vlm_ros.errors import ConfigError
from erl_vlm_ros.graph import ACTOR_FILE, GRAPHS
from erl_vlm_ros.graph_real import URDF_FILE
from erl_vlm_ros.graph_teacher import RATER, announce_teacher
from erl_vlm_ros.monitoring.live import LiveLine
from erl_vlm_ros.node_graph import Graph, RealOptions, RunArguments
from erl_vlm_ros.overlay import parse_overrides
from erl_vlm_ros.paths import resource
from erl_vlm_ros.rundir import RUN_FILE, RunDirectory, atomic_write, load_run, read_json, save_run
from erl_vlm_ros.runner import Domain, Outcome, Supervisor, node_environment, supervise
from erl_vlm_ros.session_report import explain, report
from erl_vlm_ros.tasks import load_task

TASK_COPY = "config/task.yaml"
_ARM = "ros2 service call /safety_guard/arm std_srvs/srv/SetBool '{data: true}'"


@dataclass
class Prepared:
    """A graph that is ready to start: its folder is made and locked, its parameters are resolved."""

    graph: Graph
    directory: RunDirectory
    announcement: str
    class_names: list[str]
    simulated: bool = True  # False: drivers run elsewhere, in the user's ROS domain

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.directory.path

    def environment(self, domain: int | None) -> dict[str, str]:
        """Variables for the nodes."""
        return node_environment(self.path / "logs", _profiles(), domain, local=self.simulated)

    def write_urdf(self) -> None:
        """Describe the simulated arm in the run directory: for the guard, and for rviz."""
        from erl_vlm_ros.sim.urdf import arm_urdf  # loads MuJoCo

        task = self.graph.node("policy_controller").parameters["task"]
        atomic_write(self.path / URDF_FILE, arm_urdf(task))

    def close(self) -> None:
        """Give up the run directory."""
        self.directory.close()


def prepare_training(
    graph: str,
    task: str | None,
    seed: int | None,
    out: str | None,
    resume: str | None,
    max_steps: int | None,
    headless: bool,
    settings: Sequence[str],
    real: RealOptions | None = None,
) -> Prepared:
    """Make or take up the run directory and describe the graph. ``real``: of train_real; a resumed run has its own.

    Raises:
        ConfigError: anything that a person asked for and that cannot be; nothing is left locked.
    """
    settings, real = list(settings), real or RealOptions()
    if graph != "train_real" and real != RealOptions():
        raise ConfigError(f"{', '.join(_chosen(real))}: only train_real knows this")
    if max_steps is not None and max_steps < 1:
        raise ConfigError(f"--max-steps must be at least 1, got {max_steps}")
    if resume is not None:
        if out is not None and Path(out).resolve() != Path(resume).resolve():
            raise ConfigError("--resume DIR goes on in DIR itself; leave --out away")
        before = _load_training_run(resume)
        for name, given in (("task", task), ("seed", seed)):
            if given is not None and given != before.get(name):
                raise ConfigError(f"--{name} {given}: the run in {resume} has {name} {before.get(name)}; leave it away")
        task, seed, folder = before["task"], before["seed"], Path(resume)
        max_steps = max_steps or before.get("max_steps")
        settings = [*before.get("set", []), *settings]
        if graph != before.get("graph", graph):
            raise ConfigError(f"the run in {resume} is one of {before['graph']}: continue it with that graph")
        real = RealOptions(**{**before.get("real", {}), **_chosen(real)})
    else:
        task, seed = task or "drawer_open", 0 if seed is None else seed
        folder = Path(out) if out else Path("runs") / f"{Path(task).stem}-seed{seed}"
    overrides = parse_overrides(settings)
    loaded = load_task(task if resume is None else Path(resume) / TASK_COPY)
    directory = RunDirectory(folder, resume=resume is not None)
    try:
        path = directory.path
        if resume is None:
            shutil.copyfile(loaded.path, path / TASK_COPY)
        source = path if resume is not None else None
        anew = source is not None and _nothing_saved(path)
        described = GRAPHS[graph](
            RunArguments(
                str(path / TASK_COPY), path, seed, max_steps, source, headless, overrides, anew=anew, real=real
            )
        )
        limit = described.node("policy_controller").parameters["max_steps"]
        kept = {"graph": graph, "task": task, "seed": seed, "max_steps": limit, "set": settings}
        save_run(path, kept | ({"real": asdict(real)} if graph == "train_real" else {}))
    except BaseException:
        directory.close()
        raise
    verb = "nothing was saved yet, beginning anew:" if anew else "resuming" if resume is not None else "training"
    announcement = f"{verb} {loaded.name}, seed {seed}, to {limit:,} steps in {path} (Ctrl-C leaves a checkpoint)"
    if not described.node("policy_controller").parameters["auto_arm"]:
        announcement += f"; it begins when a person arms the guard: {_ARM}"
    rater = described.node(RATER).parameters
    announcement += announce_teacher(rater, path)
    n_classes = rater["n_classes"] or loaded.n_classes
    simulated = graph != "train_real" or real.use_sim_arm
    prepared = Prepared(described, directory, announcement, loaded.class_names(n_classes), simulated)
    if real.use_sim_arm:
        prepared.write_urdf()
    return prepared


def _chosen(real: RealOptions) -> dict[str, Any]:
    """The options that are not as they are by default."""
    return {f.name: getattr(real, f.name) for f in fields(real) if getattr(real, f.name) != f.default}


def _load_training_run(path: str | Path) -> dict[str, Any]:
    run = load_run(path)
    if not {"task", "seed"} <= run.keys():
        raise ConfigError(f"{Path(path) / RUN_FILE} is not that of a training run")
    return run


def _nothing_saved(path: Path) -> bool:
    """Whether a run ended before its first step, so that there is no learner to continue with."""
    folder = path / "checkpoint"
    learned = any((folder / f"{node}.safetensors").exists() for node in ("sac_learner", "reward_trainer"))
    record = folder / "monitor.json"
    return not learned and not (record.exists() and read_json(record).get("env_steps"))


def prepare_evaluation(run: str, episodes: int, seed: int, settings: Sequence[str]) -> Prepared:
    """Make a folder below ``run/evaluations``, take the policy from the checkpoint and describe the graph.

    Raises:
        ConfigError: no such run, nothing learned yet, or a bad argument.
    """
    from erl_vlm_ros.actor_export import export_actor

    if episodes < 1:
        raise ConfigError(f"--episodes must be at least 1, got {episodes}")
    if seed < 0:
        raise ConfigError(f"--seed must not be negative, got {seed}")
    source = Path(run).resolve()
    before = _load_training_run(source)
    overrides = parse_overrides(settings)
    graph = "evaluate_real" if before.get("graph") == "train_real" else "evaluate_sim"
    real = RealOptions(**before.get("real", {}))
    name = f"seed{seed}-n{episodes}"
    candidates = itertools.chain([name], (f"{name}-{i}" for i in itertools.count(2)))
    directory = RunDirectory(next(f for f in (source / "evaluations" / c for c in candidates) if not f.exists()))
    try:
        path = directory.path
        steps = export_actor(source, path / ACTOR_FILE)
        arguments = RunArguments(
            str(source / TASK_COPY), path, seed, source=source, overrides=overrides, episodes=episodes, real=real
        )
        described = GRAPHS[graph](arguments)
        save_run(
            path,
            {"graph": graph, "of": str(source), "trained_seed": before["seed"], "env_steps": steps},
        )
    except BaseException:
        directory.close()
        shutil.rmtree(directory.path, ignore_errors=True)  # made a moment ago: nothing of value is in it
        raise
    text = f"evaluating {source} after {steps:,} steps: {episodes} episodes from seed {seed}"
    return Prepared(described, directory, text, [], graph == "evaluate_sim" or real.use_sim_arm)


def train(graph: str, **arguments: Any) -> Outcome:
    """Run a training graph to its end and print how it went; arguments as of prepare_training."""
    prepared = prepare_training(graph, **arguments)
    try:
        print(prepared.announcement, flush=True)
        outcome = run_graph(prepared, sys.stdout)
        report(outcome, prepared.path, prepared.graph)
        return outcome
    finally:
        prepared.close()


def evaluate(run: str, episodes: int, seed: int, settings: Sequence[str]) -> tuple[Outcome, dict[str, Any] | None]:
    """Evaluate a run's policy through the graph. The result is None unless the evaluation finished."""
    prepared = prepare_evaluation(run, episodes, seed, settings)
    try:
        print(prepared.announcement, file=sys.stderr, flush=True)
        outcome = run_graph(prepared, sys.stderr)
        if outcome.reason != "finished":
            explain(outcome, prepared.path)
            return outcome, None
        summary = read_json(prepared.path / "summary.json")
        trained = load_run(prepared.path)
    finally:
        prepared.close()
    last = summary["evaluations"][-1] if summary["evaluations"] else {}
    return outcome, {
        "task": summary["task"],
        "run": trained["of"],
        "trained_seed": trained["trained_seed"],
        "env_steps": trained["env_steps"],
        "seed": seed,
        "eval_episodes": summary["eval_episodes"],
        "success_rate": summary["success_rate"],
        "success_source": summary.get("success_source", ""),
        "mean_progress": last.get("mean_progress"),
        "wall_s": summary["wall_s"],
        "files": str(prepared.path),
    }


def run_graph(prepared: Prepared, stream: TextIO) -> Outcome:
    """Start the graph, show its progress on ``stream``, and return how it ended.

    Parameter files go to ``config/`` of the run directory, one log a node to ``logs/``.
    """
    path = prepared.path
    graph = prepared.graph.write_parameters(path / "config")
    live = LiveLine(path / "progress.json", prepared.class_names, stream)
    # Drivers on a real arm are in the user's domain, which is 0 unless the environment says otherwise.
    domain = Domain() if prepared.simulated and not os.environ.get("ROS_DOMAIN_ID") else None
    try:
        environment = prepared.environment(domain.number if domain else None)
        outcome = supervise(Supervisor(graph, path / "logs", environment), live.tick)
    finally:
        if domain is not None:
            domain.close()
    live.finish()
    return outcome


def _profiles() -> Path | None:
    try:
        return resource("config/fastdds.xml")
    except ConfigError:
        return None
