# SPDX-License-Identifier: Apache-2.0
"""Run a graph without a ROS installation: one process a node, signals forwarded, stop all when one dies."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from erl_vlm_ros.common.dds import profile_setting
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.graphs.spec import Graph, NodeSpec, Respawns

READY_TIMEOUT_S = 60.0
LOG_TAIL = 15  # lines of a dead node's log that are shown
# How nodes are asked to end, and the patience for each, s.
STOP_SIGNALS = ((signal.SIGINT, 45.0), (signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))
_LIBC, _PR_SET_PDEATHSIG = ctypes.CDLL(None), 1


@dataclass(frozen=True)
class Outcome:
    """How a run ended. ``reason``: finished, interrupted or failed; ``failed``: the node that ended it,
    with its exit status and last log lines."""

    reason: str
    failed: str = ""
    status: int = 0
    tail: str = ""


class Supervisor:
    """Starts the processes of a graph and ends them together.

    Args:
        graph: what to start.
        logs: folder for one log file a node (appended, so that a resumed run keeps the earlier lines).
        environment: variables on top of this process's own.
    """

    def __init__(self, graph: Graph, logs: Path, environment: dict[str, str]):
        self.graph, self.logs = graph, logs
        self.environment = {**os.environ, **environment}
        self._processes: dict[str, subprocess.Popen] = {}
        self._files: list[IO] = []
        self._begin: dict[str, int] = {}  # where this run's lines start in each log
        self._specs = {spec.name: spec for spec in graph.nodes}
        self._respawns = Respawns()
        self.restarted: list[str] = []  # names, in order

    def start(self) -> None:
        """Start all processes. Raises ConfigError when one cannot be started; the others are stopped."""
        self.logs.mkdir(parents=True, exist_ok=True)
        try:
            for spec in sorted(self.graph.nodes, key=self._depth):
                if spec.after and not self._await_ready(self._specs[spec.after]):
                    return  # it died: ended() finds it
                self._start(spec)
        except OSError as error:
            self.stop()
            raise ConfigError(f"cannot start {spec.name}: {error}", code=Code.NOT_WRITTEN) from error

    def _depth(self, spec: NodeSpec) -> int:
        """How many others have to be ready first, one after the other."""
        return 1 + self._depth(self._specs[spec.after]) if spec.after else 0

    def _start(self, spec: NodeSpec) -> None:
        log = self._log(spec.name).open("ab")
        self._begin.setdefault(spec.name, log.tell())
        self._files.append(log)
        self._processes[spec.name] = subprocess.Popen(
            [sys.executable, "-u", *spec.command()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=self.environment | dict(spec.environment),
            start_new_session=True,  # Ctrl-C reaches the nodes through stop() only
            preexec_fn=die_with_parent,
        )

    def _await_ready(self, spec: NodeSpec) -> bool:
        """Wait for a process to say that it is ready; False: it died. One that is silent for long counts as ready."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while self._processes[spec.name].poll() is None and time.monotonic() < deadline:
            with self._log(spec.name).open("rb") as log:
                log.seek(self._begin[spec.name])
                if spec.ready_text.encode() in log.read():
                    return True
            time.sleep(0.05)
        return self._processes[spec.name].poll() is None

    def _log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def ended(self) -> Outcome | None:
        """None while the graph runs, else why it is over. It is finished when ``ends_with`` ends well.

        A node that died is started again here if it may be.
        """
        over = {n: p.returncode for n, p in self._processes.items() if p.poll() is not None}
        if over.get(self.graph.ends_with) == 0:
            return Outcome("finished")
        # Those with a failure first: the others may have left because of it.
        for name, status in sorted(over.items(), key=lambda entry: entry[1] == 0):
            spec = self._specs[name]
            if self._respawns.allowed(spec, status, time.monotonic()):
                self.restarted.append(name)
                text = f"{name} died (status {status}): started again, see {self._log(name)}"
                print(text, file=sys.stderr, flush=True)
                self._start(spec)
            elif spec.required:
                return Outcome("failed", name, status, self.tail(name) or "ended before the run was finished")
        return None

    def stop(self, hurry: Callable[[], bool] = lambda: False) -> list[str]:
        """End all processes: SIGINT (they save), SIGTERM, SIGKILL. ``hurry`` true skips the waiting.

        Returns the names of the nodes that had to be killed.
        """
        killed: list[str] = []
        for number, patience in STOP_SIGNALS:
            alive = self._alive()
            if number == signal.SIGKILL:
                killed = list(alive)
            for process in alive.values():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)  # a node may have children
            deadline = time.monotonic() + patience
            while self._alive() and time.monotonic() < deadline and not (hurry() and number == signal.SIGINT):
                time.sleep(0.05)
        for file in self._files:
            file.close()
        return killed

    def _alive(self) -> dict[str, subprocess.Popen]:
        return {name: p for name, p in self._processes.items() if p.poll() is None}

    def tail(self, name: str) -> str:
        """Last lines of a node's log."""
        try:
            with self._log(name).open("rb") as file:
                # Only what this run wrote: a resumed run's log begins with an earlier one's.
                file.seek(max(self._begin.get(name, 0), os.path.getsize(file.name) - 16_384))
                return "\n".join(file.read().decode(errors="replace").splitlines()[-LOG_TAIL:])
        except OSError as error:
            return f"(no log: {error})"


