# SPDX-License-Identifier: Apache-2.0
"""What the documentation tells people to type exists: parameters, launch arguments, options, topics, links."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from erl_vlm_ros.cli import parser
from erl_vlm_ros.common import names
from erl_vlm_ros.params.tables import PARAMETERS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# What may follow a node's name and a dot without being a parameter.
FILES = {"py", "launch", "yaml", "log", "safetensors", "md", "msg", "json"}
FOREIGN = {"initial_joint_controller"}  # launch arguments of other packages that a page names by themselves
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def launch_arguments():
    """Launch file -> its arguments, read from the source: the package launch is only on a ROS installation."""
    tree = ast.parse((ROOT / "erl_vlm_ros" / "runs" / "launch_actions.py").read_text())
    assigned = [n for n in tree.body if isinstance(n, ast.Assign) and isinstance(n.value, ast.Tuple)]
    tables = {
        node.targets[0].id: {row.elts[0].value for row in node.value.elts}
        for node in assigned
        if isinstance(node.value.elts[0], ast.Tuple)
    }
    whole = tables["_TRAIN"] | tables["_SCREENS"]
    common = whole | tables["_SIDES"]
    return {
        "train_sim": common,
        "train_real": common | tables["_REAL"],
        "collect": whole | tables["_COLLECT"] | tables["_REAL"],
        "train_offline": whole | tables["_OFFLINE"] | tables["_REAL"],
        "evaluate": tables["_EVALUATE"] | tables["_SCREENS"],
        "monitor": tables["_MONITOR"],
    }


def code(page):
    """Everything in the page that is set as code, one piece after another; continued lines are joined."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for block in re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.S | re.M):
        yield from (line.split("  #")[0].strip() for line in block.splitlines() if line.strip())
    yield from (line.strip() for line in re.findall(r"^ {4,}(\S.*)$", text, re.M))
    without = re.sub(r"^ *```.*?^ *```", "", text, flags=re.S | re.M)
    yield from (" ".join(piece.split()) for piece in re.findall(r"`([^`]+)`", without))


def words(command):
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()


@pages
def test_parameters_exist(page):
    pattern = rf"(?<![\w/.])({'|'.join(PARAMETERS)})\.([a-z][\w.]*\w)"
    wrong = []
    for node, name in re.findall(pattern, "\n".join(code(page))):
        known = {p.name for p in PARAMETERS[node]}
        group = any(p.startswith(name + ".") for p in known)
        if name not in known and not group and name.split(".")[0] not in FILES:
            wrong.append(f"{node}.{name}")
    assert not wrong


@pages
def test_node_commands_name_parameters_of_that_node(page):
    wrong = []
    for command in code(page):
        found = re.search(r"erl_vlm_ros(?:\.nodes\.| )(\w+) --ros-args (.*)", command)
        if found and found.group(1) in PARAMETERS:
            known = {p.name for p in PARAMETERS[found.group(1)]}
            wrong += [name for name in re.findall(r"-p ([\w.]+):=", found.group(2)) if name not in known]
    assert not wrong


@pages
def test_launch_arguments_exist(page):
    arguments = launch_arguments()
    everywhere = set().union(*arguments.values(), FOREIGN)
    wrong = []
    for command in code(page):
        file = re.search(r"erl_vlm_ros (\w+)\.launch\.py", command)
        known = arguments[file.group(1)] if file else everywhere
        if file or re.fullmatch(r"\w+:=\S*|\w+:='.*'", command):
            given = [word.split(":=")[0] for word in words(command) if re.match(r"\w+:=", word)]
            wrong += [f"{name} in: {command}" for name in given if name not in known]
    assert not wrong


@pages
def test_erl_vlm_options_exist(page):
    commands = next(a for a in parser()._actions if a.dest == "command").choices
    wrong = []
    for text in code(page):
        for command in re.findall(r"\berl-vlm ([a-z].*)", text):
            first, *rest = words(command)
            assert first in commands, f"{page.name}: erl-vlm {first}"
            known = set(commands[first]._option_string_actions)
            below = next((a for a in commands[first]._actions if hasattr(a, "_parser_class")), None)
            for word in rest:
                if below is not None and word in below.choices:
                    known |= set(below.choices[word]._option_string_actions)
            wrong += [word for word in rest if word.startswith("--") and word.split("=")[0] not in known]
    assert not wrong


@pages
def test_set_stands_before_each_parameter(page):
    """--set takes one; a second without its own --set would be refused."""
    wrong = [text for text in code(page) if re.search(r"--set[ =]\S+=\S+ +[a-z_]+\.[a-z_.]+=", text)]
    assert not wrong


@pages
def test_topics_and_services_exist(page):
    """Of ours: the first part of the name is one that this package uses."""
    known = {value.lstrip("/") for key, value in vars(names).items() if key.isupper()}
    ours = {name.split("/")[0] for name in known if "/" in name} | {"run", "learning", "monitor"}
    pattern = r"ros2 (?:topic|service) (?:echo|call|hz|pub|info)(?: -\S+(?: \d+)?)* /?([\w/]+)"
    wrong = []
    for command in code(page):
        for name in re.findall(pattern, command):
            if name.split("/")[0] in ours and name not in known:
                wrong.append(name)
    assert not wrong


@pages
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file) if file else page
        if not path.exists() or anchor and anchor not in anchors(path):
            wrong.append(target)
    assert not wrong


def anchors(path):
    """Anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.S | re.M)
    for heading in re.findall(r"^#+ (.+)$", text, re.M):
        plain = re.sub(r"[^\w\- ]", "", heading.strip().lower())
        yield plain.replace(" ", "-")


def test_images_are_small():
    for image in (ROOT / "docs" / "img").glob("*"):
        assert image.stat().st_size < 150_000, image.name
