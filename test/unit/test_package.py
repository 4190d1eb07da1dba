# SPDX-License-Identifier: Apache-2.0
"""The package's own files agree with each other and with the code."""

from __future__ import annotations

import ast
import graphlib
import importlib
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import erl_vlm_ros
from erl_vlm_ros import preflight
from erl_vlm_ros.params import reference
from erl_vlm_ros.params.tables import PARAMETERS

ROOT = Path(__file__).resolve().parents[2]
if not (ROOT / "setup.py").is_file():
    pytest.skip("needs the checkout", allow_module_level=True)
NODES = sorted(p.stem for p in (ROOT / "erl_vlm_ros" / "nodes").glob("*.py") if p.stem != "__init__")


def setup_keywords(monkeypatch):
    import setuptools

    seen = {}
    monkeypatch.setattr(setuptools, "setup", lambda **keywords: seen.update(keywords))
    monkeypatch.chdir(ROOT)
    exec(
        compile((ROOT / "setup.py").read_text(), str(ROOT / "setup.py"), "exec"),
        {"__file__": str(ROOT / "setup.py")},
    )
    return seen


def test_versions_agree(monkeypatch):
    version = erl_vlm_ros.__version__
    assert setup_keywords(monkeypatch)["version"] == version
    assert ElementTree.parse(ROOT / "package.xml").findtext("version") == version
    newest = re.search(r"^(\d+\.\d+\.\d+) \(", (ROOT / "CHANGELOG.rst").read_text(), re.M)
    assert newest and newest.group(1) == version


