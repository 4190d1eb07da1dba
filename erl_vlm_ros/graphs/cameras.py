# SPDX-License-Identifier: Apache-2.0
"""What named cameras mean for a graph: which there are, their nodes, and who sees which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from erl_vlm_ros.agents.encoders.config import TRAINED
from erl_vlm_ros.common import names
from erl_vlm_ros.common.cameras import SCENE, CameraSpec, check_cameras, merged
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.tasks import Task
from erl_vlm_ros.data.spaces import IMAGES
from erl_vlm_ros.graphs.spec import NodeSpec, RealOptions
from erl_vlm_ros.params.tables import CAMERA_NODE
from erl_vlm_ros.robot.spec import RobotSpec

ORIGIN = "cameras of robot and task file"
_TOPIC = "topic"
_CHOICES = (("learner", "policy_cameras"), ("reward_trainer", "reward_cameras"), ("vlm_rater", "rater_cameras"))
_OURS = (names.IMAGE, names.IMAGE_COMPRESSED, names.CAMERA_INFO)
_RELAYED = (names.POLICY_IMAGE, names.POLICY_IMAGE_COMPRESSED, names.POLICY_CAMERA_INFO)
_NAMED = (names.NAMED_IMAGE, names.NAMED_IMAGE_COMPRESSED, names.NAMED_CAMERA_INFO)


def cameras_of(
    robot: RobotSpec | None, task: Task, asked: Sequence[str] | None, simulated: bool
) -> tuple[CameraSpec, ...]:
    """The named cameras of a run; none: one without a name.

    Args:
        asked: the parameter cameras, where it is set: some of those in the files; simulated ones need no entry there.

    Raises:
        ConfigError: a name that is not there, or named twice, or a camera that has no source on a real arm.
    """
    found = merged(() if robot is None else robot.cameras, task.cameras)
    if asked is not None:
        known = {camera.name: camera for camera in found}
        unknown = [name for name in asked if name not in known and not simulated]
        if unknown:
            told = f"they list {', '.join(known)}" if known else "they list none"
            raise ConfigError(
                f"cameras: there is no camera '{unknown[0]}' in robot and task file; {told}",
                code=Code.UNKNOWN, parameter="cameras",
            )  # fmt: skip
        try:
            found = tuple(known.get(name) or CameraSpec(name=name) for name in asked)
            check_cameras(found)
        except ValueError as error:
            raise ConfigError(f"cameras {list(asked)}: {error}", code=Code.VALUE, parameter="cameras") from error
    without = [camera.name for camera in found if not camera.real]
    if without and not simulated:
        raise ConfigError(
            f"camera '{without[0]}' has no source on a real arm: give it one in the robot file's cameras (realsense, "
            "realsense:SERIAL, v4l:DEVICE or topic:NAME), or simulate the arm",
            code=Code.VALUE, parameter="cameras",
        )  # fmt: skip
    return found


def refuse_options_of_one(options: RealOptions, cameras: Sequence[CameraSpec]) -> None:
    """The options about the one camera without a name mean nothing to named ones. ConfigError names the option."""
    for option in ("camera", "camera_namespace") if cameras else ():
        if getattr(options, option):
            raise ConfigError(
                f"--{option.replace('_', '-')} is about one camera without a name, but robot or task file list "
                f"{', '.join(camera.name for camera in cameras)}: give each its source there (source topic:/NAME/...), "
                "and leave the option out",
                code=Code.DOES_NOT_FIT, parameter=option,
            )  # fmt: skip


def camera_layer(cameras: Sequence[CameraSpec], simulated: bool) -> dict[str, dict[str, Any]]:
    """Parameters that follow from the cameras: node -> parameter -> value."""
    if not cameras:
        return {}
    sizes = [side for camera in cameras for side in (camera.size or (0, 0))]
    out: dict[str, dict[str, Any]] = {"policy_controller": {"camera_sizes": sizes}}
    if simulated:
        out["sim_bridge"] = {"camera_sizes": sizes, "camera_views": [camera.simulated for camera in cameras]}
    else:
        out |= {CAMERA_NODE + camera.name: camera.node_parameters() for camera in cameras}
    return out


def with_camera_nodes(nodes: Sequence[tuple[str, str]], cameras: Sequence[CameraSpec]) -> tuple[tuple[str, str], ...]:
    """(node, role) of a graph, with a node for each named camera in the place of the one camera's."""
    out: list[tuple[str, str]] = []
    for node, role in nodes:
        one = node != "camera" or not cameras
        out += [(node, role)] if one else [(CAMERA_NODE + camera.name, role) for camera in cameras]
    return tuple(out)


