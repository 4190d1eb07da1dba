# SPDX-License-Identifier: Apache-2.0
"""Two network namespaces with a cable between them, as two machines: to be cut, delayed, made lossy, and counted.

A veth pair; to lose or delay frames where the kernel has no netem, two tap devices and a relay between them.
Needs root and the right to make namespaces; ``refusal()`` says why not.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import os
import random
import select
import shutil
import struct
import subprocess
import threading
import time

ADDRESSES = {"robot": "10.77.0.1", "workstation": "10.77.0.2"}
_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
# Each machine has its own shared memory, or Fast DDS might not use the cable.
_OWN_MEMORY = 'mount --bind "$1" /dev/shm && shift && exec "$@"'


def refusal() -> str:
    """Why there can be no such link here; empty: there can."""
    if os.geteuid() != 0:
        return "needs root: ip netns add"
    if shutil.which("ip") is None:
        return "needs the command ip (iproute2)"
    try:  # some machines permit namespaces and no device between them
        for how in ({}, {"loss": 0.5}):
            with Link(**how) as tried:
                for side in ADDRESSES:
                    subprocess.run(tried.command(side, "true"), check=True, capture_output=True)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or b""
        return f"no link between two namespaces: {error} {said.decode() if isinstance(said, bytes) else said}".strip()
    return ""


class Link:
    """Use as a context manager. ``how``: netem, relay, or plain.

    Args:
        loss: share of frames lost, each way, 0..1.
        delay_s: each way.
        multicast: False: as on a network that does not carry it.
    """

    def __init__(self, loss: float = 0.0, delay_s: float = 0.0, multicast: bool = True):
        self.loss, self.delay_s, self._multicast = loss, delay_s, multicast
        self.names = {side: f"erl{os.getpid()}{side[0]}" for side in ADDRESSES}
        self.devices = {side: f"e{os.getpid() % 10**6}{side[0]}" for side in ADDRESSES}
        self.how, self._taps, self._over = "plain", {}, threading.Event()
        self._relay: threading.Thread | None = None

    def __enter__(self) -> Link:
        try:
            for name in self.names.values():
                _ip("netns", "add", name)
                os.makedirs(f"/dev/shm/{name}")
            if not (self.loss or self.delay_s):
                self._cable()
            elif not self._netem():
                self._relayed()
            for side, name in self.names.items():
                _ip("-n", name, "link", "set", "lo", "up")
                _ip("-n", name, "addr", "add", f"{ADDRESSES[side]}/24", "dev", self.devices[side])
                if not self._multicast:
                    _ip("-n", name, "link", "set", self.devices[side], "multicast", "off")
                _ip("-n", name, "link", "set", self.devices[side], "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._relay is not None:
            self._relay.join()
        for tap in self._taps.values():
            os.close(tap)
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
            shutil.rmtree(f"/dev/shm/{name}", ignore_errors=True)

    def _cable(self) -> None:
        robot, workstation = self.devices["robot"], self.devices["workstation"]
        _ip("link", "add", robot, "type", "veth", "peer", "name", workstation)
        for side, name in self.names.items():
            _ip("link", "set", self.devices[side], "netns", name)

    def _netem(self) -> bool:
        self._cable()
        for side, name in self.names.items():
            command = ["ip", "netns", "exec", name, "tc", "qdisc", "add", "dev", self.devices[side], "root", "netem"]
            command += ["limit", "100000", "loss", f"{100 * self.loss:g}%", "delay", f"{1e3 * self.delay_s:g}ms"]
            if shutil.which("tc") is None or subprocess.run(command, capture_output=True).returncode:
                _ip("-n", self.names["robot"], "link", "del", self.devices["robot"])  # and its peer
                return False
        self.how = "netem"
        return True

    def _relayed(self) -> None:
        for side, name in self.names.items():
            self._taps[side] = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            request = struct.pack("16sH", self.devices[side].encode(), _IFF_TAP | _IFF_NO_PI)
            fcntl.ioctl(self._taps[side], _TUNSETIFF, request)
            _ip("link", "set", self.devices[side], "netns", name)
        self.how = "relay"
        self._relay = threading.Thread(target=self._carry, daemon=True)
        self._relay.start()

    def _carry(self) -> None:
        robot, workstation = self._taps.values()
        to, waiting, number, dice = {robot: workstation, workstation: robot}, [], 0, random.Random(0)
        while not self._over.is_set():
            patience = max(waiting[0][0] - time.monotonic(), 0.0) if waiting else 0.1
            for tap in select.select(list(to), [], [], min(patience, 0.1))[0]:
                with contextlib.suppress(OSError):
                    while True:
                        frame, number = os.read(tap, 65_536), number + 1
                        if dice.random() >= self.loss:
                            heapq.heappush(waiting, (time.monotonic() + self.delay_s, number, to[tap], frame))
            while waiting and waiting[0][0] <= time.monotonic():
                *_, tap, frame = heapq.heappop(waiting)
                with contextlib.suppress(OSError):  # a device that is down takes nothing
                    os.write(tap, frame)

    def command(self, side: str, *command: str) -> list[str]:
        """What runs ``command`` on that machine; signals reach it under the same process id."""
        name = self.names[side]
        inside = ["ip", "netns", "exec", name, "unshare", "-m", "sh", "-c", _OWN_MEMORY, "sh", f"/dev/shm/{name}"]
        return [*inside, *command]

    def cut(self, is_cut: bool) -> None:
        """Pull the robot's plug, or put it back."""
        _ip("-n", self.names["robot"], "link", "set", self.devices["robot"], "down" if is_cut else "up")

    def carried(self) -> tuple[int, int]:
        """Bytes so far, (from the robot to the workstation, back), by the robot's /proc/net/dev."""
        command = ["ip", "netns", "exec", self.names["robot"], "cat", "/proc/net/dev"]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        row = next(line for line in text.splitlines() if line.strip().startswith(self.devices["robot"] + ":"))
        numbers = [int(n) for n in row.partition(":")[2].split()]
        return numbers[8], numbers[0]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
