# SPDX-License-Identifier: Apache-2.0
"""Whole runs from the command line: make the run directory, start the graph, show how it goes, sum up."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.paths import resource
from erl_vlm_ros.common.plan import CONTROLLER
from erl_vlm_ros.common.rundir import RunDirectory, atomic_write, load_run, read_json, save_run
from erl_vlm_ros.common.tasks import load_task, task_text
from erl_vlm_ros.common.yaml_file import dump_yaml
from erl_vlm_ros.feedback.kinds import kinds_named
from erl_vlm_ros.graphs.build import ACTOR_FILE, GRAPHS
from erl_vlm_ros.graphs.collect import in_lock_step
from erl_vlm_ros.graphs.offline import split_sides
from erl_vlm_ros.graphs.robot import ROBOT_COPY
from erl_vlm_ros.graphs.sides import BOTH
from erl_vlm_ros.graphs.spec import TASK_COPY, DataOptions, Graph, RealOptions, RunArguments, SideOptions
from erl_vlm_ros.graphs.teacher import RATER, announce_teacher
from erl_vlm_ros.monitoring.live import LiveLine
from erl_vlm_ros.params.layers import parse_overrides
from erl_vlm_ros.robot.spec import load_robot
from erl_vlm_ros.runs import offline, two_machines
from erl_vlm_ros.runs.arm_urdf import write_arm_urdf
from erl_vlm_ros.runs.asked import Asked, begun, chosen, continued, load_training_run
from erl_vlm_ros.runs.demos import FOLDER as DEMOS
from erl_vlm_ros.runs.report import explain, report
from erl_vlm_ros.runs.supervisor import Domain, Outcome, Supervisor, node_environment, supervise

START_LOG = "logs/start.log"  # what was announced at each start
_ARM = "ros2 service call /safety_guard/arm std_srvs/srv/SetBool '{data: true}'"


@dataclass
class Prepared:
    """A graph that is ready to start: its folder is made and locked, its parameters are resolved."""

    graph: Graph
    directory: RunDirectory
    announcement: str  # one line, and a line for each of the graph's notes
    class_names: list[str]
    simulated: bool = True  # False: drivers run elsewhere, in the user's ROS domain
    data: DataOptions = field(default_factory=DataOptions)
    side: SideOptions = field(default_factory=SideOptions)

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.directory.path

    def environment(self, domain: int | None) -> dict[str, str]:
        """Variables for the nodes."""
        local = self.simulated and self.side.side == BOTH
        found = node_environment(self.path / "logs", _profiles(), domain, local=local)
        return found | two_machines.discovery(self.side)

    def write_urdf(self) -> None:
        """Describe the simulated arm in the run directory: for the guard, and for rviz.

        Raises:
            ConfigError: its model is not there, or does not fit robot file and task.
        """
        write_arm_urdf(self.path, self.graph.node("sim_bridge").parameters)

    def close(self) -> None:
        """Give up the run directory."""
        self.directory.close()


def observing(what: str | None) -> list[str]:
    """Settings of a run whose policy sees ``what``, state or images; none: as configured."""
    return [f"learner.observe={what}"] if what else []


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
    robot: str | None = None,
    data: DataOptions | None = None,
    side: SideOptions | None = None,
) -> Prepared:
    """Make or take up the run directory and describe the graph. ``real``: of train_real; a resumed run has its own.

    ``robot``: a shipped robot's name or a robot file; ``data``: recordings; ``side``: which machine of two this is. A
    resumed run has its own.

    Raises:
        ConfigError: anything that a person asked for and that cannot be; nothing is left locked.
    """
    real, data = real or RealOptions(), offline.absolute(data or DataOptions())
    if graph == "train_sim" and real != RealOptions():
        raise ConfigError(
            f"{', '.join(chosen(real))}: only train_real knows this",
            code=Code.DOES_NOT_FIT,
            parameter=next(iter(chosen(real))),
        )
    offline.check_options(graph, data, real, max_steps)
    if max_steps is not None and max_steps < 1:
        raise ConfigError(f"--max-steps must be at least 1, got {max_steps}", parameter="max_steps")
    given = Asked(graph, task, seed, robot, Path(out) if out else None, max_steps, list(settings), real, data)
    given = replace(given, side=side or SideOptions())
    run = begun(given) if resume is None else continued(given, resume)
    load_task(run.file), parse_overrides(run.settings)  # what is wrong there is told before a folder is made
    directory = RunDirectory(run.folder, resume=resume is not None)
    try:
        if resume is None:
            _copy_task_and_robot(run)
        described, run, said = _describe(run, headless)
        if run.origin is not None:  # after all that may be refused
            run.origin.copy_to(run.folder)
        _keep(run, described)
        announcement = _announce(_announcement(run, described, said), described, directory.path)
        simulated = _simulated(run)
        names = _class_names(run, described)
        prepared = Prepared(described, directory, announcement, names, simulated, run.data, run.side)
        bridge = described.find("sim_bridge")
        attached = bridge is not None and bridge.parameters["robot_file"]
        if bridge is not None and (run.real.use_sim_arm or attached) and graph != offline.GRAPH:
            prepared.write_urdf()  # a robot that cannot be simulated is refused here, not in a node's log
    except BaseException:
        directory.close()
        raise
    return prepared


def _simulated(run: Asked) -> bool:
    """Whether no driver of another's takes part; offline none is needed."""
    at_an_arm = run.graph == "train_real" or (run.graph == offline.COLLECT and not in_lock_step(run.data, run.real))
    return not at_an_arm or run.real.use_sim_arm


