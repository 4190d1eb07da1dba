# SPDX-License-Identifier: Apache-2.0
"""Reads the part of a URDF that kinematics needs: frames, joints and their limits. Meshes are never opened."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError, file_fault

MOVING = ("revolute", "continuous", "prismatic")
_LARGEST = 1e6  # m, rad or per second; some drivers write 1e5 where they mean no limit


@dataclass(frozen=True)
class UrdfJoint:
    """A joint between two frames (links). Position in rad, or m for a prismatic joint.

    ``origin`` [4, 4] is the child's frame in the parent's at position 0; ``axis`` [3] is a unit vector in the
    child's frame. A continuous joint has infinite position limits. ``velocity`` is 0 where the URDF gives none.
    ``problem``: why this joint cannot be used, or empty; it matters only where the joint is part of a chain.
    """

    name: str
    kind: str
    parent: str
    child: str
    origin: np.ndarray
    axis: np.ndarray
    lower: float
    upper: float
    velocity: float
    mimics: str
    problem: str = ""


@dataclass(frozen=True)
class Urdf:
    """A robot's frames and joints."""

    name: str
    links: tuple[str, ...]
    joints: tuple[UrdfJoint, ...]

    def chain(self, base: str, tool: str) -> tuple[np.ndarray, tuple[UrdfJoint, ...]]:
        """The way from ``base`` to ``tool``: a fixed transform [4, 4], then joints (fixed ones too) outwards.

        ``base`` need not lie above ``tool``: it may be fixed beside the way, as UR's frame ``base`` is.

        Raises:
            ConfigError: a frame that the URDF lacks, one that moves against the arm's root, or a joint on the way
                whose numbers make no sense.
        """
        for parameter, frame in (("base_frame", base), ("tool_frame", tool)):
            if frame not in self.links:
                text = (
                    f"parameter '{parameter}' is '{frame}', but the URDF of '{self.name}' has no such link; "
                    f"it has {', '.join(self.links)}"
                )
                raise ConfigError(text, code=Code.UNKNOWN, parameter=parameter)
        outwards, to_base = self._way_down(tool), self._way_down(base)
        while outwards and to_base and outwards[0] is to_base[0]:
            outwards, to_base = outwards[1:], to_base[1:]
        for joint in (*to_base, *outwards):
            if joint.problem:
                raise ConfigError(joint.problem, code=Code.UNREADABLE, parameter=f"joint.{joint.name}")
        moving = [joint.name for joint in to_base if joint.kind != "fixed"]
        if moving:
            text = (
                f"in the URDF of '{self.name}' the frame '{base}' (parameter 'base_frame') is moved by "
                f"{', '.join(moving)}, and '{tool}' (parameter 'tool_frame') does not hang below it"
            )
            raise ConfigError(text, code=Code.DOES_NOT_FIT, parameter="base_frame")
        aside = np.eye(4)
        for joint in to_base:
            aside = aside @ joint.origin
        return np.linalg.inv(aside), tuple(outwards)

    def _way_down(self, link: str) -> list[UrdfJoint]:
        """Joints from the root to ``link``."""
        above = {joint.child: joint for joint in self.joints}
        found: list[UrdfJoint] = []
        while link in above:
            if len(found) > len(self.joints):
                text = f"the URDF of '{self.name}' has a loop at link '{link}'"
                raise ConfigError(text, code=Code.UNREADABLE, parameter=f"link.{link}")
            found.append(above[link])
            link = above[link].parent
        return found[::-1]


