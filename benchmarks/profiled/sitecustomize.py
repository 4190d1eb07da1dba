# SPDX-License-Identifier: Apache-2.0
"""Sums CPU time by kind in every node of a graph: loaded by Python itself where this folder is on PYTHONPATH.

Some functions, of ours and of rclpy, are timed by their thread's CPU clock, each without the timed ones that it calls.
What is left of the main thread is rclpy's executor; what the process used beyond its Python threads is that of C++
threads: DDS. Nothing happens without the variable WHERE_TIME_GOES, the folder for one file a process. Standard library
alone: it loads before all else.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.util
import json
import os
import sys
import threading
import time

WRITE_S = 0.25
_RECORDS = "records and charts"
#: module -> what to time in it (``Class.method``, ``Class.*`` or ``*``: all public ones) -> kind
TIMED = {
    "erl_vlm_ros.sim.render": {"CameraRenderer.render": "rendering"},
    "erl_vlm_ros.sim.bridge": {"BridgeCore.step": "physics", "BridgeCore.reset": "physics"},
    "erl_vlm_ros.sim.arm": {"SimArm.observe": "physics", "SimArm.truth": "physics"},
    "erl_vlm_ros.sim.metaworld": {"MetaWorld.observe": "physics", "MetaWorld.truth": "physics"},
    "erl_vlm_ros.data.images": {"*": "JPEG"},
    "erl_vlm_ros.data.bundle": {"encode": "bundles", "decode": "bundles"},
    "erl_vlm_ros.ros.convert": {"*": "messages"},
    "rclpy.publisher": {"Publisher.publish": "publishing"},
    "rclpy.executors": {"Executor._take_subscription": "taking messages"},
    "erl_vlm_ros.training.relabeller": {"Relabeller.add": "labelling", "Relabeller.use": "labelling"},
    "erl_vlm_ros.training.learner": {"Learner.update": "updates", "Learner.make_round": "choice of queries"},
    "erl_vlm_ros.reward.trainer": {"RewardTrainer.*": "reward model"},
    "erl_vlm_ros.control.policies.squashed_gaussian": {"SquashedGaussian.act": "acting"},
    "erl_vlm_ros.agents.exploration": {"RolloutPolicy.act": "acting"},
    "erl_vlm_ros.standin.server": {"_Handler.do_POST": "stand-in's answers"},
    "erl_vlm_ros.safety.core": {"GuardCore.*": "guard"},
    "erl_vlm_ros.control.core": {"ControllerCore.*": "controller"},
    "erl_vlm_ros.monitoring.record": {"RunRecord.*": _RECORDS},
    "erl_vlm_ros.monitoring.dashboard": {"*": _RECORDS},
    "erl_vlm_ros.monitoring.writers": {"CsvWriter.*": _RECORDS, "TensorBoardWriter.*": _RECORDS},
    "erl_vlm_ros.monitoring.files": {"RunFiles.*": _RECORDS},
}
CALLBACKS = {"create_subscription": 3, "create_timer": 2, "create_service": 3}  # of a Node -> place of the callback
NODES_OWN = "node's own"

_state = threading.local()
_sums: dict[tuple[bool, str], float] = {}  # (in the main thread, kind) -> s


def timed(function, kind):
    """``function``, whose CPU time counts as ``kind``, less what timed functions within it use."""

    @functools.wraps(function)
    def wrapper(*args, **keywords):
        stack = _state.__dict__.setdefault("stack", [])
        main = threading.current_thread() is threading.main_thread()
        now = time.thread_time()
        if stack:
            _add(main, stack[-1], now - _state.mark)
        stack.append(kind)
        _state.mark = now
        try:
            return function(*args, **keywords)
        finally:
            now = time.thread_time()
            _add(main, stack.pop(), now - _state.mark)
            _state.mark = now

    return wrapper


def _add(main, kind, seconds):
    _sums[main, kind] = _sums.get((main, kind), 0.0) + seconds


def instrument(module, wanted):
    """Put timed functions in the place of those that are wanted."""
    for name, kind in wanted.items():
        owner_name, _, member = name.rpartition(".")
        owner = getattr(module, owner_name, None) if owner_name else module
        if owner is None:
            continue
        own = vars(owner)
        public = [k for k, v in own.items() if not k.startswith("_") and _is_own_function(v, module)]
        for key in public if member == "*" else [member]:
            if _is_own_function(own.get(key), module):
                setattr(owner, key, timed(own[key], kind))


def _is_own_function(value, module):
    return type(value) is type(timed) and value.__module__ == module.__name__


def callbacks_timed(node_class):
    """Callbacks of subscriptions, timers and services count as the node's own."""
    for name, place in CALLBACKS.items():
        setattr(node_class, name, _with_timed_callback(getattr(node_class, name), place))


def _with_timed_callback(create, place):
    @functools.wraps(create)
    def wrapper(*args, **keywords):
        args = list(args)
        if len(args) > place:
            args[place] = timed(args[place], NODES_OWN)
        elif "callback" in keywords:
            keywords["callback"] = timed(keywords["callback"], NODES_OWN)
        return create(*args, **keywords)

    return wrapper


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of TIMED as the others would, and instruments them once they are loaded."""

    def find_spec(self, name, path, target=None):
        if name not in TIMED and name != "rclpy.node":
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is not None:
            load = spec.loader.exec_module

            def exec_module(module):
                load(module)
                instrument(module, TIMED.get(name, {}))
                if name == "rclpy.node":
                    callbacks_timed(module.Node)

            spec.loader.exec_module = exec_module
        return spec


def _write(path):
    main, used = threading.main_thread().ident, {}
    with open(path, "a", encoding="utf-8") as file:
        while True:
            for thread in list(sys._current_frames()):
                used[thread] = time.clock_gettime(time.pthread_getcpuclockid(thread))
            sums = {f"{'main' if is_main else 'other'}/{kind}": s for (is_main, kind), s in list(_sums.items())}
            row = {"time": time.time(), "process": time.process_time(), "main": used[main], "sums": sums}
            row["python"] = sum(used.values())
            file.write(json.dumps(row) + "\n")
            file.flush()
            time.sleep(WRITE_S)


def _start():
    folder = os.environ.get("WHERE_TIME_GOES")
    if not folder:
        return
    with open("/proc/self/cmdline", "rb") as file:
        words = file.read().decode(errors="replace").split("\0")
    module = next((w for w in words if w.startswith(("erl_vlm_ros.nodes.", "erl_vlm_ros.standin."))), None)
    if module is not None:
        sys.meta_path.insert(0, _Finder())
        path = os.path.join(folder, f"{module.rpartition('.')[2]}-{os.getpid()}.jsonl")
        threading.Thread(target=_write, args=(path,), daemon=True).start()


_start()
