# SPDX-License-Identifier: Apache-2.0
"""run_side: speaks for one machine of a run on two (as robot_side or workstation_side) and looks for the other one.

Publishes run/facts (latched JSON: what both sides must agree on) and run/sides (JSON, once a second: a sign of life);
subscribes to both and to run/state. Of two sides that differ the later one ends, with the difference. The other nodes
of this side start when it says so. On the robot's side it ends with the run: once the workstation has what came last.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.duration import Duration
from std_msgs.msg import String

from erl_vlm_ros.common import names
from erl_vlm_ros.common.errors import Code, wrong_parameter
from erl_vlm_ros.common.rundir import atomic_write, read_json
from erl_vlm_ros.graphs.meeting import LEAVING, Meeting
from erl_vlm_ros.graphs.sides import OTHER, READY, ROBOT
from erl_vlm_ros.ros import qos
from erl_vlm_ros.ros.convert import metrics_message
from erl_vlm_ros.ros.node_base import BaseNode, run

ALIVE_S, LOOK_EVERY_S = 1.0, 0.1
FORGET_S = 60.0  # a process that has been silent for so long is gone
FAREWELL_S = 2.0  # for the other side to hear that this one leaves
PAIRED_FILE = "run_side.json"


class RunSide(BaseNode):
    """ROS side of Meeting."""

    NAME = "run_side"

    def __init__(self) -> None:
        super().__init__(self.NAME)
        p = self.p
        if not p.facts_file:
            raise wrong_parameter(self.NAME, "facts_file", "is empty: the graph sets it", code=Code.NOT_GIVEN)
        kept = read_json(Path(p.facts_file), f"{p.facts_file} does not exist")
        self._file = Path(p.checkpoint_dir) / PAIRED_FILE if p.checkpoint_dir else None
        paired = read_json(self._file).get("paired", "") if self._file is not None and self._file.exists() else ""
        self.meeting = Meeting(p.side, kept["facts"], kept["begun"], paired, time.monotonic())
        self._ready, self._there = False, None
        self._steps, self._state, self._why = 0, "", ""
        self._over_at = float("inf")
        self._facts = self.create_publisher(String, names.RUN_FACTS, qos.bulk(8))
        self._alive = self.create_publisher(String, names.RUN_SIDES, qos.metrics())
        self._diagnostics = self.create_publisher(DiagnosticArray, names.DIAGNOSTICS, 10)
        self.create_subscription(String, names.RUN_FACTS, lambda m: self._on_facts(json.loads(m.data)), qos.bulk(8))
        self.create_subscription(String, names.RUN_SIDES, lambda m: self._on_alive(json.loads(m.data)), qos.metrics())
        self.create_subscription(String, names.RUN_STATE, lambda m: self._on_state(json.loads(m.data)), qos.latched())
        self._facts.publish(String(data=json.dumps(self.meeting.introduction())))
        self._say()
        self.wall_timer(ALIVE_S, self._say)
        self.wall_timer(LOOK_EVERY_S, self._look)

    def _on_facts(self, said: dict[str, Any]) -> None:
        if said["token"] != self.meeting.token:
            self.meeting.hear_facts(said)
            self._say()  # it may be new here: it should not wait for a second

    def _on_alive(self, said: dict[str, Any]) -> None:
        self.meeting.hear(said, time.monotonic())

    def _on_state(self, said: dict[str, Any]) -> None:
        self._steps = max(self._steps, int(said["env_steps"]))
        finished = said["state"] == "finished" and str(said.get("node", self.p.finished_by)) == self.p.finished_by
        self._state = "finished" if finished else str(said["state"])
        self._why = str(said.get("waiting_for") or "")
        over = self._state in ("finished", "failed")
        self._over_at = min(self._over_at, time.monotonic()) if over else float("inf")

    def _look(self) -> None:
        now, meeting = time.monotonic(), self.meeting
        error = meeting.problem(now, self._steps)
        if error is not None:
            raise error.within("", parameter=f"{self.get_name()}.side")
        meeting.forget(now, FORGET_S)
        there = meeting.met(now, self.p.silent_s)
        if there != self._there and (self._there is not None or there):
            other = OTHER[self.p.side]
            self.get_logger().info(f"the {other} side is there" if there else f"the {other} side is not heard")
        self._there = there
        if not self._ready and (there or now - meeting.began >= self.p.look_s):
            self._ready = True
            print(READY, flush=True)
        if meeting.pair(now, self.p.silent_s, self._steps) and self._file is not None:
            atomic_write(self._file, json.dumps({"paired": meeting.paired}) + "\n")
        if self.p.side == ROBOT:
            self._end_with_the_run()

    def _end_with_the_run(self) -> None:
        """The workstation leaves when it has the last episode: before that this side keeps it for it."""
        said = [p for p in self.meeting.peers.values() if p.side != ROBOT and p.state == LEAVING]
        if not any(peer.heard_at >= self._over_at for peer in said):
            return
        if self._state == "failed":
            raise RuntimeError(f"the run failed: {self._why or 'see the log of policy_controller'}")
        os.kill(os.getpid(), signal.SIGTERM)  # the way in which every node is asked to stop

    def _say(self) -> None:
        now, other = time.monotonic(), OTHER[self.p.side]
        self._alive.publish(String(data=json.dumps(self.meeting.alive(now))))
        peer = self.meeting.other(now, self.p.silent_s)
        level = DiagnosticStatus.WARN if peer is None else DiagnosticStatus.OK
        text = f"the {other} side is not heard" if peer is None else f"the {other} side is there"
        stamp = self.get_clock().now().nanoseconds
        figures = {} if peer is None else {"silent_s": now - peer.heard_at}
        self._diagnostics.publish(metrics_message(f"{self.get_name()}: other side", figures, stamp, level, text))

    def on_stop(self) -> None:
        """Tell the other side."""
        self._alive.publish(String(data=json.dumps(self.meeting.alive(time.monotonic(), LEAVING))))
        self._alive.wait_for_all_acked(Duration(seconds=FAREWELL_S))


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run(RunSide, args)


if __name__ == "__main__":
    sys.exit(main())
