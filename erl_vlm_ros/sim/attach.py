# SPDX-License-Identifier: Apache-2.0
"""Put a real arm's MuJoCo model into one of our scenes, in place of the arm that stands there."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.robot.spec import RobotSpec
from erl_vlm_ros.sim.ik import DifferentialIK
from erl_vlm_ros.sim.layout import ArmLayout, joint_limits
from erl_vlm_ros.sim.meshes import simplify
from erl_vlm_ros.sim.models import model_path
from erl_vlm_ros.sim.quaternion import matrix_of
from erl_vlm_ros.sim.ready import check_reach, find_home, nearest_down

PREFIX, GRIPPER = "robot/", "gripper/"
ROOT, TOOL = "robot_root", "robot_tool"
_ARM_COLOUR, _GRIPPER_COLOUR = (0.28, 0.29, 0.31, 1.0), (0.05, 0.85, 0.15, 1.0)  # those of sim/arm.xml
_PULL = 0.1  # of the way home an iteration, for an arm with joints to spare
_KP, _KV = 10000.0, 300.0  # kv / kp is the lag that SimArm feeds forward; industrial arms hardly give way
_ARMATURE = 0.7  # kg m^2: geared drives; lighter, a hooked finger is shaken through the bar that it pulls
_TORQUE = 200.0  # N m: what a scene asks for must not depend on the arm; not that of the real drives
_FINGER = {"kp": 800.0, "kv": 24.0, "force": 20.0}
_HINGED_FINGER = {"kp": 20.0, "kv": 0.6, "force": 5.0}
_HINGE, _SLIDE = mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE


def read(path: Path | str, key: str) -> mujoco.MjSpec:
    """An MJCF file. ConfigError names ``key`` and the file when MuJoCo cannot read it."""
    try:
        return mujoco.MjSpec.from_file(str(path))
    except (ValueError, OSError) as error:
        raise ConfigError(
            f"{key}: {path} cannot be read as MJCF: {error}", parameter=key, file=str(path), code=Code.UNREADABLE
        ) from error


def compiled(spec: mujoco.MjSpec, what: str, key: str) -> mujoco.MjModel:
    """``spec`` compiled. ConfigError names ``what`` and ``key``."""
    try:
        return spec.compile()
    except ValueError as error:
        raise ConfigError(
            f"{key}: MuJoCo cannot compile {what}: {error}", parameter=key, code=Code.UNREADABLE
        ) from error


def clear_arm(scene: mujoco.MjSpec, root: str = "base") -> None:
    """Take the built-in arm out of a scene that includes it, with all that refers to it."""
    body = scene.body(root)
    if body is None:
        return
    bodies = {root, *(b.name for b in body.find_all(mujoco.mjtObj.mjOBJ_BODY))}
    joints = {j.name for j in body.find_all(mujoco.mjtObj.mjOBJ_JOINT)}
    for actuator in list(scene.actuators):
        if actuator.target in joints:
            scene.delete(actuator)
    for equality in list(scene.equalities):
        if {equality.name1, equality.name2} & (joints | bodies):
            scene.delete(equality)
    for exclude in list(scene.excludes):
        if {exclude.bodyname1, exclude.bodyname2} & bodies:
            scene.delete(exclude)
    scene.delete(body)


def lock_fingers(scene: mujoco.MjSpec, fingers: tuple[str, ...]) -> None:
    """Rigid fingers: their joints, drives and the links between them are taken out."""
    links = [e for e in scene.equalities if {e.name1, e.name2} & set(fingers)]
    for element in (*links, *(scene.actuator(name) for name in fingers), *(scene.joint(name) for name in fingers)):
        scene.delete(element)


class Attached:
    """A robot's model inside ``scene``, an MjSpec. ``joints``, ``fingers``: as the robot file calls them;
    ``driven``: the fingers' joints in the scene, which are the same where the model has them."""

    def __init__(self, scene: mujoco.MjSpec, robot: RobotSpec, use_gripper: bool) -> None:
        """ConfigError: a model that is not there or cannot be read, names that it lacks, a gripper that is missing."""
        self.robot = robot
        self.path = model_path(robot.model)
        arm = read(self.path, "model")
        if robot.simulation.gripper:
            _mount(arm, robot)
        keyframe = next((list(k.qpos) for k in arm.keys if k.name == "home"), [])
        _strip(arm)
        model = compiled(arm, str(self.path), "model")
        self._names(arm, use_gripper)
        self.keyframe = self._keyframe_home(model, keyframe)
        self._tool_of(arm, model)
        _freeze_inertia(arm, model)
        simplify(arm, model)
        self._dress(arm)
        if self.locked:
            for name in self.driven:
                arm.delete(arm.joint(name))
        self._place(scene, arm)
        self._drive(scene)

    def layout(self, model: mujoco.MjModel, low: np.ndarray, high: np.ndarray) -> ArmLayout:
        """How the compiled scene's arm is driven in a workspace of these corners [3] m. ConfigError: it is too far."""
        joints = np.array([model.joint(name).id for name in self.joints])
        dofs = model.jnt_dofadr[joints]
        spare = len(joints) > 6
        pull = np.full(len(joints), _PULL if spare else 0.0)
        site = model.site(PREFIX + TOOL).id
        ik = DifferentialIK(model, site, dofs, np.zeros(len(joints)), np.zeros(len(joints)))
        given = self.robot.simulation.home or self.robot.home
        known = np.array(given) if given else self.keyframe
        if known is None:
            home, rotation = find_home(ik, low, high, joint_limits(model, joints))
        else:
            home, rotation = known, nearest_down(ik.pose(known)[1])
        check_reach(DifferentialIK(model, site, dofs, home, pull), home, rotation, low, high)
        gripper = self.robot.gripper
        return ArmLayout(
            self.joints, self.fingers, () if self.locked else self.driven, home=home, rest=home, pull=pull,
            tool_site=PREFIX + TOOL, tool_bodies=self.hand,
            tool_rotation=rotation, max_width=gripper.max_width,
            scale=self.scale, offset=self.offset, measured_scale=gripper.measured_scale,
            measured_offset=gripper.measured_offset, max_joint_speed=self.robot.simulation.max_joint_speed,
        )  # fmt: skip

    def _names(self, arm: mujoco.MjSpec, use_gripper: bool) -> None:
        """Call joints as the robot file does, and turn those round that count the other way."""
        robot, simulation = self.robot, self.robot.simulation
        self.joints = robot.joints
        if not self.joints:
            text = f"robot {robot.name}: joints must be named for its model to be simulated"
            raise ConfigError(text, parameter="joints", code=Code.NOT_GIVEN)
        theirs = simulation.joints or robot.joints
        self._check_joints(arm, theirs, "simulation.joints" if simulation.joints else "joints")
        for ours, name in zip(self.joints, theirs):
            _rename(arm, name, ours)
        self._fingers_of(arm, use_gripper)

    def _fingers_of(self, arm: mujoco.MjSpec, use_gripper: bool) -> None:
        """Which joints the fingers are, and how they count; names after it are those in the scene."""
        robot, simulation, known = self.robot, self.robot.simulation, {joint.name for joint in arm.joints}
        named = tuple(_mounted(arm, name) for name in simulation.gripper_joints or robot.gripper.joints)
        there = bool(named) and {name.removeprefix("-") for name in named} <= known
        slides = self._sliding(arm)
        if named and not there and (simulation.gripper_joints or not slides):
            key = "simulation.gripper_joints" if simulation.gripper_joints else "gripper.joints"
            self._check_joints(arm, [name.removeprefix("-") for name in named], key)
        if use_gripper and not named and not slides:
            text = (
                f"the task uses a gripper, and robot {robot.name} has none: name its gripper.joints, or mount one with "
                "simulation.gripper"
            )
            raise ConfigError(text, parameter="simulation.gripper", code=Code.NOT_GIVEN)
        self.fingers = robot.gripper.joints  # what joint_states tell
        if there:  # they count as the robot's own do
            self.scale, self.offset, self.driven = (
                robot.gripper.measured_scale,
                robot.gripper.measured_offset,
                self.fingers,
            )
            self._check_joints(arm, [name.removeprefix("-") for name in named], "simulation.gripper_joints")
            for ours, name in zip(self.fingers, named):
                joint = arm.joint(name.removeprefix("-"))
                if name.startswith("-"):
                    _turn_round(arm, joint)
                _rename(arm, joint.name, ours)
        else:  # another gripper in its place: sliding fingers, whose ways add up to the opening
            self.scale, self.offset, self.driven = 1.0, 0.0, tuple(slides)
            for name in slides:
                if arm.joint(name).range[1] <= 0.0 > arm.joint(name).range[0]:  # it opens downwards
                    _turn_round(arm, arm.joint(name))
        linked = {name for e in arm.equalities for name in (e.name1, e.name2)}
        simple = all(arm.joint(name).type == _SLIDE for name in self.driven) and self.offset == 0.0
        # Rigid fingers are cheaper; a linkage, or one that is shut elsewhere than at 0, is driven shut instead.
        self.locked = not use_gripper and simple and (not linked or set(self.driven) >= linked)
        if self.locked:
            for equality in [e for e in arm.equalities if {e.name1, e.name2} & set(self.driven)]:
                arm.delete(equality)

    def _sliding(self, arm: mujoco.MjSpec) -> list[str]:
        """Sliding joints that are none of the arm's: the fingers of a gripper that the robot file does not name."""
        return [j.name for j in arm.joints if j.type == _SLIDE and j.name not in self.joints]

    def _check_joints(self, arm: mujoco.MjSpec, names: tuple[str, ...] | list[str], key: str) -> None:
        known = [joint.name for joint in arm.joints]
        missing = [name for name in names if name not in known]
        if missing:
            raise ConfigError(
                f"robot {self.robot.name}: its model {self.path} has no joint {', '.join(missing)}; it has "
                f"{', '.join(known)}: correct {key}",
                parameter=key, file=str(self.path), code=Code.UNKNOWN)  # fmt: skip
        other = [name for name in names if arm.joint(name).type not in (_HINGE, _SLIDE)]
        if other:
            text = f"{key}: joint {other[0]} of {self.path} neither turns nor slides"
            raise ConfigError(text, parameter=key, code=Code.DOES_NOT_FIT, file=str(self.path))

    def _tool_of(self, arm: mujoco.MjSpec, model: mujoco.MjModel) -> None:
        """A site at the tool point, below the arm's last joint."""
        name, simulation = self.robot.simulation.tool, self.robot.simulation
        site = (arm.site(name) or arm.site(GRIPPER + name)) if name else None
        body = (arm.body(name) or arm.body(GRIPPER + name)) if name and site is None else None
        if name and site is None and body is None:
            known = [s.name for s in arm.sites if s.name] + [b.name for b in arm.bodies if b.name != "world"]
            raise ConfigError(
                f"simulation.tool: {self.path} has no site or body {name}; it has {', '.join(known)}",
                parameter="simulation.tool", file=str(self.path), code=Code.UNKNOWN)  # fmt: skip
        if not name:  # the gripper's own, or the body that the last joint moves
            site = next((arm.site(n) for n in (f"{GRIPPER}ee", f"{GRIPPER}grip_site") if arm.site(n) is not None), None)
            body = arm.joint(self.joints[-1]).parent if site is None else None
        owner = site.parent if site is not None else body
        position, turn = np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0])
        if site is not None:
            position, turn = model.site(site.name).pos.copy(), model.site(site.name).quat.copy()
        position = position + matrix_of(turn) @ np.array(simulation.tool_offset)
        for old in list(arm.sites):
            arm.delete(old)
        owner.add_site(name=TOOL, pos=position, quat=turn, size=[0.004] * 3, rgba=[0.0] * 4)
        self._tool_body = owner.name
        above = []
        while owner is not None and owner.name != "world":
            above.append(owner.name)
            owner = owner.parent
        chain = {arm.joint(joint).parent.name for joint in self.joints}
        if not chain <= set(above):
            raise ConfigError(
                f"simulation.tool: the tool of {self.path} does not hang on all of {', '.join(self.joints)}",
                parameter="simulation.tool", file=str(self.path), code=Code.DOES_NOT_FIT)  # fmt: skip

    def _keyframe_home(self, model: mujoco.MjModel, keyframe: list[float]) -> np.ndarray | None:
        """The model's own key frame "home"; joints still have the model's names."""
        if len(keyframe) != model.nq:
            return None
        theirs = self.robot.simulation.joints or self.robot.joints
        return np.array([keyframe[model.joint(name).qposadr[0]] for name in theirs])

    def _gripper_bodies(self, arm: mujoco.MjSpec) -> set[str]:
        """Bodies that may touch the scene: the mounted gripper, else the fingers, else what carries the tool point."""
        if self.robot.simulation.gripper:
            return {b.name for b in arm.bodies if b.name.startswith(GRIPPER)}
        return self._finger_bodies(arm) or {self._tool_body}

    def _finger_bodies(self, arm: mujoco.MjSpec) -> set[str]:
        owners = [arm.joint(name).parent for name in self.driven]
        return {body.name for o in owners for body in (o, *o.find_all(mujoco.mjtObj.mjOBJ_BODY))}

    def _dress(self, arm: mujoco.MjSpec) -> None:
        """Colours, contacts of the gripper alone, no weight, drives that are not shaken by light links."""
        hand = self._gripper_bodies(arm)
        for body in arm.bodies:
            body.gravcomp = 1.0
            for geom in body.geoms:
                touching = body.name in hand
                geom.contype, geom.conaffinity = (2, 1) if touching else (0, 0)
                geom.material, geom.group, geom.condim = "", 0, 3
                geom.rgba = _GRIPPER_COLOUR if touching else _ARM_COLOUR
                if touching:
                    geom.friction, geom.priority = [0.6, 0.01, 0.001], 0
        for name in self.joints:
            joint = arm.joint(name)
            joint.armature, joint.damping[0], joint.frictionloss = _ARMATURE, max(joint.damping[0], 1.0), 0.0
        self.hand = tuple(PREFIX + name for name in hand)

    def _place(self, scene: mujoco.MjSpec, arm: mujoco.MjSpec) -> None:
        simulation = self.robot.simulation
        half = 0.5 * simulation.base_turn
        root = scene.worldbody.add_body(name=ROOT, pos=simulation.base, quat=[np.cos(half), 0.0, 0.0, np.sin(half)])
        scene.attach(arm, frame=root.add_frame(), prefix=PREFIX)
        for name in (*self.joints, *(() if self.locked else self.driven)):
            if scene.joint(name) is not None:
                text = f"joint {name} is in the scene and in the robot {self.robot.name}: rename the scene's"
                raise ConfigError(text, parameter="joints", code=Code.DOES_NOT_FIT)
            _rename(scene, PREFIX + name, name)

    def _drive(self, scene: mujoco.MjSpec) -> None:
        for name in self.joints:
            slides = scene.joint(name).type == _SLIDE
            _servo(scene, name, _KP, _KV, 500.0 if slides else _TORQUE)
        for name in () if self.locked else self.driven:
            how = _FINGER if scene.joint(name).type == _SLIDE else _HINGED_FINGER
            _servo(scene, name, how["kp"], how["kv"], how["force"])


