# SPDX-License-Identifier: Apache-2.0
"""``erl-vlm``: run a graph without a ROS installation, evaluate a policy, plot a run, check a rater."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from erl_vlm_ros import __version__
from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.data.spaces import IMAGES, STATE
from erl_vlm_ros.feedback.ledger import cli as ledger_cli
from erl_vlm_ros.graphs.build import GRAPHS, TRAINING
from erl_vlm_ros.graphs.sides import BOTH, OTHER, SIDES, part_of
from erl_vlm_ros.graphs.spec import DataOptions, RealOptions, RunArguments, SideOptions
from erl_vlm_ros.graphs.sros2 import as_text, policy
from erl_vlm_ros.params.layers import parse_overrides, settings_of
from erl_vlm_ros.runs import check_rater, compare, dataset_cli
from erl_vlm_ros.runs.export import FORMATS
from erl_vlm_ros.runs.session import evaluate, observing, train

_NAMESPACES = {
    "namespace": "namespace of all nodes of this package",
    "robot_namespace": "namespace of the arm's driver",
    "camera_namespace": "namespace of the camera's driver",
    "reset_service": "service that resets the scene (std_srvs/Trigger)",
    "remap": "other names of the driver's topics: 'OURS:=ITS OURS:=ITS ...' (docs/robots.md)",
}
EXIT_OK, EXIT_FAILED, EXIT_CONFIG, EXIT_INTERRUPTED = 0, 1, 2, 130


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="erl-vlm", description="Teach a robot arm a task from ratings, over ROS 2.")
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run a graph: one process a node", description="Run a graph.")
    run.add_argument("graph", choices=TRAINING, help="which graph")
    run.add_argument("--task", help="a shipped task or a task YAML (default drawer_open)")
    run.add_argument("--robot", help="a shipped robot or a robot YAML (docs/robots.md); train_sim: the simulated arm")
    run.add_argument("--seed", type=int, help="seed of everything random (default 0)")
    run.add_argument("--out", metavar="DIR", help="run directory to make (default runs/TASK-seedSEED)")
    run.add_argument("--resume", metavar="DIR", help="continue the run in DIR")
    run.add_argument("--max-steps", type=int, metavar="N", help="environment steps of the whole run")
    run.add_argument(
        "--observe", choices=(STATE, IMAGES), help="what the policy sees beside its proprioception (docs/images.md)"
    )
    run.add_argument(
        "--demos",
        default="",
        metavar="DATASET",
        help="demonstrations to begin with: a dataset's folder, or scripted:N[:NOISE] in simulation",
    )
    run.add_argument("--headless", action="store_true", help="no window with the dashboard")
    run.add_argument("--from", default="", metavar="RUN", dest="before", help="online: go on from what RUN has learned")
    _add_data(run)
    _add_collect(run)
    _add_sides(run)
    _add_real(run)
    _add_set(run)

    check = commands.add_parser(
        "evaluate",
        help="run a trained policy",
        description="Run a trained policy; the last line printed is JSON.",
    )
    check.add_argument("directory", metavar="DIR", help="run directory")
    check.add_argument("--episodes", type=int, default=20, metavar="N", help="episodes (default 20)")
    check.add_argument("--seed", type=int, default=1000, help="seed of the first episode (default 1000)")
    _add_set(check)

    export = commands.add_parser(
        "export",
        help="a run's policy as one file that runs without this package",
        description="Write encoder, network and spaces to one file; the last line printed is JSON (docs/images.md).",
    )
    export.add_argument("directory", metavar="DIR", help="run directory")
    export.add_argument("--format", default="torchscript", choices=tuple(FORMATS), help="default torchscript")
    export.add_argument("--out", metavar="FILE", help="where to (default: policy.pt or policy.onnx in the run)")

    policy = commands.add_parser(
        "sros2-policy",
        help="write an SROS2 policy for a graph",
        description="Write which node may do what under SROS2, for a run with these options (docs/security.md).",
    )
    policy.add_argument("graph", choices=TRAINING, help="which graph")
    policy.add_argument("--task", default="drawer_open", help="a shipped task or a task YAML (default drawer_open)")
    policy.add_argument("--out", metavar="FILE", help="where to (default: standard output)")
    _add_real(policy)
    _add_set(policy)

    plot = commands.add_parser("plot", help="draw the learning curve again")
    plot.add_argument("directory", metavar="DIR", help="run directory")
    check_rater.add_command(commands)
    ledger_cli.add_commands(commands)
    dataset_cli.add_commands(commands)
    compare.add_command(commands)
    return top


def _add_data(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("train_offline", "learn from recordings: docs/offline.md")
    group.add_argument("--dataset", default="", metavar="DIR", help="the recordings (see erl-vlm dataset)")
    group.add_argument(
        "--algorithm", default="", metavar="NAME", help="iql, cpl, bc, bc_rated, or package.module:Class"
    )
    group.add_argument(
        "--feedback", default="", metavar="KIND", help="rating, preference or both (default: what the algorithm needs)"
    )
    group.add_argument("--updates", type=int, metavar="N", help="updates in all (default 4000; of cpl 3400)")
    group.add_argument(
        "--evaluate", type=int, metavar="N", help="episodes of the learned policy at the end (default 20; real: 0)"
    )
    group.add_argument("--evaluate-on", default="sim", choices=("sim", "real"), help="where (default sim)")


def _add_collect(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("collect", "gather demonstrations: docs/how_to/collect_demonstrations.md")
    group.add_argument(
        "--driver", default="", metavar="WHO",
        help="scripted (the simulated tasks' expert), joy or twist (default: scripted in simulation, joy at an arm)",
    )  # fmt: skip
    group.add_argument("--episodes", type=int, metavar="N", help="demonstrations to gather (default 50)")
    group.add_argument(
        "--noise", type=float, metavar="LEVEL",
        help="disturbance of the expert, 0 to 1 (default: drawn for each episode, about half succeed)",
    )  # fmt: skip
    group.add_argument(
        "--keep", default="", metavar="WHICH",
        help="every (default) or successful; of train_offline, which of the recordings are learned from",
    )  # fmt: skip


def _add_sides(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("two machines", "one run on two machines: docs/how_to/two_machines.md")
    group.add_argument("--side", default=BOTH, choices=SIDES, help="which part this machine runs (default both)")
    group.add_argument("--domain", type=int, metavar="N", help="with --side: the ROS domain, the same on both machines")
    group.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="ADDRESS",
        dest="peers",
        help="with --side: the other machine, where multicast does not reach it; may be given again",
    )


def _add_real(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("train_real")
    group.add_argument(
        "--use-sim-arm", action="store_true", help="the simulated arm in the driver's place, in real time"
    )
    group.add_argument("--camera", default="", metavar="SOURCE", help="realsense[:SERIAL], opencv[:DEVICE] or topic")
    group.add_argument("--adapter", default="", metavar="NAME", help="what the arm's driver takes (docs/robots.md)")
    group.add_argument("--auto-arm", action="store_true", help="arm the guard without asking (--use-sim-arm only)")
    group.add_argument("--tool-pose", action="store_true", help="compute ee_pose from joint_states and the URDF")
    group.add_argument("--standin-vlm", action="store_true", help="let the stand-in rate, not a VLM endpoint")
    for name, text in _NAMESPACES.items():
        group.add_argument(f"--{name.replace('_', '-')}", default="", metavar="NAME", help=text)


def _add_set(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--params-file",
        action="append",
        default=[],
        metavar="FILE",
        dest="files",
        help="a ROS parameter file, or the name of one in config/params (such as audited); --set wins over it",
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NODE.PARAMETER=VALUE",
        dest="overrides",
        help="replace a parameter (docs/nodes.md lists them); may be given again",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point. Exit status: 0 done, 1 a node failed, 2 wrong configuration, 130 interrupted."""
    arguments = parser().parse_args(argv)
    try:
        return _COMMANDS[arguments.command](arguments)
    except ConfigError as error:
        print(f"erl-vlm: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_CONFIG
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            sys.stderr.close()
        return EXIT_FAILED
    except OSError as error:
        if error.filename is None:
            raise
        print(f"erl-vlm: {error.filename}: {error.strerror}", file=sys.stderr)
        return EXIT_FAILED


def _run(arguments: argparse.Namespace) -> int:
    outcome = train(
        arguments.graph,
        task=arguments.task,
        robot=arguments.robot,
        seed=arguments.seed,
        out=arguments.out,
        resume=arguments.resume,
        max_steps=arguments.max_steps,
        headless=arguments.headless,
        settings=observing(arguments.observe) + _settings(arguments),
        real=RealOptions(**{f.name: getattr(arguments, f.name) for f in fields(RealOptions)}),
        data=DataOptions(
            **{f.name: getattr(arguments, f.name) for f in fields(DataOptions) if hasattr(arguments, f.name)}
        ),
        side=SideOptions(arguments.side, arguments.domain, tuple(arguments.peers)),
    )
    return {"finished": EXIT_OK, "interrupted": EXIT_INTERRUPTED}.get(outcome.reason, EXIT_FAILED)


def _settings(arguments: argparse.Namespace) -> list[str]:
    return [text for file in arguments.files for text in settings_of(file)] + arguments.overrides


def _evaluate(arguments: argparse.Namespace) -> int:
    outcome, result = evaluate(arguments.directory, arguments.episodes, arguments.seed, _settings(arguments))
    if result is not None:
        print(json.dumps(result), flush=True)
    return {"finished": EXIT_OK, "interrupted": EXIT_INTERRUPTED}.get(outcome.reason, EXIT_FAILED)


def _plot(arguments: argparse.Namespace) -> int:
    from erl_vlm_ros.monitoring.files import redraw

    print(redraw(Path(arguments.directory)))
    return EXIT_OK


def _export(arguments: argparse.Namespace) -> int:
    from erl_vlm_ros.runs.policy_file import export_policy

    folder = Path(arguments.directory)
    file = Path(arguments.out) if arguments.out else folder / f"policy.{FORMATS[arguments.format]}"
    about = export_policy(folder, file, arguments.format)
    print(json.dumps({"file": str(file), "format": arguments.format, **about}), flush=True)
    return EXIT_OK


def _sros2_policy(arguments: argparse.Namespace) -> int:
    real = RealOptions(**{f.name: getattr(arguments, f.name) for f in fields(RealOptions)})
    overrides = parse_overrides(_settings(arguments))
    asked = RunArguments(arguments.task, Path("run"), headless=False, overrides=overrides, real=real)
    graph = GRAPHS[arguments.graph](asked)
    sides = () if arguments.graph in ("train_offline", "collect") else OTHER  # on two machines each has a node more
    links = [part_of(graph, side, "").nodes[0] for side in sides]
    text = as_text(policy(spec for spec in (*graph.nodes, *links) if spec.ros))
    if arguments.out:
        Path(arguments.out).write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    return EXIT_OK


_COMMANDS = {
    "run": _run,
    "evaluate": _evaluate,
    "plot": _plot,
    "export": _export,
    "sros2-policy": _sros2_policy,
    "check-rater": check_rater.run,
    "ledger": ledger_cli.run,
    "dataset": dataset_cli.run,
    "compare": compare.run,
}


if __name__ == "__main__":
    sys.exit(main())
