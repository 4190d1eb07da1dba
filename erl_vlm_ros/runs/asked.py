# SPDX-License-Identifier: Apache-2.0
"""What a training run is asked for: of a new run, or as the run that is resumed was begun."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.rundir import RUN_FILE, load_run, read_json
from erl_vlm_ros.control import controller_checkpoint
from erl_vlm_ros.data import learner_state
from erl_vlm_ros.graphs.sides import BOTH, ROBOT
from erl_vlm_ros.graphs.spec import TASK_COPY, DataOptions, RealOptions, SideOptions
from erl_vlm_ros.runs import from_run, offline, two_machines
from erl_vlm_ros.runs.demos import Scripted, take_scripted


@dataclass(frozen=True)
class Asked:
    """What a run is asked for; ``task`` and ``robot`` as a person named them.

    ``file``: of the task, where it is not the one that the run is named after. ``origin``: the run that this one goes
    on from. ``before``: run.json of the run that is resumed. ``begun``: names the run directory, for the other side.
    """

    graph: str
    task: str | None
    seed: int | None
    robot: str | None
    out: Path | None
    max_steps: int | None
    settings: list[str]
    real: RealOptions
    data: DataOptions
    scripted: Scripted | None = None
    origin: from_run.Origin | None = None
    file: str | Path | None = None
    before: dict[str, Any] | None = None
    run_id: str = ""
    side: SideOptions = SideOptions()
    begun: str = ""

    @property
    def folder(self) -> Path:
        """The run directory."""
        if self.out is not None:
            return self.out
        name = f"{Path(self.task).stem}-seed{self.seed}" + (f"-{self.side.side}" if self.side.side != BOTH else "")
        name += "-demonstrations" * (self.graph == offline.COLLECT)
        return Path("runs") / (name + ("" if self.origin is None else f"-from-{self.origin.path.name}"))

    @property
    def anew(self) -> bool:
        """Whether a run is resumed that ended before its first step."""
        return self.before is not None and _nothing_saved(self.folder, self.side.side == ROBOT)


def begun(run: Asked) -> Asked:
    """A new run, with what its recordings or its origin say of task and robot."""
    side = two_machines.completed(run.side, None, run.graph, run.data)
    scripted, data = take_scripted(run.data)
    task, robot = offline.recorded(data, run.task, run.robot)
    origin, file = from_run.Origin.of(data.before) if data.before else None, None
    if origin is not None:
        file, robot = origin.task_file(task), origin.robot(robot)
        task = task or origin.task
    task, seed = task or "drawer_open", 0 if run.seed is None else run.seed
    begun = uuid.uuid4().hex[:12]
    return replace(
        run, task=task, seed=seed, robot=robot, data=data, scripted=scripted, origin=origin, file=file or task,
        run_id=begun if side.side == BOTH else two_machines.run_id_of(task, seed), side=side, begun=begun,
    )  # fmt: skip


def continued(run: Asked, resume: str) -> Asked:
    """The run in ``resume``, as it was begun. ConfigError: another task, seed, robot, graph or other recordings."""
    if run.out is not None and run.out.resolve() != Path(resume).resolve():
        raise ConfigError(
            "--resume DIR goes on in DIR itself; leave --out away", code=Code.DOES_NOT_FIT, parameter="out"
        )
    before = load_training_run(resume)
    for name, given in (("task", run.task), ("seed", run.seed), ("robot", run.robot or None)):
        if given is not None and given != before.get(name):
            text = f"--{name} {given}: the run in {resume} has {name} {before.get(name)}; leave it away"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter=name, file=str(resume))
    if run.graph != before.get("graph", run.graph):
        text = f"the run in {resume} is one of {before['graph']}: continue it with that graph"
        raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="graph", file=str(resume))
    data = _kept_data(run.data, before, resume)
    side = two_machines.completed(run.side, before.get("side", {}), run.graph, data)
    return replace(
        run, task=before["task"], seed=before["seed"], robot=before.get("robot"), out=Path(resume),
        max_steps=run.max_steps or before.get("max_steps"), settings=[*before.get("set", []), *run.settings],
        real=RealOptions(**{**before.get("real", {}), **chosen(run.real)}),
        data=data, file=Path(resume) / TASK_COPY, before=before, side=side, begun=before.get("begun", ""),
        run_id=before.get("run_id") or uuid.uuid4().hex[:12],
    )  # fmt: skip


def _kept_data(data: DataOptions, before: dict[str, Any], run: str) -> DataOptions:
    """The recordings of the run that is continued; how much is learned and evaluated may be given anew."""
    old = DataOptions(**before.get("data", {}))
    given = {key: value for key, value in asdict(data).items() if value != getattr(DataOptions(), key)}
    for key, value in given.items():
        if key not in ("updates", "evaluate", "episodes") and value != getattr(old, key):
            name = key.replace("_", "-")
            text = f"--{name} {value}: the run in {run} has {name} {getattr(old, key)}; leave it away"
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter=name, file=str(run))
    return replace(old, **given)


def _nothing_saved(path: Path, robot_side: bool) -> bool:
    """Whether a run ended before its first step, so that there is no learner to continue with; on the robot's side no
    controller."""
    folder = path / "checkpoint"
    if robot_side:
        return not controller_checkpoint.path_in(str(folder)).exists()
    learned = learner_state.find(folder) or (folder / "reward_trainer.safetensors").exists()
    record = folder / "monitor.json"
    return not learned and not (record.exists() and read_json(record).get("env_steps"))


def chosen(real: RealOptions) -> dict[str, Any]:
    """The options of a real arm that are not as they are by default."""
    return {f.name: getattr(real, f.name) for f in fields(real) if getattr(real, f.name) != f.default}


def load_training_run(path: str | Path) -> dict[str, Any]:
    """run.json of a training run. ConfigError: there is none, or it is of something else."""
    run = load_run(path)
    if not {"task", "seed"} <= run.keys():
        text = f"{Path(path) / RUN_FILE} is not that of a training run"
        raise ConfigError(text, code=Code.UNREADABLE, file=str(Path(path) / RUN_FILE))
    return run