def _rename(spec: mujoco.MjSpec, old: str, new: str) -> None:
    """A joint, and the links between joints that name it."""
    spec.joint(old).name = new
    for equality in spec.equalities:
        if equality.type == mujoco.mjtEq.mjEQ_JOINT:
            equality.name1 = new if equality.name1 == old else equality.name1
            equality.name2 = new if equality.name2 == old else equality.name2


def _mounted(arm: mujoco.MjSpec, name: str) -> str:
    """A joint's name, of the arm or of the gripper that was mounted; - before it stays."""
    sign, bare = ("-", name[1:]) if name.startswith("-") else ("", name)
    return f"{sign}{GRIPPER}{bare}" if arm.joint(bare) is None and arm.joint(GRIPPER + bare) is not None else name


def _mount(arm: mujoco.MjSpec, robot: RobotSpec) -> None:
    path = model_path(robot.simulation.gripper, "simulation.gripper")
    body = arm.body(robot.simulation.mount)
    if body is None:
        text = (
            f"simulation.mount: {robot.model} has no body {robot.simulation.mount}; it has "
            f"{', '.join(b.name for b in arm.bodies if b.name != 'world')}"
        )
        raise ConfigError(text, parameter="simulation.mount", code=Code.UNKNOWN)
    arm.attach(read(path, "simulation.gripper"), frame=body.add_frame(), prefix=GRIPPER)