def _copy_task_and_robot(run: Asked) -> None:
    (run.folder / TASK_COPY).write_text(task_text(run.file), encoding="utf-8")
    if run.robot:
        robot = load_robot(run.robot).model_dump(mode="json")
        atomic_write(run.folder / ROBOT_COPY, dump_yaml(robot, sort_keys=False))


def _describe(run: Asked, headless: bool) -> tuple[Graph, Asked, str]:
    """The graph, the run with its demonstrations (scripted ones are collected), and a line about these."""
    path, kept_robot, said = run.folder, run.folder / ROBOT_COPY, ""
    overrides, build = parse_overrides(run.settings), GRAPHS[run.graph]
    asked = RunArguments(
        str(path / TASK_COPY), path, run.seed, run.max_steps, path if run.before is not None else None, headless,
        overrides, anew=run.anew, real=run.real, run_id=run.run_id,
        robot=str(kept_robot) if kept_robot.is_file() else "", data=run.data,
        inherited={} if run.origin is None else run.origin.layer,
    )  # fmt: skip
    if run.scripted is not None:
        said = run.scripted.collect(build(asked), path / DEMOS, run.seed)
        run = replace(run, data=replace(run.data, demos=str((path / DEMOS).resolve())))
        asked = replace(asked, data=run.data)
    if run.graph != offline.GRAPH:
        part = two_machines.own_part(build(asked), path, run.side, run.run_id, run.seed, run.begun)
        return part, run, said
    described = build(replace(asked, overrides=split_sides(overrides)[0]))
    lacking = offline.write_robot_side(described, asked)
    notes = [f"no evaluation: {lacking}"] if lacking else []
    return replace(described, notes=(*described.notes, *notes)), run, said


def _keep(run: Asked, described: Graph) -> None:
    """Write run.json: what a resumed run is continued with."""
    kept = {
        "graph": run.graph, "task": run.task, "seed": run.seed, "max_steps": described.plan.max_steps,
        "set": run.settings, "run_id": run.run_id, "robot": run.robot or None,
    }  # fmt: skip
    kept |= {"data": asdict(run.data)} if run.data != DataOptions() else {}
    kept |= {"side": asdict(run.side), "begun": run.begun} if run.side.side != BOTH else {}
    save_run(run.folder, kept | ({"real": asdict(run.real)} if run.graph != "train_sim" else {}))


