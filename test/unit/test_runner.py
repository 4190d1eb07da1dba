# SPDX-License-Identifier: Apache-2.0
"""Processes of a graph: they start, end together, are asked before they are killed, and leave no orphan."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import dataclass

import pytest

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.graphs.spec import Graph, NodeSpec
from erl_vlm_ros.runs import supervisor as runner
from erl_vlm_ros.runs.supervisor import Domain, Supervisor, node_environment, supervise


@dataclass(frozen=True)
class Script(NodeSpec):
    """A process that runs a piece of Python."""

    code: str = ""

    def command(self):
        return ["-c", textwrap.dedent(self.code)]


WAIT = """
    import signal, sys, time
    signal.signal(signal.SIGINT, lambda *_: (print("saved", flush=True), sys.exit(0)))
    print("up", flush=True)
    time.sleep(60)
"""


def script(name, code, **more):
    return Script(name, "none", "sim", code=code, **more)


def run(tmp_path, *scripts, tick=lambda: None, ends_with="monitor"):
    supervisor = Supervisor(Graph("test", scripts, ends_with), tmp_path / "logs", {})
    return supervise(supervisor, tick, period=0.05), supervisor


def until(tmp_path, name, text, then=""):
    """Code that waits until a node's log has a text: on a busy machine a process takes long to start."""
    log_file = str(tmp_path / "logs" / f"{name}.log")
    return f"""
import pathlib, sys, time
while not (pathlib.Path({log_file!r}).exists() and {text!r} in pathlib.Path({log_file!r}).read_text()): time.sleep(0.05)
{then}
"""


def log(tmp_path, name):
    return (tmp_path / "logs" / f"{name}.log").read_text()


def test_finished_when_the_last_node_ends_well(tmp_path):
    outcome, supervisor = run(tmp_path, script("a", WAIT), script("monitor", until(tmp_path, "a", "up")))
    assert outcome.reason == "finished"
    assert log(tmp_path, "a") == "up\nsaved\n"  # asked with SIGINT
    assert not supervisor._alive()


def test_a_required_node_that_dies_stops_all_and_is_shown(tmp_path):
    dies = until(tmp_path, "monitor", "up", "print('the reason', file=sys.stderr); sys.exit(3)")
    outcome, supervisor = run(tmp_path, script("a", dies), script("monitor", WAIT))
    assert (outcome.reason, outcome.failed, outcome.status) == ("failed", "a", 3)
    assert "the reason" in outcome.tail
    assert not supervisor._alive() and "saved" in log(tmp_path, "monitor")


def test_a_killed_node_stops_all(tmp_path):
    outcome, _ = run(
        tmp_path,
        script("a", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"),
        script("monitor", WAIT),
    )
    assert (outcome.reason, outcome.failed, outcome.status) == ("failed", "a", -9)


def test_a_required_node_that_leaves_early_stops_all(tmp_path):
    deadline = time.monotonic() + 20

    def tick():
        assert time.monotonic() < deadline, "the others went on"

    outcome, _ = run(tmp_path, script("a", "import time; time.sleep(.3)"), script("monitor", WAIT), tick=tick)
    assert (outcome.reason, outcome.failed, outcome.status) == ("failed", "a", 0)
    assert "before the run was finished" in outcome.tail


def test_an_optional_node_may_die(tmp_path):
    outcome, _ = run(
        tmp_path,
        script("view", "raise SystemExit(1)", required=False),
        script("monitor", "import time; time.sleep(.5)"),
    )
    assert outcome.reason == "finished"


def test_interrupted(tmp_path):
    up = threading.Event()

    def tick():
        if not up.is_set() and all("up" in log(tmp_path, name) for name in ("a", "monitor")):
            up.set()
            os.kill(os.getpid(), signal.SIGINT)

    outcome, supervisor = run(tmp_path, script("a", WAIT), script("monitor", WAIT), tick=tick)
    assert outcome.reason == "interrupted"
    assert "saved" in log(tmp_path, "a") and not supervisor._alive()


@pytest.mark.slow
def test_a_deaf_node_is_killed_in_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "STOP_SIGNALS", tuple((s, 0.4) for s, _ in runner.STOP_SIGNALS))
    deaf = """
        import signal, time
        for s in (signal.SIGINT, signal.SIGTERM): signal.signal(s, signal.SIG_IGN)
        print("deaf now", flush=True)
        time.sleep(60)
    """
    outcome, supervisor = run(tmp_path, script("a", deaf), script("monitor", until(tmp_path, "a", "deaf now")))
    assert outcome.reason == "failed" and outcome.failed == "a" and "killed" in outcome.tail
    assert not supervisor._alive()