def camera_remappings(spec: NodeSpec, cameras: Sequence[CameraSpec]) -> list[tuple[str, str]]:
    """Where a named camera's node finds and sends images; nothing for other nodes."""
    camera = next((c for c in cameras if spec.name == CAMERA_NODE + c.name), None)
    if camera is None:
        return []
    ours = [topic.format(camera.name) for topic in _NAMED]
    if spec.parameters["source"] != _TOPIC:
        return list(zip(_OURS, ours))
    theirs = camera.source.partition(":")[2]
    info = f"{theirs.rpartition('/')[0]}/camera_info".lstrip("/") if "/" in theirs else "camera_info"
    info = f"/{info}" if theirs.startswith("/") else info
    taken = (theirs, f"{theirs}/compressed", info)
    return [*zip(_OURS, taken), *zip(_RELAYED, ours)]


def check_choices(nodes: Mapping[str, Mapping[str, Any]], cameras: Sequence[CameraSpec], standin: bool) -> None:
    """Refuse cameras that a node asks for and that are not there. ConfigError names the parameter."""
    known = [camera.name for camera in cameras]
    for node, key in _CHOICES:
        chosen = nodes.get(node, {}).get(key)
        if chosen is None:
            continue
        if not known:
            raise _refused(
                node, key, "there are no named cameras: list them in the robot's or the task's file, under cameras"
            )
        wrong = [name for name in chosen if name not in known] or [n for n in chosen if chosen.count(n) > 1]
        if wrong:
            why = "is named twice" if wrong[0] in known else f"is none of the cameras {', '.join(known)}"
            raise _refused(node, key, f"'{wrong[0]}' {why}")
    if not known:
        return
    learner, trainer, rater = (nodes.get(node, {}) for node, _ in _CHOICES)
    _check_learning(learner, trainer, known)
    view = next((c.simulated for c in cameras if c.name == (rater.get("rater_cameras") or known)[0]), "")
    if standin and view != SCENE:
        raise _refused(
            "vlm_rater", "rater_cameras", f"the stand-in VLM knows the view '{SCENE}' alone, and the first camera that "
            f"it is shown has the view '{view}': put one of that view first, or give another teacher"
        )  # fmt: skip


def _check_learning(learner: Mapping[str, Any], trainer: Mapping[str, Any], known: list[str]) -> None:
    seen = trainer.get("reward_cameras") or known
    if trainer.get("reward_model") == "erl_vlm" and len(trainer.get("reward_cameras") or known[:1]) > 1:
        raise _refused("reward_trainer", "reward_cameras", "the reward model erl_vlm sees one camera: name one")
    if not trainer or learner.get("observe") != IMAGES or learner["encoder.name"] != TRAINED:
        return
    blind = [name for name in learner["policy_cameras"] or known if name not in seen]
    if blind:
        raise _refused(
            "learner", "policy_cameras", f"the encoder '{TRAINED}' is the reward model's trunk, which does not see "
            f"'{blind[0]}': add it to reward_trainer.reward_cameras, or choose another encoder (learner.encoder.name)"
        )  # fmt: skip


def _refused(node: str, key: str, why: str) -> ConfigError:
    return ConfigError(f"{node}.{key}: {why}", code=Code.VALUE, parameter=f"{node}.{key}")