def read_urdf(path: str | Path) -> Urdf:
    """Parse a file. ConfigError names it."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = f"parameter 'urdf_file': cannot read {path}: {error}"
        raise ConfigError(problem, code=file_fault(error), parameter="urdf_file", file=str(path)) from error
    return parse_urdf(text, str(path))


def parse_urdf(text: str, source: str = "robot_description") -> Urdf:
    """Parse URDF text; ``source`` names it in messages. What is wrong with one joint is kept with it, see UrdfJoint.

    Raises:
        ConfigError: not XML, not a URDF, unexpanded xacro, or joints and links that make no tree.
    """
    root = _parse_xml(text, source)
    if root.tag != "robot":
        problem = f"{source} is not a URDF: its root element is <{root.tag}>, not <robot>"
        raise ConfigError(problem, code=Code.UNREADABLE, parameter="<robot>", file=source)
    if any(_is_xacro(element) for element in root.iter()):
        problem = f"{source} still holds xacro; expand it first: xacro robot.urdf.xacro > robot.urdf"
        remedy = "xacro robot.urdf.xacro > robot.urdf"
        raise ConfigError(problem, code=Code.UNREADABLE, parameter="xacro", file=source, remedy=remedy)
    links = tuple(_attribute(link, "name", source) for link in root.findall("link"))
    # ros2_control's and transmission's <joint> are deeper in the tree: only direct children count.
    joints = tuple(_joint(element, source) for element in root.findall("joint"))
    known = set(links)
    for joint in joints:
        for link in (joint.parent, joint.child):
            if link not in known:
                problem = f"{source}: joint '{joint.name}' names the link '{link}', which does not exist"
                raise ConfigError(problem, code=Code.UNREADABLE, parameter=f"joint.{joint.name}", file=source)
    for kind, found in (("link", links), ("joint", tuple(j.name for j in joints))):
        if len(set(found)) != len(found):
            raise ConfigError(
                f"{source}: two elements <{kind}> have the same name", code=Code.UNREADABLE, parameter=kind, file=source
            )
    return Urdf(root.get("name", ""), links, joints)


def _parse_xml(text: str, source: str) -> ElementTree.Element:
    """The root element. Undeclared prefixes are part of the name, as urdfdom and pinocchio read them."""
    parser, builder = expat.ParserCreate(), ElementTree.TreeBuilder()

    def refuse(*_: object) -> None:
        text = f"{source} declares entities of its own, which no URDF needs: remove its <!DOCTYPE>"
        raise ConfigError(text, code=Code.UNREADABLE, parameter="<!DOCTYPE>", file=source)

    parser.StartElementHandler, parser.EndElementHandler = builder.start, builder.end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(text.encode("utf-8", "surrogatepass"), True)
    except (expat.ExpatError, AssertionError) as error:
        raise ConfigError(f"{source} is not XML: {error}", code=Code.UNREADABLE, file=source) from error
    return builder.close()


def _is_xacro(element: ElementTree.Element) -> bool:
    """An element or an expression of xacro; what stands in comments is not looked at."""
    texts = (element.text or "", *element.attrib.values())
    return element.tag.startswith("xacro:") or any("${" in text for text in texts)


def _joint(element: ElementTree.Element, source: str) -> UrdfJoint:
    name = _attribute(element, "name", source)
    kind = _attribute(element, "type", source)
    where = f"{source}: joint '{name}'"
    parent, child = element.find("parent"), element.find("child")
    if parent is None or child is None:
        raise _refused(where, " has no parent or no child")
    ends = (_attribute(parent, "link", where), _attribute(child, "link", where))
    try:
        return _measured(element, name, kind, ends, where)
    except ConfigError as error:
        return UrdfJoint(name, kind, *ends, np.eye(4), np.zeros(3), -np.inf, np.inf, 0.0, "", str(error))


def _measured(element: ElementTree.Element, name: str, kind: str, ends: tuple[str, str], where: str) -> UrdfJoint:
    """The joint with its numbers. ConfigError: they make no sense."""
    axis = _vector(element.find("axis"), "xyz", (1.0, 0.0, 0.0), where)
    length = float(np.linalg.norm(axis))
    if kind in MOVING and length < 1e-9:
        raise _refused(where, " has an axis of length 0")
    lower, upper, velocity = _limits(element.find("limit"), kind, where)
    origin = element.find("origin")
    mimic = element.find("mimic")
    return UrdfJoint(
        name=name,
        kind=kind,
        parent=ends[0],
        child=ends[1],
        origin=transform(
            _vector(origin, "xyz", (0.0, 0.0, 0.0), where), _vector(origin, "rpy", (0.0, 0.0, 0.0), where)
        ),
        axis=axis / max(length, 1e-9),
        lower=lower,
        upper=upper,
        velocity=velocity,
        mimics="" if mimic is None else _attribute(mimic, "joint", where),
    )


def _limits(element: ElementTree.Element | None, kind: str, where: str) -> tuple[float, float, float]:
    if kind not in MOVING:
        return -np.inf, np.inf, 0.0
    if element is None:
        if kind in ("revolute", "prismatic"):
            raise _refused(where, f" is {kind} and has no <limit>")
        return -np.inf, np.inf, 0.0
    velocity = _number(element.get("velocity", "0"), where)
    if kind == "continuous":
        return -np.inf, np.inf, velocity
    lower, upper = (_number(element.get(key, "0"), where) for key in ("lower", "upper"))
    if lower >= upper:
        raise _refused(where, f": lower limit {lower:g} is not below upper limit {upper:g}")
    return lower, upper, velocity


def transform(xyz: np.ndarray, rpy: np.ndarray) -> np.ndarray:
    """[4, 4] from a translation in m and roll, pitch, yaw in rad about the fixed x, y, z axes (URDF's order)."""
    (cr, cp, cy), (sr, sp, sy) = np.cos(rpy), np.sin(rpy)
    out = np.eye(4)
    out[:3, :3] = [
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ]
    out[:3, 3] = xyz
    return out


def _refused(where: str, problem: str) -> ConfigError:
    """Of an element: ``where`` is ``SOURCE`` or ``SOURCE: joint 'NAME'``."""
    source, _, element = where.partition(": joint ")
    parameter = f"joint.{element[1:-1]}" if element else ""
    return ConfigError(f"{where}{problem}", code=Code.UNREADABLE, parameter=parameter, file=source)


def _vector(
    element: ElementTree.Element | None, key: str, default: tuple[float, float, float], where: str
) -> np.ndarray:
    text = None if element is None else element.get(key)
    if text is None:
        return np.array(default)
    values = [_number(word, where) for word in text.split()]
    if len(values) != 3:
        raise _refused(where, f": {key}='{text}' must hold three numbers")
    return np.array(values)


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise _refused(where, f": '{text}' is not a number") from None
    if not np.isfinite(value):
        raise _refused(where, f": '{text}' is not finite")
    if abs(value) > _LARGEST:
        raise _refused(where, f": {value:g} is no number of a robot")
    return value


def _attribute(element: ElementTree.Element, key: str, where: str) -> str:
    value = element.get(key)
    if not value:
        raise _refused(where, f": <{element.tag}> has no {key}")
    return value