def test_a_node_waits_for_the_one_it_needs(tmp_path):
    late = "import time; time.sleep(.6); print('ready now', flush=True); time.sleep(60)"
    needs = f"assert 'ready now' in open({str(tmp_path / 'logs' / 'server.log')!r}).read()"
    outcome, _ = run(tmp_path, script("server", late, ready_text="ready"), script("monitor", needs, after="server"))
    assert outcome.reason == "finished"


def test_nodes_end_with_a_killed_runner(tmp_path):
    code = f"""
        import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})
        from pathlib import Path
        import test_runner as t
        code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
        t.run(Path({str(tmp_path)!r}), t.script("monitor", code))
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    path, deadline = tmp_path / "logs" / "monitor.log", time.monotonic() + 30
    while time.monotonic() < deadline and not (path.exists() and path.read_text().strip()):
        time.sleep(0.05)
    child = int(path.read_text())
    process.kill()
    process.wait()
    while time.monotonic() < deadline and _alive(child):
        time.sleep(0.05)
    assert not _alive(child)


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_two_runs_get_two_domains():
    first, second = Domain(), Domain()
    assert first.number != second.number and 1 <= first.number <= 101
    third = None
    with pytest.raises(ConfigError) as caught:  # a child process imports this file, without the helpers beside it
        third = Domain([first.number])
    assert caught.value.parameter == "ROS_DOMAIN_ID" and caught.value.code is Code.IN_USE
    assert third is None
    first.close()
    again = Domain([first.number])
    assert again.number == first.number
    again.close()
    second.close()


def test_environment_of_the_nodes(tmp_path, monkeypatch):
    for name in ("ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY", "FASTDDS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(name, raising=False)
    out = node_environment(tmp_path, tmp_path / "fastdds.xml", 7)
    assert out["ROS_DOMAIN_ID"] == "7" and out["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert out["OMP_NUM_THREADS"] == "1" and out["FASTDDS_DEFAULT_PROFILES_FILE"].endswith("fastdds.xml")
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    assert "ROS_AUTOMATIC_DISCOVERY_RANGE" not in node_environment(tmp_path, None, None)


def test_a_node_that_is_kept_alive_is_started_again(tmp_path):
    dies_once = f"""
        import os, signal, time
        path = {str(tmp_path / "mark")!r}
        if not os.path.exists(path):
            open(path, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        open(path + "2", "w").close()
        time.sleep(60)
    """
    ends = f"import os, time\nwhile not os.path.exists({str(tmp_path / 'mark2')!r}): time.sleep(.05)"
    outcome, supervisor = run(tmp_path, script("a", dies_once, respawn=True), script("monitor", ends))
    assert outcome.reason == "finished" and supervisor.restarted == ["a"]


@pytest.mark.parametrize("code,restarts", [("raise SystemExit(2)", 0), ("raise SystemExit(1)", 5)])
def test_what_a_restart_does_not_mend_stops_all(tmp_path, code, restarts):
    outcome, supervisor = run(tmp_path, script("a", code, respawn=True), script("monitor", WAIT))
    assert (outcome.reason, outcome.failed) == ("failed", "a")
    assert len(supervisor.restarted) == restarts
