# SPDX-License-Identifier: Apache-2.0
"""Where a robot's MuJoCo model is: a file, or one that another package ships. Nothing of those packages is imported
but the one function of mujoco_menagerie that downloads; licences stay with them."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.paths import resource
from erl_vlm_ros.robot.spec import OUR_MODELS

_ROBOSUITE = "models/assets"  # within the package; robots/NAME/robot.xml and grippers/NAME.xml
_HOW = "pip install --no-deps robosuite"


def model_path(text: str, key: str = "model") -> Path:
    """The MJCF file of a robot file's ``model``: a path, sim/NAME.xml of ours, ``robosuite:NAME``, ``menagerie:NAME``.

    Raises:
        ConfigError: no such file, or a package or name that is not there; names ``key`` and what to do.
    """
    package, _, name = text.partition(":")
    if package == "robosuite" and name:
        return _robosuite(name, key)
    if package == "menagerie" and name:
        return _menagerie(name, key)
    path = resource(text) if text.startswith(OUR_MODELS) else Path(text)
    if not path.is_file():
        raise ConfigError(
            f"{key}: MuJoCo model {path} does not exist", parameter=key, file=str(path), code=Code.MISSING_FILE
        )
    return path


def _robosuite(name: str, key: str) -> Path:
    found = importlib.util.find_spec("robosuite")  # looks for the folder; imports nothing
    places = [] if found is None else [Path(place) / _ROBOSUITE for place in found.submodule_search_locations or ()]
    if not places:
        text = f"{key}: robosuite:{name} needs the package robosuite, of which only files are read: {_HOW}"
        raise ConfigError(text, parameter=key, code=Code.MISSING_PACKAGE, remedy=_HOW)
    for folder in places:
        for path in (folder / "robots" / name / "robot.xml", folder / "grippers" / f"{name}.xml"):
            if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
                return path
    known = sorted(
        [path.parent.name for folder in places for path in folder.glob("robots/*/robot.xml")]
        + [path.stem for folder in places for path in folder.glob("grippers/*.xml")]
    )
    raise ConfigError(
        f"{key}: robosuite has no model '{name}'; it has {', '.join(known)}", code=Code.UNKNOWN, parameter=key
    )


def _menagerie(name: str, key: str) -> Path:
    """``NAME`` or ``NAME/ENTRY``; the package downloads a model when it is first asked for."""
    robot, _, entry = name.partition("/")
    try:
        menagerie = importlib.import_module("mujoco_menagerie")
    except ImportError as error:
        raise ConfigError(
            f"{key}: menagerie:{name} needs the package mujoco-menagerie, which downloads models when they are first "
            "used: pip install mujoco-menagerie",
            parameter=key,
            code=Code.MISSING_PACKAGE,
            remedy="pip install mujoco-menagerie",
        ) from error
    try:
        known = menagerie.get(robot)
        return Path(known.xml(entry or known.default_model))
    except menagerie.MenagerieError as error:
        raise ConfigError(f"{key}: menagerie:{name}: {error}", code=Code.UNKNOWN, parameter=key) from error
    except OSError as error:
        text = (
            f"{key}: menagerie:{name} could not be downloaded ({error}): try again with a network, or give the path of "
            "its MJCF file"
        )
        raise ConfigError(text, parameter=key, code=Code.UNREACHABLE) from error