def die_with_parent() -> None:
    """For Popen's preexec_fn. A killed runner must not leave an arm moving: the kernel then ends the nodes."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def supervise(supervisor: Supervisor, tick: Callable[[], None], period: float = 0.2) -> Outcome:
    """Start, ``tick`` every ``period`` s, stop when the graph ends or dies or a signal asks for it."""
    asked: list[int] = []
    previous = {
        s: signal.signal(s, lambda number, _: asked.append(number))
        for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        supervisor.start()
        outcome = None
        while outcome is None and not asked:
            tick()
            time.sleep(period)
            outcome = None if asked else supervisor.ended()  # asked: the same signal may have reached the nodes, too
        if outcome is None:
            outcome = Outcome("interrupted")
        killed = supervisor.stop(hurry=lambda: len(asked) > 1)
        if killed and outcome.reason != "failed":
            outcome = Outcome("failed", ", ".join(killed), -signal.SIGKILL, "did not end in time and had to be killed")
        tick()
        return outcome
    except BaseException:
        supervisor.stop()
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class Domain:
    """A ROS domain of this run's own, so that two runs on one machine do not meet. Held until closed."""

    def __init__(self, candidates: Iterable[int] = range(1, 102)):  # above 101 the ports are ephemeral ones on Linux
        self._lock: IO | None = None
        first = os.getpid()
        numbers = list(candidates)
        for i in range(len(numbers)):
            number = numbers[(first + i) % len(numbers)]
            if self._take(number):
                self.number = number
                return
        text = "no free ROS domain from 1 to 101 on this machine; set ROS_DOMAIN_ID"
        raise ConfigError(text, code=Code.IN_USE, parameter="ROS_DOMAIN_ID")

    def _take(self, number: int) -> bool:
        path = Path(tempfile.gettempdir()) / f"erl_vlm_ros.domain{number}.{os.getuid()}.lock"
        lock = path.open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            return False
        if not _udp_port_free(7400 + 250 * number + 10):  # the first participant's port
            lock.close()
            return False
        self._lock = lock
        return True

    def close(self) -> None:
        """Let another run have the domain."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _udp_port_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def node_environment(logs: Path, profiles: Path | None, domain: int | None, local: bool = True) -> dict[str, str]:
    """Variables for the nodes: one thread each, own domain, logs in the run directory; ``local``: discovery stays on
    this machine, unless the user has said otherwise."""
    out = {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
        "RCUTILS_COLORIZED_OUTPUT": "0",
        "ROS_LOG_DIR": str(logs / "ros"),
    }
    if domain is not None:
        out["ROS_DOMAIN_ID"] = str(domain)
    for name in ("ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY"):
        if name in os.environ or not local:
            break
    else:
        out["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    if profiles is not None:
        out |= profile_setting(os.environ, profiles)
    return out