def _announcement(run: Asked, described: Graph, said: str) -> str:
    """One line about what begins. ``said``: about demonstrations that were collected for it."""
    verb = "resuming" if run.before is not None else "gathering" if run.graph == offline.COLLECT else "training"
    verb = "nothing was saved yet, beginning anew:" if run.anew else verb
    verb = verb if run.origin is None else f"going on from {run.origin.path} with"
    text = f"{verb} {load_task(run.file).name}, seed {run.seed}, {described.plan} in {run.folder}"
    if run.side.side != BOTH:
        text += f", the {run.side.side} side in domain {run.side.domain}"
    text += " (Ctrl-C leaves a checkpoint)" + f"; {said}" * bool(said)
    controller, rater = described.find(CONTROLLER), described.find(RATER)
    if controller is not None and not controller.parameters["auto_arm"]:
        text += f"; it begins when a person arms the guard: {_ARM}"
    return text if rater is None else text + announce_teacher(rater.parameters, run.folder)


def _class_names(run: Asked, described: Graph) -> list[str]:
    rater = described.find(RATER)
    if rater is None:
        return []
    kind = kinds_named(rater.parameters["feedback"])[0]
    return kind.class_names(load_task(run.file), rater.parameters["n_classes"] or 0)


def prepare_evaluation(run: str, episodes: int, seed: int, settings: Sequence[str]) -> Prepared:
    """Make a folder below ``run/evaluations``, take the policy from the checkpoint and describe the graph.

    Raises:
        ConfigError: no such run, nothing learned yet, or a bad argument.
    """
    from erl_vlm_ros.runs.export import export_actor

    if episodes < 1:
        raise ConfigError(f"--episodes must be at least 1, got {episodes}", parameter="episodes")
    if seed < 0:
        raise ConfigError(f"--seed must not be negative, got {seed}", parameter="seed")
    source = Path(run).resolve()
    before = load_training_run(source)
    overrides = parse_overrides(settings)
    graph = offline.evaluation_graph(before)
    real = RealOptions(**before.get("real", {}))
    name = f"seed{seed}-n{episodes}"
    candidates = itertools.chain([name], (f"{name}-{i}" for i in itertools.count(2)))
    directory = RunDirectory(next(f for f in (source / "evaluations" / c for c in candidates) if not f.exists()))
    try:
        path = directory.path
        steps = export_actor(source, path / ACTOR_FILE)
        arguments = RunArguments(
            str(source / TASK_COPY), path, seed, source=source, overrides=overrides, episodes=episodes, real=real,
            run_id=uuid.uuid4().hex[:12],
        )  # fmt: skip
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
    text = _announce(text, described, path)
    return Prepared(described, directory, text, [], graph == "evaluate_sim" or real.use_sim_arm)


def _announce(text: str, graph: Graph, path: Path) -> str:
    """The announcement with the graph's notes below it; also kept in logs/start.log."""
    lines = "\n".join([text, *(f"NOTE: {note}" for note in graph.notes)])
    with (path / START_LOG).open("a", encoding="utf-8") as file:
        file.write(lines + "\n")
    return lines


def train(graph: str, **arguments: Any) -> Outcome:
    """Run a training graph to its end and print how it went; arguments as of prepare_training."""
    prepared = prepare_training(graph, **arguments)
    try:
        print(prepared.announcement, flush=True)
        outcome = run_graph(prepared, sys.stdout)
        episodes = offline.episodes_after(prepared.data) if graph == offline.GRAPH else 0
        if outcome.reason == "finished" and episodes > 0:
            outcome, result = evaluate(str(prepared.path), episodes, offline.SEED, [])
            if result is not None:
                offline.keep_evaluation(prepared.path, result)
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
    own = prepared.simulated and prepared.side.side == BOTH and not os.environ.get("ROS_DOMAIN_ID")
    domain = Domain() if own else None
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
