# SPDX-License-Identifier: Apache-2.0
"""What every node shares: parameters from its table, and a main that stops cleanly.

Works from Jazzy on. Signals do not go through rclpy's handlers, because those shut the context down first,
and a node could then neither send its last zeros nor save.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from std_msgs.msg import UInt8MultiArray

from erl_vlm_ros.common.dds import use_profile
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.data.bundle import Bundle, check_run, decode, encode, with_run
from erl_vlm_ros.params.param import namespace
from erl_vlm_ros.params.tables import PARAMETERS
from erl_vlm_ros.ros.convert import bytes_message, bytes_of
from erl_vlm_ros.ros.declare import declare
from erl_vlm_ros.ros.executor import Executor
from erl_vlm_ros.ros.heartbeat import Heartbeat
from erl_vlm_ros.ros.refusals import Refusals

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: beginnings of the topics that nodes of this package alone need
_OWN = ("learning/", "evaluation/", "task/", "run/", "/parameter_events")
TEARDOWN_S = 10.0  # for leaving DDS, once everything is saved
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class BaseNode(Node):
    """A node with the parameters of its table, a heartbeat, and a wall timer that ignores sim time.

    ``self.p.NAME`` is a parameter as it was at start (dots in names become underscores); ``self.values`` maps
    the plain names to the same values. A message that a subscription's callback cannot use is refused (``refused``
    counts) and does not end the node, unless ``FORGIVING`` is False. A QoS that does not fit is warned of, as by rclpy,
    where another's node may be at the other end; on this package's own topics, and in lock-step on all, it is not: the
    executor looks at the two handlers of each at every wake, a third of its time.
    """

    FORGIVING = True

    def __init__(self, name: str, **kwargs: Any):
        """``name`` is the key of PARAMETERS. Raises ConfigError for parameters that do not fit the table."""
        self._heartbeat: Heartbeat | None = None  # none in a node whose parameters are refused
        self.refused = Refusals(lambda text: self.get_logger().error(text))
        self.values: dict[str, Any] = {}  # until they are declared
        super().__init__(name, **kwargs)
        self.steady_clock = Clock(clock_type=ClockType.STEADY_TIME)
        self.values = declare(self, PARAMETERS[name])
        self.p = namespace(name, self.values)
        self._heartbeat = Heartbeat(self, self.wall_timer, self.refused)

    def destroy_node(self) -> None:
        """Stop the heartbeat, then destroy the node."""
        if self._heartbeat is not None:
            self._heartbeat.stop()
        super().destroy_node()

    def checkpoint_path(self) -> Path | None:
        """This node's file in its parameter checkpoint_dir; None without such a folder."""
        return Path(self.p.checkpoint_dir) / f"{self.NAME}.safetensors" if self.p.checkpoint_dir else None

    @staticmethod
    def stands_in(checkpoint: Path | None) -> bool:
        """Whether this process stands in for one that died: the folder of a new run holds no checkpoint."""
        return checkpoint is not None and checkpoint.exists()

    def wall_timer(self, period_s: float, callback: Callable[[], None]) -> Any:
        """Call back every ``period_s`` seconds of steady wall time."""
        return self.create_timer(period_s, callback, clock=self.steady_clock)

    def when_done(self, future: Future, callback: Callable[[Future], Any]) -> None:
        """Call back with ``future``, an answer of a service or an action, once it is done."""
        future.add_done_callback(callback)

    def create_subscription(
        self, msg_type: Any, topic: str, callback: Callable[[Any], Any], *args: Any, **kw: Any
    ) -> Any:
        """As rclpy's; the callback takes the message alone, and between ourselves there are no QoS handlers."""
        if self.FORGIVING:
            callback = self.refused.forgiving(topic, callback)
        if self._among_ourselves(topic):
            kw.setdefault("event_callbacks", SubscriptionEventCallbacks(use_default_callbacks=False))
        return super().create_subscription(msg_type, topic, callback, *args, **kw)

    def create_publisher(self, msg_type: Any, topic: str, *args: Any, **kw: Any) -> Any:
        """As rclpy's; between ourselves without its QoS handlers."""
        if self._among_ourselves(topic):
            kw.setdefault("event_callbacks", PublisherEventCallbacks(use_default_callbacks=False))
        return super().create_publisher(msg_type, topic, *args, **kw)

    def _among_ourselves(self, topic: str) -> bool:
        return bool(self.values.get("lock_step")) or topic.startswith(_OWN)

    def bundle_message(self, bundle: Bundle) -> UInt8MultiArray:
        """A bundle of this run as a message."""
        return bytes_message(encode(with_run(bundle, self.p.run_id)))

    def bundle_of(self, message: UInt8MultiArray, kind: str) -> Bundle:
        """The bundle in a message. BundleError: damaged, of another kind, or of another run."""
        bundle = decode(bytes_of(message), kind)
        check_run(bundle, self.p.run_id)
        return bundle

    def on_stop(self) -> None:
        """Called once before the end, while the node can still publish. Override to save or send zeros."""


