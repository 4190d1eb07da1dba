# SPDX-License-Identifier: Apache-2.0
"""What `ros2 bag record` does, without a ROS installation: topics of a running graph go into an MCAP file, unread."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

_LOOK_S = 0.1  # for new topics


class BagRecorder:
    """Use as a context: it records while that lasts, each topic from when its publisher is seen, as that offers it."""

    def __init__(self, path: Path, topics: Sequence[str], domain: int):
        self._writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
        self._store, self._topics = get_typestore(Stores.ROS2_JAZZY), topics
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain)
        self._node = Node("recorder", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._spin)
        self.counts: dict[str, int] = {}

    def __enter__(self) -> BagRecorder:
        self._writer.open()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._writer.close()
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)

    def _spin(self) -> None:
        looked = 0.0
        while not self._over.is_set():
            if time.monotonic() - looked > _LOOK_S:
                looked = time.monotonic()
                self._subscribe()
            self._executor.spin_once(timeout_sec=0.05)

    def _subscribe(self) -> None:
        for topic in self._topics:
            offers = [] if topic in self.counts else self._node.get_publishers_info_by_topic(topic)
            if not offers:
                continue
            kind = offers[0].topic_type
            offered = [offer.qos_profile for offer in offers]
            reliable = all(q.reliability == ReliabilityPolicy.RELIABLE for q in offered)
            latched = all(q.durability == DurabilityPolicy.TRANSIENT_LOCAL for q in offered)
            asked = QoSProfile(
                depth=2000,
                reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
                durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
            )
            connection = self._writer.add_connection(topic, kind, typestore=self._store)
            self.counts[topic] = 0

            def write(raw: bytes, topic: str = topic, connection: object = connection) -> None:
                self._writer.write(connection, time.time_ns(), raw)
                self.counts[topic] += 1

            self._node.create_subscription(_class_of(kind), topic, write, asked, raw=True)


def _class_of(kind: str) -> Any:
    package, _, name = kind.partition("/msg/")
    return getattr(importlib.import_module(f"{package}.msg"), name)
