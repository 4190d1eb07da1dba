# SPDX-License-Identifier: Apache-2.0
"""Robot files: what the nodes must know of an arm and its driver, in one place. ``config/robots/NAME.yaml``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from erl_vlm_ros.common.cameras import CameraSpec, check_cameras
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.paths import resource
from erl_vlm_ros.common.yaml_file import read_yaml
from erl_vlm_ros.robot.drivers import ADAPTERS, GRIPPERS

_RULES = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
PACKAGES = ("robosuite:", "menagerie:")  # whose files a model may be
OUR_MODELS = "sim/"  # shipped with this package
OUR_ARM = "sim/arm.xml"
_NAME = r"[A-Za-z_~/][\w/]*"
Topic = Annotated[str, Field(pattern=f"^{_NAME}$")]
Text = Annotated[str, Field(min_length=1)]


class GripperSpec(BaseModel):
    """A gripper: what its driver understands, and how its opening is measured. Lengths in m.

    command = offset + scale x opening; opening = measured_offset + measured_scale x sum of ``joints``' positions.
    """

    model_config = _RULES
    interface: str = "none"
    scale: float = 1.0
    offset: float = 0.0
    max_width: float = Field(0.08, gt=0.0, le=0.5)
    max_effort: float = Field(20.0, ge=0.0)
    joint: str = ""  # that parallel_gripper_command commands
    joints: tuple[Text, ...] = ()  # on joint_states; none: the opening is not measured
    measured_scale: float = 1.0
    measured_offset: float = 0.0

    @model_validator(mode="after")
    def _fits(self) -> GripperSpec:
        if self.interface not in GRIPPERS:
            raise ValueError(f"interface '{self.interface}' must be one of {', '.join(GRIPPERS)}")
        if self.interface == "parallel_gripper_command" and not self.joint:
            raise ValueError("interface 'parallel_gripper_command' needs joint: the one that its controller commands")
        return self


Vector = tuple[float, float, float]


class SimulationSpec(BaseModel):
    """How the arm's MuJoCo model (``model``) is put into a scene, where it is not found out by itself.

    joints: names in the model, in the order of the robot's ``joints``; none: the same names. gripper: MJCF of a gripper
    that is mounted on the model's body ``mount``, given as ``model`` is; empty: what the model itself has.
    gripper_joints: names in the model in the order of the gripper's ``joints``, with - before one that counts the other
    way; none: the same names. tool: site or body at the tool point, its z axis out of the gripper; tool_offset: m along
    its axes. base, base_turn: where the model's root stands in ``base_frame``, m, rad about z. home: rad, near which
    episodes begin; none: the robot's ``home``, or looked for. max_joint_speed: rad/s of the simulated drives.
    """

    model_config = _RULES
    joints: tuple[Text, ...] = ()
    gripper: str = ""
    mount: str = ""
    gripper_joints: tuple[Text, ...] = ()
    tool: str = ""
    tool_offset: Vector = (0.0, 0.0, 0.0)
    base: Vector = (0.0, 0.0, 0.0)
    base_turn: float = 0.0
    home: tuple[float, ...] = ()
    max_joint_speed: float = Field(2.0, gt=0.0, le=10.0)

    @model_validator(mode="after")
    def _fits(self) -> SimulationSpec:
        if bool(self.gripper) != bool(self.mount):
            raise ValueError("gripper and mount belong together: a gripper's MJCF, and the body that it is mounted on")
        return self


class RobotSpec(BaseModel):
    """An arm and its driver.

    joints: from the base outwards; none: the URDF's chain from base_frame to tool_frame. controller_joints: the order
    in which its driver takes arrays; none: that of the URDF. joint_states: topics; arm and gripper may have their own.
    remap: our topic -> the driver's. tool_pose: ee_pose is computed from joints and URDF. urdf: a file, xacro
    expanded, its path relative to the robot file's; empty: from robot_description. home: rad, where episodes may begin.
    model: its MuJoCo model: a file, its path relative to the robot file's; robosuite:NAME; menagerie:NAME; empty:
    it cannot be simulated. simulation: how that is put into a scene. rate_hz: at which commands are sent. cameras: by
    name; none: one without a name. parameters: node -> parameter -> value, for all else.
    """

    model_config = _RULES
    name: Text
    description: str = ""
    joints: tuple[Text, ...] = ()
    controller_joints: tuple[Text, ...] = ()
    base_frame: Text
    tool_frame: Text
    adapter: str = "servo_twist"
    gripper: GripperSpec = GripperSpec()
    joint_states: tuple[Topic, ...] = Field(("joint_states",), min_length=1)
    remap: dict[Topic, Topic] = {}
    tool_pose: bool = False
    urdf: str = ""
    home: tuple[float, ...] = ()
    model: str = ""
    simulation: SimulationSpec = SimulationSpec()
    rate_hz: float | None = Field(None, ge=50.0, le=500.0)
    cameras: tuple[CameraSpec, ...] = ()
    parameters: dict[str, dict[str, Any]] = {}

    @model_validator(mode="after")
    def _fits(self) -> RobotSpec:
        if self.adapter not in ADAPTERS:
            raise ValueError(f"adapter '{self.adapter}' must be one of {', '.join(ADAPTERS)}")
        for key, names in (("joints", self.joints), ("controller_joints", self.controller_joints)):
            if len(set(names)) != len(names):
                raise ValueError(f"{key} names a joint twice: {', '.join(names)}")
        if self.joints and self.controller_joints and set(self.joints) != set(self.controller_joints):
            raise ValueError("controller_joints must name exactly the joints of joints, in any order")
        check_cameras(self.cameras)
        if set(self.joints) & set(self.gripper.joints):
            raise ValueError("a joint of the gripper stands in joints as well")
        if self.home and len(self.home) != len(self.joints):
            raise ValueError(f"home has {len(self.home)} numbers for {len(self.joints)} joints")
        for key, names, ours in (
            ("joints", self.simulation.joints, self.joints),
            ("home", self.simulation.home, self.joints),
            ("gripper_joints", self.simulation.gripper_joints, self.gripper.joints),
        ):
            if names and len(names) != len(ours):
                what = f"{len(ours)} joints" + (" of the gripper" if ours is self.gripper.joints else "")
                raise ValueError(f"simulation.{key} has {len(names)} entries for {what}")
        return self

    def overrides(self) -> dict[str, dict[str, Any]]:
        """node -> parameter -> value, as a layer of parameters; facts that several nodes share stand under ``/**``."""
        gripper = self.gripper
        shared = {
            "joint_names": list(self.joints) or None,
            "controller_joints": list(self.controller_joints) or None,
            "gripper_joints": list(gripper.joints) or None,
            "gripper_measured_scale": gripper.measured_scale,
            "gripper_measured_offset": gripper.measured_offset,
            "gripper_max": gripper.max_width,
            "joint_state_topics": list(self.joint_states),
            "base_frame": self.base_frame,
            "tool_frame": self.tool_frame,
            "urdf_file": self.urdf,
            "adapter": self.adapter,
        }
        guard: dict[str, Any] = {"gripper": gripper.interface, "gripper_scale": gripper.scale}
        guard |= {"gripper_offset": gripper.offset, "gripper_max_effort": gripper.max_effort}
        guard |= {"gripper_joint": gripper.joint} | ({} if self.rate_hz is None else {"rate_hz": self.rate_hz})
        out: dict[str, dict[str, Any]] = {"/**": shared, "safety_guard": guard}
        if self.home:
            out["policy_controller"] = {"home_positions": list(self.home)}
        for node, values in self.parameters.items():
            out[node] = {**out.get(node, {}), **values}
        return out


def robot_names() -> list[str]:
    """Names of the shipped robot files."""
    return sorted(path.stem for path in resource("config/robots").glob("*.yaml"))


def robot_path(name_or_path: str | Path) -> Path:
    """The file of a shipped robot by name, or any robot file by path. ConfigError when there is none."""
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise ConfigError(f"robot file {path} does not exist", file=str(path), code=Code.MISSING_FILE)
        return path
    known = robot_names()
    if str(name_or_path) not in known:
        text = f"unknown robot '{name_or_path}'; known: {', '.join(known)}, or give a path to a robot YAML"
        raise ConfigError(text, code=Code.UNKNOWN, parameter="robot")
    return resource(f"config/robots/{name_or_path}.yaml")


def load_robot(name_or_path: str | Path) -> RobotSpec:
    """Read a shipped robot by name, or any robot file by path.

    Raises:
        ConfigError: no such file, not YAML, an unknown or missing key, a wrong value; names the file and the key.
    """
    path = robot_path(name_or_path)
    raw, _ = read_yaml(path)
    if not isinstance(raw, dict):
        problem = f"{path}: expected a mapping with the keys {', '.join(RobotSpec.model_fields)}"
        raise ConfigError(problem, file=str(path), code=Code.UNREADABLE)
    try:
        spec = RobotSpec.model_validate(_tuples(raw))
        return _with_paths(spec, path.parent.resolve())
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        text = first["msg"].removeprefix("Value error, ").replace("Input should be", "it must be")
        if first["type"] == "extra_forbidden":
            models = {"gripper": GripperSpec, "simulation": SimulationSpec, "cameras": CameraSpec}
            model = models.get(first["loc"][0] if len(first["loc"]) > 1 else "", RobotSpec)
            text = f"unknown key; allowed: {', '.join(model.model_fields)}"
        where = f"{path}: {key}" if key else str(path)
        raise ConfigError(f"{where}: {text}", code=Code.VALUE, parameter=key, file=str(path)) from error


def _with_paths(spec: RobotSpec, folder: Path) -> RobotSpec:
    """Paths that are relative to the robot file's folder, in full: a copy of the file may stand elsewhere."""

    def full(text: str) -> str:
        return str(folder / text) if text else text

    def model(text: str) -> str:
        return text if not text or text.startswith((*PACKAGES, OUR_MODELS)) else full(text)

    simulation = spec.simulation.model_copy(update={"gripper": model(spec.simulation.gripper)})
    return spec.model_copy(update={"urdf": full(spec.urdf), "model": model(spec.model), "simulation": simulation})


def _tuples(raw: Any) -> Any:
    """YAML's lists as tuples, which is what frozen models hold; ``parameters`` stay as they are."""
    if isinstance(raw, dict):
        return {key: value if key == "parameters" else _tuples(value) for key, value in raw.items()}
    return tuple(map(_tuples, raw)) if isinstance(raw, list) else raw


def remap_pairs(text: str) -> dict[str, str]:
    """``OURS:=ITS ...`` as a table. ConfigError for what is not of that form."""
    out = {}
    for pair in text.split():
        ours, _, its = pair.partition(":=")
        if not re.fullmatch(_NAME, ours) or not re.fullmatch(_NAME, its):
            raise ConfigError(
                f"remap {pair!r}: expected OURS:=ITS, for instance ee_pose:=/tcp_pose_broadcaster/pose",
                parameter="remap",
            )
        out[ours] = its
    return out