def test_names_and_licence_agree(monkeypatch):
    keywords = setup_keywords(monkeypatch)
    package = ElementTree.parse(ROOT / "package.xml")
    assert package.findtext("name") == keywords["name"] == "erl_vlm_ros"
    assert package.findtext("license") == keywords["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert package.findtext("export/build_type") == "ament_python"
    assert (ROOT / "resource" / "erl_vlm_ros").is_file()


def test_every_node_is_installed_and_has_a_table(monkeypatch):
    scripts = dict(s.split(" = ") for s in setup_keywords(monkeypatch)["entry_points"]["console_scripts"])
    for node in NODES:
        assert scripts[node] == f"erl_vlm_ros.nodes.{node}:main"
        assert node in PARAMETERS
    for target in scripts.values():
        module, function = target.split(":")
        pytest.importorskip("rclpy")
        assert callable(getattr(importlib.import_module(module), function))


def test_every_shipped_file_is_installed(monkeypatch):
    installed = {file for _, files in setup_keywords(monkeypatch)["data_files"] for file in files}
    for folder in ("launch", "config", "sim"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert str(path.relative_to(ROOT)) in installed
    assert "package.xml" in installed and "resource/erl_vlm_ros" in installed


TOP = {
    ".ci", ".gitignore", ".importlinter", ".pre-commit-config.yaml", "CHANGELOG.rst", "LICENSE", "Makefile",
    "README.md", "benchmarks", "config", "constraints.txt", "docs", "erl_vlm_ros", "examples", "launch", "package.xml",
    "pytest.ini", "resource", "ruff.toml", "setup.cfg", "setup.py", "sim", "test",
}  # fmt: skip


def test_nothing_was_left_at_the_top():
    """Output of an experiment was committed there once."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("needs git")
    assert {line.partition("/")[0] for line in listed.stdout.splitlines()} <= TOP


def test_imports_run_one_way():
    """The layers of design.md, and no circle between two files."""
    grimp = pytest.importorskip("grimp", reason="needs the dev extra")
    linter = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert linter.returncode == 0, linter.stdout + linter.stderr
    modules = grimp.build_graph("erl_vlm_ros", cache_dir=None)
    below = {name: modules.find_modules_directly_imported_by(name) for name in modules.modules}
    try:
        graphlib.TopologicalSorter(below).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def test_every_file_names_the_licence_first():
    folders = ("erl_vlm_ros", "test", "launch", "benchmarks")
    files = [p for folder in folders for p in (ROOT / folder).rglob("*.py")]
    lacking = [str(p) for p in files if not p.read_text().startswith("# SPDX-License-Identifier: Apache-2.0\n")]
    assert not lacking


def test_no_pickle():
    words = ("import pickle", "from pickle", "torch.load(", "torch.save(", "allow_pickle=True")
    for path in (ROOT / "erl_vlm_ros").rglob("*.py"):
        assert not any(word in path.read_text() for word in words), path


def test_reference_page_is_current():
    assert reference.PAGE.read_text() == reference.page(), "run: python -m erl_vlm_ros.params.reference"


def test_every_topic_and_service_is_documented():
    from erl_vlm_ros.common import names

    page = (ROOT / "docs" / "topics.md").read_text()
    for key, value in vars(names).items():
        if key.isupper():
            assert f"`{value}`" in page, f"docs/topics.md lacks {value}"


def test_constraints_cover_the_requirements(monkeypatch):
    keywords = setup_keywords(monkeypatch)
    wanted = [
        *keywords["install_requires"],
        *(r for extra in keywords["extras_require"].values() for r in extra),
    ]
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        found = re.fullmatch(r"([\w.-]+)==([^;\s]+)(; python_version (<|>=) \"3\.11\")?", line)
        if found:
            pinned.setdefault(found.group(1).lower(), set()).add(found.group(4))
        else:
            assert line.startswith("#"), line
    for requirement in wanted:
        name = re.match(r"[\w-]+", requirement).group().lower()
        assert pinned.get(name) in ({None}, {"<", ">="}), f"{name} is not pinned for every Python"


def test_preflight_names_what_is_missing(monkeypatch, tmp_path):
    lacking = {"libEGL.so.1", "libgthread-2.0.so.0"}
    missing = preflight.missing_packages((3, 12), lambda name: name not in lacking)
    assert {"libegl1", "libglib2.0-0"} <= set(missing)
    problems = preflight.report(str(tmp_path), lambda name: name not in lacking)
    assert "sudo apt-get install -y libegl1 libglib2.0-0" in "\n".join(problems)
    monkeypatch.setattr(preflight, "free_mb", lambda _: 10.0)
    assert any("10 MB free" in p for p in preflight.report(str(tmp_path / "new")))


def test_preflight_installs_what_only_a_part_needs_but_does_not_ask_for_it(monkeypatch, capsys):
    monkeypatch.setattr(preflight, "loads", lambda name: "usb" not in name)
    assert list(preflight.useful_packages(preflight.loads)) == ["libusb-1.0-0"]
    assert "libusb" not in " ".join(preflight.report(load=preflight.loads))
    assert preflight.main(["--apt"]) == 0
    assert "libusb-1.0-0" in capsys.readouterr().out


def test_preflight_needs_nothing_but_python(tmp_path):
    # -S and an empty folder: no site-packages, no package to import.
    result = subprocess.run(
        [sys.executable, "-S", str(ROOT / "erl_vlm_ros" / "preflight.py"), "--apt"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr


def calls(folder, *names):
    """(file:line, call) of every call of one of ``names`` under ``folder``."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in names:
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def test_no_test_asks_an_error_for_its_wording():
    """Class and fields say which fault it is (test/refusals.py); a message may be put better at any time."""
    asked = [where for where, call in calls("test", "pytest.raises") if any(k.arg == "match" for k in call.keywords)]
    assert not asked, "use refusals.refused(kind, parameter=..., file=..., code=...)"


def test_every_error_of_a_configuration_says_what_is_to_blame():
    lacking = [where for where, call in calls("erl_vlm_ros", "ConfigError") if not call.keywords]
    assert not lacking, "name code, parameter or file"


def test_no_two_test_files_have_one_name():
    names = [path.name for path in (ROOT / "test").rglob("test_*.py")]
    assert len(names) == len(set(names))  # pytest would import only one of them