def _strip(arm: mujoco.MjSpec) -> None:
    """Take out what is not the arm's body: drives, sensors, lights, key frames, and shapes that are only for show."""
    for group in (arm.keys, arm.sensors, arm.actuators, arm.lights, arm.excludes, arm.pairs, arm.tendons):
        for element in list(group):
            arm.delete(element)
    for body in arm.bodies:
        solid = [geom for geom in body.geoms if geom.contype or geom.conaffinity]
        for geom in list(body.geoms):
            geom.material = ""
            # A mesh without a solid of its own is what there is of that link.
            if solid and not (geom.contype or geom.conaffinity):
                arm.delete(geom)
    used = {geom.meshname for geom in arm.geoms}
    for mesh in [m for m in arm.meshes if m.name not in used]:
        arm.delete(mesh)
    for element in [*arm.materials, *arm.textures]:
        arm.delete(element)


def _freeze_inertia(arm: mujoco.MjSpec, model: mujoco.MjModel) -> None:
    """Masses as they were computed from the shapes that are simplified next."""
    for body in arm.bodies:
        if body.name == "world":
            continue
        known = model.body(body.name)
        body.explicitinertial = True
        body.mass, body.ipos, body.iquat, body.inertia = known.mass[0], known.ipos, known.iquat, known.inertia
        body.fullinertia = [np.nan] * 6


def _turn_round(arm: mujoco.MjSpec, joint: mujoco.MjsJoint) -> None:
    if any(joint.name in (e.name1, e.name2) for e in arm.equalities):
        text = f"simulation.gripper_joints: -{joint.name}: the joint is linked to another in the model; leave it away"
        raise ConfigError(text, parameter="simulation.gripper_joints", code=Code.DOES_NOT_FIT)
    low, high = joint.range
    joint.axis, joint.range = [-x for x in joint.axis], [-high, -low]
    joint.ref, joint.springref = -joint.ref, -joint.springref


def _servo(scene: mujoco.MjSpec, name: str, kp: float, kv: float, force: float) -> None:
    drive = scene.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
    drive.set_to_position(kp=kp, kv=kv)
    drive.forcelimited, drive.forcerange = True, [-force, force]
