# SPDX-License-Identifier: Apache-2.0
"""Images from the camera process to the policy process over DDS: how many are lost, and how old they arrive.

The camera node runs on a RealSense made of software (pyrealsense2's software_device); a second process subscribes as
policy_controller does. Each image carries its number, so every loss is seen, wherever it happens. Latency is from
the frame's stamp (when the device got it) to the subscriber's callback with the image as an array.

    python benchmarks/camera_transport.py --seconds 60

First with config/fastdds.xml, then for contrast (shorter) with Fast DDS's own settings. Prints a table and one JSON
line last; exit status 1 when an image was lost with config/fastdds.xml.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from erl_vlm_ros.common.dds import profile_variable
from erl_vlm_ros.common.paths import resource
from erl_vlm_ros.runs.supervisor import Domain, die_with_parent

# name -> (our profile, camera publishes reliably, policy asks for reliable images); the first is as in train_real
MODES = {
    "fastdds.xml": (True, True, False),
    "fastdds.xml, reliable policy": (True, True, True),
    "fastdds.xml, best-effort camera": (True, False, False),
    "default": (False, True, False),
    "default, reliable policy": (False, True, True),
    "default, best-effort camera": (False, False, False),
}
NO_PROFILE = '<?xml version="1.0"?>\n<dds xmlns="http://www.eprosima.com"><profiles/></dds>\n'
BUSY = "while True: pass"
GRACE_S = 3.0  # for the last images


def main() -> int:
    """Measure each mode; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the first mode")
    parser.add_argument("--contrast-seconds", type=float, default=10.0, help="of each other mode")
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--fps", type=int, default=30)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--busy", type=int, default=0, help="processes that do nothing but compute meanwhile, niced")
    parser.add_argument("--role", choices=("camera", "policy"), help=argparse.SUPPRESS)
    parser.add_argument("--reliable", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.role:
        return camera(args) if args.role == "camera" else policy(args)
    with contextlib.ExitStack() as stack:
        for _ in range(args.busy):
            command = ["nice", "-n", "10", sys.executable, "-c", BUSY]
            busy = stack.enter_context(subprocess.Popen(command, preexec_fn=die_with_parent))
            stack.callback(busy.kill)
        seconds = [args.seconds] + [args.contrast_seconds] * (len(args.modes) - 1)
        rows = {mode: measure(args, mode, s) for mode, s in zip(args.modes, seconds)}
    print("| | sent | lost | rate Hz | p50 ms | p99 ms | max ms |\n|---|---|---|---|---|---|---|")
    for mode, r in rows.items():
        times = " | ".join("-" if r[k] is None else f"{r[k]:.1f}" for k in ("rate", "p50_ms", "p99_ms", "max_ms"))
        print(f"| {mode} | {r['sent']} | {r['lost']} | {times} |")
    size = f"{args.width}x{args.height}x{args.fps}"
    print(json.dumps({"benchmark": "camera_transport", "image": size, "busy": args.busy, "modes": rows}))
    return int(any(r["lost"] for mode, r in rows.items() if MODES[mode][0]))


def measure(args: argparse.Namespace, mode: str, seconds: float) -> dict[str, float | None]:
    """One camera process and one policy process on a ROS domain of their own."""
    ours, camera_reliable, policy_reliable = MODES[mode]
    domain = Domain()
    with tempfile.TemporaryDirectory() as folder:
        profile = resource("config/fastdds.xml")
        if not ours:
            profile = Path(folder) / "default.xml"
            profile.write_text(NO_PROFILE)
        environment = os.environ | {
            "ROS_DOMAIN_ID": str(domain.number), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_LOG_DIR": folder,
            profile_variable(os.environ.get("ROS_DISTRO")): str(profile),
        }  # fmt: skip
        command = [sys.executable, __file__, "--seconds", str(seconds)]
        for key in ("width", "height", "fps"):
            command += [f"--{key}", str(getattr(args, key))]
        with open(Path(folder) / "camera.log", "w+") as log:
            feeder = subprocess.Popen(
                [*command, "--role", "camera", "--reliable", str(int(camera_reliable))],
                env=environment, stdout=log, stderr=log, preexec_fn=die_with_parent,
            )  # fmt: skip
            try:
                policy = [*command, "--role", "policy", "--reliable", str(int(policy_reliable))]
                done = subprocess.run(policy, env=environment, capture_output=True, text=True, timeout=seconds + 120)
            finally:
                feeder.kill()
                feeder.wait()
                domain.close()
            if done.returncode:
                log.seek(0)
                raise SystemExit(f"{mode}: {done.stderr[-2000:]}\ncamera:\n{log.read()[-2000:]}")
    row = json.loads(done.stdout.splitlines()[-1])
    print(f"  {mode}: {row}", file=sys.stderr)
    return row


def camera(args: argparse.Namespace) -> int:
    """The camera node, and a thread in place of the lens."""
    from erl_vlm_ros.camera.software import SoftwareCamera
    from erl_vlm_ros.nodes.camera import CameraNode
    from erl_vlm_ros.ros.node_base import run

    soft = SoftwareCamera(args.width, args.height, args.fps)
    image = np.random.default_rng(0).integers(0, 255, (args.height, args.width, 3), np.uint8)

    def lens() -> None:
        due = time.monotonic()
        while True:
            due += 1 / args.fps
            time.sleep(max(0.0, due - time.monotonic()))
            image[0, :2].reshape(-1)[:4] = np.frombuffer((soft.number + 1).to_bytes(4, "little"), np.uint8)
            soft.feed(image)

    threading.Thread(target=lens, daemon=True).start()
    profile = f"{args.width}x{args.height}x{args.fps}"
    parameters = {"profile": profile, "warmup_frames": 0, "reliable_images": bool(args.reliable)}
    settings = [word for k, v in parameters.items() for word in ("-p", f"{k}:={json.dumps(v)}")]
    return run(lambda: CameraNode(lambda: soft.device), ["--ros-args", *settings])


def policy(args: argparse.Namespace) -> int:
    """Subscribe as policy_controller does; prints what arrived as one JSON line."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.node import Node
    from sensor_msgs.msg import Image

    from erl_vlm_ros.common import names
    from erl_vlm_ros.ros import convert, qos

    rclpy.init()
    node, executor = Node("policy"), SingleThreadedExecutor()
    executor.add_node(node)
    seen: dict[int, float] = {}

    def receive(message: Image) -> None:
        rgb = convert.image_to_rgb(message)
        number = int.from_bytes(rgb[0, :2].reshape(-1)[:4].tobytes(), "little")
        seen.setdefault(number, (time.time_ns() - convert.header_ns(message)) * 1e-6)

    node.create_subscription(Image, names.IMAGE, receive, qos.sensor(bool(args.reliable)))
    count = round(args.seconds * args.fps)
    begin = time.monotonic()
    while not seen and time.monotonic() - begin < 60.0:
        executor.spin_once(timeout_sec=0.1)
    if not seen:
        print("nothing arrived within 60 s", file=sys.stderr)
        return 1
    first, began = min(seen), time.monotonic()
    while time.monotonic() - began < args.seconds + GRACE_S and max(seen) < first + count - 1:
        executor.spin_once(timeout_sec=0.1)
    took = time.monotonic() - began
    sent = count if max(seen) >= first + count - 1 else min(count, round(took * args.fps))
    times = np.array([t for n, t in seen.items() if n < first + count])
    row = {"sent": sent, "lost": max(0, sent - times.size), "rate": round(times.size / took, 2)}
    for name, value in (("p50", np.median(times)), ("p99", np.percentile(times, 99)), ("max", times.max())):
        row[f"{name}_ms"] = round(float(value), 2)
    print(json.dumps(row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
