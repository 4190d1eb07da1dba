# SPDX-License-Identifier: Apache-2.0
"""Node health and alarms, from what stands on /diagnostics."""

from __future__ import annotations

import pytest

from erl_vlm_ros.monitoring.health import ALARM_KEPT_S, ERROR, OK, STALE, WARN, Health


@pytest.fixture
def health():
    return Health(["safety_guard", "learner"], now=0.0, stale_s=4.0, start_s=30.0)


def test_a_node_may_take_its_time_to_start_but_not_for_ever(health):
    assert health.report(10.0)["learner"].level == WARN
    gone = health.report(31.0)["learner"]
    assert (gone.level, gone.text, gone.age_s) == (STALE, "never heard", None)


def test_silence_is_death_and_a_restart_is_noticed(health):
    health.hear("learner: heartbeat", OK, "running", 50.0)
    assert health.report(53.9)["learner"].level == OK
    dead = health.report(54.1)["learner"]
    assert dead.level == STALE and "silent for 4 s" in dead.text
    health.hear("learner: heartbeat", OK, "running", 60.0)
    assert health.report(60.5)["learner"].level == OK


def test_another_nodes_words_do_not_keep_a_dead_node_alive(health):
    health.hear("safety_guard: heartbeat", OK, "running", 1.0)
    health.hear("safety_guard", WARN, "disarmed", 9.0)
    assert health.report(10.0)["safety_guard"].level == STALE


def test_a_driver_without_heartbeat_lives_by_its_statuses():
    health = Health(["camera"], 0.0, 4.0, 30.0)
    health.hear("camera: color", OK, "30 Hz", 40.0)
    assert health.report(41.0)["camera"].level == OK and health.report(45.0)["camera"].level == STALE


def test_the_worst_fresh_status_is_shown(health):
    for now in range(0, 40):
        health.hear("safety_guard: heartbeat", OK, "running", float(now))
    health.hear("safety_guard", ERROR, "estopped: service call", 20.0)
    health.hear("safety_guard: rate", WARN, "late", 20.0)
    now = health.report(21.0)["safety_guard"]
    assert (now.level, now.text) == (ERROR, "estopped: service call")
    assert health.report(39.0)["safety_guard"].level == OK  # both are old


def test_long_callbacks_matter_next_to_the_robot_and_hardly_where_networks_train(health):
    for node in ("safety_guard", "learner"):
        health.hear(f"{node}: heartbeat", OK, "busy", 1.0, busy_s=5.0)
    report = health.report(1.5)
    assert report["safety_guard"].level == WARN and report["learner"].level == OK
    assert report["learner"].text == "busy for 5 s"


def test_a_node_that_was_not_expected_is_tracked_once_it_beats(health):
    health.hear("camera: heartbeat", OK, "running", 1.0)
    health.hear("stranger", WARN, "?", 1.0)
    health.hear("monitor_view: heartbeat", OK, "running", 1.0)
    health.hear("erl_vlm_ros: ghost", STALE, "from a monitor", 1.0)
    assert list(health.report(1.0)) == ["safety_guard", "learner", "camera"]


def test_figures_have_an_age(health):
    health.figures("learner", 2.0)
    report = health.report(5.0)
    assert report["learner"].figures_age_s == 3.0 and report["safety_guard"].figures_age_s is None


def test_alarms_worst_first_until_they_are_cleared_or_forgotten(health):
    health.hear("alarm/all_bad", WARN, "90% Bad", 1.0)
    health.hear("alarm/collapse", ERROR, "rewards are flat", 2.0)
    health.hear("alarm/all_bad", WARN, "95% Bad", 3.0)
    assert [(a.name, a.text, a.since) for a in health.alarms(4.0)] == [
        ("collapse", "rewards are flat", 2.0),
        ("all_bad", "95% Bad", 1.0),
    ]
    health.hear("alarm/collapse", OK, "", 5.0)
    assert [a.name for a in health.alarms(6.0)] == ["all_bad"]
    assert health.alarms(3.5 + ALARM_KEPT_S) == []
