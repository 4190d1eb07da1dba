# SPDX-License-Identifier: Apache-2.0
"""Training alarms reach /diagnostics over real DDS, and are told as over when they are."""

from __future__ import annotations

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from std_msgs.msg import UInt8MultiArray

from erl_vlm_ros.common import names
from erl_vlm_ros.data.bundle import encode
from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.data.query import Label, LabelBatch
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.ros import convert, qos

JPEG = encode_jpeg(np.full((32, 32, 3), 120, np.uint8))


def test_an_alarm_is_raised_and_is_over(ros):
    heard = ros.collect(DiagnosticArray, names.DIAGNOSTICS, 50)
    ros.start("monitor")
    ratings = ros.publisher(UInt8MultiArray, names.LABELS, qos.bulk())
    metrics = ros.publisher(DiagnosticArray, names.METRICS, qos.metrics())

    def rate(number, levels):
        rated = []
        for i, level in enumerate(levels):
            segment = Segment(f"e{number}_t{i}_h1", [JPEG], np.zeros((1, 10)), np.zeros((1, 3)), np.array([i]))
            rated.append(Label.of(segment, level))
        batch = LabelBatch(number, 5, len(rated), rated)
        ratings.publish(convert.bytes_message(encode(batch.to_bundle())))

    def state(alarm):
        """Newest level and text."""
        found = [s for m in heard for s in m.status if s.name == names.ALARM_PREFIX + alarm]
        return (found[-1].level, found[-1].message) if found else None

    rate(0, [0] * 120)
    text = "100% of 120 ratings are the lowest class"
    ros.until(lambda: state("all_bad") == (DiagnosticStatus.WARN, text), "all_bad")
    assert state("reward_collapse") == (DiagnosticStatus.OK, "")
    rate(1, [1] * 20)
    ros.until(lambda: state("all_bad") == (DiagnosticStatus.OK, ""), "the alarm to be over")
    metrics.publish(convert.metrics_message("learner", {"learning": 1.0, "reward_spread": 0.001}, 0))
    ros.until(lambda: state("reward_collapse")[0] == DiagnosticStatus.ERROR, "reward_collapse")