def spin_until(future: Future, executor: Executor) -> None:
    """Serve callbacks until ``future`` is done or the context is shut down."""
    executor.spin_until_future_complete(future)


def run(make_node: Callable[[], BaseNode], args: list[str] | None = None) -> int:
    """Run one node until SIGINT or SIGTERM. Exit status: 0 stopped, 1 failed, 2 wrong configuration."""
    node: BaseNode | None = None
    status = 1
    name = getattr(make_node, "NAME", getattr(make_node, "__name__", "node"))
    try:
        try:
            use_profile()
            rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        except Exception as error:  # rclpy raises its own type for malformed -p and unreadable YAML
            raise ConfigError(f"arguments not understood: {error}", code=Code.VALUE) from error
        executor = Executor()
        stop = Future()
        _catch_signals(stop)
        node = make_node()
        executor.add_node(node)
        try:
            spin_until(stop, executor)
        except ExternalShutdownException:
            pass
        except BaseException as error:
            _stop_quietly(node, error)
            raise
        node.on_stop()
        status = 0
    except Exception as error:
        status = _report(name, error)
    finally:
        _leave(node, status)
    return status


def _leave(node: BaseNode | None, status: int) -> None:
    """Leave DDS. All is saved and told: a teardown that hangs in the middleware (it was seen) ends with the process."""
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end = threading.Timer(TEARDOWN_S, os._exit, (status,))
    end.daemon = True
    end.start()
    if node is not None and rclpy.ok():
        node.destroy_node()
    rclpy.try_shutdown()
    end.cancel()


def _catch_signals(stop: Future) -> None:
    """Complete ``stop`` at the first SIGINT or SIGTERM; later ones must not cut the saving short.

    Python runs a handler only when the main thread is back from C++, which may wait long for a message. The
    wake-up descriptor is written at once, so a thread that reads it can wake the executor.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def watch() -> None:
        os.read(reader, 1)
        stop.set_result(None)

    for number in _SIGNALS:
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=watch, daemon=True).start()


def _stop_quietly(node: BaseNode, failure: BaseException) -> None:
    """Send zeros and save even after a failure, without hiding the failure."""
    try:
        node.on_stop()
    except Exception as error:
        if not (_mendable(error) and _mendable(failure)):  # a disk that is full is full for the saving too
            _tell(node.get_name(), error)


def _mendable(error: BaseException) -> bool:
    """Whether the message alone tells a user what to fix: a wrong configuration, or no room to write."""
    # By name: their modules pull in torch and sqlite, and not every node loads them.
    known = type(error).__name__ in ("CheckpointError", "LedgerError", "SourceError")
    return known or isinstance(error, ConfigError) or getattr(error, "errno", None) in _NO_ROOM


def _report(name: str, error: Exception) -> int:
    """Tell what ended the node; returns its exit status."""
    _tell(name, error)
    return 2 if isinstance(error, ConfigError) else 1


def _tell(name: str, error: Exception) -> None:
    """One line for what a user can fix, a traceback before it for the rest."""
    lines = []
    if isinstance(error, OSError) and _mendable(error):
        text = f"cannot write {error.filename or 'a file'}: {error.strerror}; free some disk space"
    elif _mendable(error):
        text = " ".join(str(error).split())
    else:
        lines = traceback.format_exception(error)
        text = f"stopped by an error: {type(error).__name__}: {error}"
    with contextlib.suppress(OSError):  # the log may lie on the disk that is full
        print("".join(lines) + f"erl_vlm_ros: {name}: {text}", file=sys.stderr, flush=True)
