# SPDX-License-Identifier: Apache-2.0
"""The seam of algorithms: what is registered from outside learns, is saved, exported and read by the robot's side."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from factories import make_episode
from refusals import refused
from toy_agent import KIND, ConstantPolicy

from erl_vlm_ros.agents.base import AGENTS, AgentSpec
from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.registry import Registry
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.control.policies import POLICIES, read_policy
from erl_vlm_ros.data.bundle import BundleError
from erl_vlm_ros.data.checkpoint import load_state, save_state
from erl_vlm_ros.data.query import Label, LabelBatch
from erl_vlm_ros.data.sources import ListSource, SourcedEpisode, make_source, unseen
from erl_vlm_ros.training.configs import learner_config, node_values, reward_config
from erl_vlm_ros.training.learner import EXPLORE, LEARN, Learner
from erl_vlm_ros.training.local import LocalConfig, LocalLoop

TASK = load_task("drawer_open")
QUICK = {"warmup_steps": 40, "first_ratings": 12, "round_steps": 40, "round_ratings": 6, "max_ratings": 18}
QUICK_REWARD = {"trunk.first_iterations": 2, "trunk.iterations": 2, "heads.iterations": 5}


@pytest.fixture(autouse=True)
def constant_policy(monkeypatch):
    monkeypatch.setitem(POLICIES._table, KIND, ConstantPolicy)


def learner(algorithm, **parameters):
    values = node_values("learner", TASK, {**QUICK, "algorithm": algorithm, **parameters})
    return Learner(dataclasses.replace(learner_config(values, TASK), spaces=None), 0)


def filled(algorithm, episodes=2, **parameters):
    made = learner(algorithm, **parameters)
    for i in range(episodes):
        made.add_episode(make_episode(i))
    return made


def test_an_agent_that_needs_nothing_asks_nobody_and_learns_after_the_warmup():
    made = filled("toy_agent:ConstantAgent", 1, algorithm_options="{rate: 1.0, batch_size: 1000}")
    assert made.phase == EXPLORE and made.episode_budget() == 2 and made.actor_bundle().arrays == {}
    made.add_episode(make_episode(1))
    assert made.phase == LEARN and not made.round_due() and not made.out_of_ratings
    assert made.pending_updates == 20 + 20 and made.update(100)
    assert made.pending_updates == 0 and made.updates == 40
    policy = read_policy(made.actor_bundle())
    assert isinstance(policy, ConstantPolicy)
    mean = np.concatenate([make_episode(i).actions for i in range(2)]).mean(0)
    np.testing.assert_allclose(policy.act(np.zeros(19), True), mean, atol=0.1)


def test_an_agent_that_needs_labels_has_no_reward_model():
    made = filled("toy_agent:LabelAgent", segment_length=2)
    assert made.round_due()
    batch = made.make_round()
    assert made.episode_budget() == made.episodes  # holds still until the labels are here
    failed = LabelBatch(0, 3, 12, [Label(query, -1, "refusal") for query in batch.queries])
    assert not made.add_labels(failed) and made.phase == EXPLORE and not made.out_of_ratings
    for i in (2, 3):
        made.add_episode(make_episode(i))
    batch = made.make_round()
    answers = LabelBatch(1, 3, 6, [Label(query, i % 3) for i, query in enumerate(batch.queries)])
    assert made.add_labels(answers) and made.phase == LEARN and made.model is None and len(made.labels) == 6
    assert made.add_labels(answers) and len(made.labels) == 6  # a latched batch may come twice
    made.update(3)
    best = np.concatenate([label.segment.actions for label in answers.labels if label.value == 2]).mean(0)
    np.testing.assert_allclose(made.agent.action, best * (1 - 0.5**3), atol=1e-6)


@pytest.mark.slow
def test_saved_and_gone_on_with(tmp_path):
    made = filled("toy_agent:LabelAgent", segment_length=2)
    batch = made.make_round()
    made.add_labels(LabelBatch(0, 3, 12, [Label(query, i % 3) for i, query in enumerate(batch.queries)]))
    made.update(5)
    save_state(tmp_path / "state", made.state_dict(), "learner")
    again = learner("toy_agent:LabelAgent", segment_length=2)
    again.load_state_dict(load_state(tmp_path / "state", "learner"))
    assert again.metrics() == pytest.approx(made.metrics(), nan_ok=True) and len(again.labels) == len(made.labels)
    for one in (made, again):
        one.add_episode(make_episode(5))
        one.update(10)
    np.testing.assert_array_equal(made.agent.action, again.agent.action)
    with pytest.raises(ConfigError) as refused:
        learner("sac").load_state_dict(load_state(tmp_path / "state", "learner"))
    assert refused.value.parameter == "learner.algorithm"


def test_updates_without_a_new_step():
    made = filled("toy_agent:ConstantAgent", offline_updates=500, updates_per_step=0.0, catch_up=0.0)
    assert made.pending_updates == 500
    while made.pending_updates >= 1:
        made.update(64)
    assert made.updates == 500 and made.env_steps == 40
    again = learner("toy_agent:ConstantAgent", offline_updates=500)
    again.load_state_dict(made.state_dict())
    assert again.pending_updates == 0  # granted once


def labelled(made, good=True):
    """One round, asked and answered; returns how many queries it had."""
    batch = made.make_round()
    labels = [Label(q, (len(q.id) % 5) if good else -1, "" if good else "bad_answer") for q in batch.queries]
    made.add_labels(LabelBatch(batch.round, 5, len(labels), labels))
    return len(batch.queries)


def test_offline_all_is_asked_before_anything_is_learned():
    made = learner("toy_agent:LabelAgent", live=False, offline_updates=30, max_ratings=30, segment_length=2)
    made.add_episode(make_episode(0))
    made.add_episode(make_episode(1))
    assert made.phase == EXPLORE and made.pending_updates == 0
    made.end_of_data()
    while made.round_due():
        assert made.phase == EXPLORE and labelled(made, good=made.schedule.sent != 1)
        assert made.schedule.requested <= 30
    assert made.phase == LEARN and made.pending_updates == 30  # nothing for steps, nothing to catch up with
    made.update(10**6)
    assert made.done and made.updates == 30


def test_offline_the_frames_may_run_out_before_the_ratings():
    made = learner("toy_agent:LabelAgent", live=False, offline_updates=5, max_ratings=900, segment_length=2)
    made.add_episode(make_episode(0))
    made.end_of_data()
    counts = []
    while made.round_due():
        counts.append(labelled(made) if made.schedule.sent < 9 else pytest.fail("asked without end"))
    assert sum(counts) == 19 and counts[-1] == 0 and made.schedule.requested == 19
    assert made.phase == LEARN and made.pending_updates == 5 and not made.stalled


def test_an_offline_run_is_continued_with_more_updates_and_goes_on_online():
    made = learner("toy_agent:ConstantAgent", live=False, offline_updates=40)
    made.add_episode(make_episode(0))
    assert made.phase == EXPLORE and made.pending_updates == 0
    made.end_of_data()
    made.update(25)
    state = made.state_dict()
    again = learner("toy_agent:ConstantAgent", live=False, offline_updates=100)
    again.load_state_dict(state)
    again.end_of_data()
    assert again.updates + again.pending_updates == 100
    online = learner("toy_agent:ConstantAgent", round_steps=60)
    online.load_state_dict(state)
    assert (online.clock, online.phase, online.updates) == (online.env_steps, LEARN, 25) and not online.done
    before = online.pending_updates
    online.add_episode(make_episode(1))
    assert online.pending_updates == before + 20 and online.episode_budget() >= 2


@pytest.mark.parametrize("name", ["sak", "toy_agent:Nobody", "no_such_module:X", "", ":"])
def test_an_unknown_algorithm_is_refused(name):
    with pytest.raises(ConfigError):
        AgentSpec.from_values({"algorithm": name}, 19, 3)


def test_a_name_is_checked_without_importing_anything():
    with pytest.raises(ConfigError) as refused:
        AGENTS.check("sak", "learner.algorithm")
    assert refused.value.code == Code.UNKNOWN and refused.value.parameter == "learner.algorithm"
    code = "import sys, erl_vlm_ros.graphs.build, erl_vlm_ros.control.policies; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


@pytest.mark.parametrize("given", ["[1]", "5", "{1: 2}", "{rate", "{speed: 3}"])
def test_bad_options_are_refused(given):
    with pytest.raises(ConfigError):
        learner("toy_agent:ConstantAgent", algorithm_options=given)


def test_a_message_cannot_have_a_module_imported():
    bundle = filled("toy_agent:ConstantAgent").actor_bundle()
    bundle.meta["policy"] = "toy_agent:ConstantPolicy"
    with pytest.raises(BundleError):
        read_policy(bundle)


def test_an_installed_package_brings_members_by_entry_point(tmp_path, monkeypatch):
    info = tmp_path / "others-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[erl_vlm_ros.thing]\nmine = toy_agent:ConstantPolicy\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    things = Registry("thing", {})
    assert things.names() == ["mine"] and things.load("mine", trusted=False) is ConstantPolicy


def local_loop(algorithm, source, **parameters):
    values = node_values("learner", TASK, {**QUICK, "algorithm": algorithm, **parameters})
    config = LocalConfig(
        learner_config(values, TASK), reward_config(node_values("reward_trainer", TASK, QUICK_REWARD), TASK),
        max_steps=100, eval_every=0, eval_episodes=2, image_size=64,
    )  # fmt: skip
    return LocalLoop(TASK, config, 0, teacher=lambda truth: rate_by_id, source=source)


def rate_by_id(batch):
    return LabelBatch(batch.round, 5, len(batch.queries), [Label(q, len(q.id) % 5) for q in batch.queries])


def test_a_constant_agent_runs_through_the_local_loop():
    loop = local_loop("toy_agent:ConstantAgent", None)
    out = loop.run()
    assert (out["env_steps"], out["ratings_requested"], loop.learner.updates) == (100, 0, 25 + 50 + 50)
    assert loop.learner.episodes == 2 and loop.learner.agent.action.any()


def test_a_list_is_a_source_and_updates_need_no_new_step():
    loop = local_loop("toy_agent:ConstantAgent", ListSource([make_episode(7, 50), make_episode(3, 50)]),
                      offline_updates=200)  # fmt: skip
    out = loop.run()
    assert out["env_steps"] == 100 and loop.learner.done and loop.learner.updates == 25 + 50 + 50 + 200
    assert out["history"][-1]["success_rate"] == 0.0  # evaluated at the end, in the simulation


@pytest.mark.parametrize(("algorithm", "models"), [("toy_agent:LabelAgent", 0), ("sac", 3)])
def test_without_new_steps_all_rounds_come_still(algorithm, models):
    loop = local_loop(algorithm, ListSource(make_episode(i) for i in range(2)), offline_updates=150, segment_length=2)
    out = loop.run()
    assert loop.learner.done and out["ratings_requested"] == 18 and loop.learner.updates >= 150
    assert (0 if loop.learner.model is None else loop.learner.model.info.round) == models // 3 * 2


def test_a_teacher_without_an_answer_is_not_asked_for_ever():
    loop = local_loop("sac", ListSource([make_episode(0)]))
    loop.teacher = lambda batch: LabelBatch(batch.round, 5, 12, [Label(q, -1, "timeout") for q in batch.queries])
    with pytest.raises(ConfigError):
        loop.run()


def test_rewards_of_a_source_ask_nobody():
    items = [SourcedEpisode(make_episode(i), np.linspace(0, 1, 20, dtype=np.float32)) for i in range(3)]
    loop = local_loop("sac", ListSource(items), rewards_given=True, offline_updates=20)
    out = loop.run()
    assert out["ratings_requested"] == 0 and loop.learner.done and loop.learner.model is None
    assert loop.learner.replay.rewards.max() == 1.0


def test_an_earlier_run_is_a_source(tmp_path):
    made = filled("toy_agent:ConstantAgent", 3, capacity=100)
    made.add_episode(make_episode(3, 45))  # the first leaves
    save_state(tmp_path / "checkpoint" / "learner.safetensors", made.state_dict(), "learner")
    source, again = make_source("run", str(tmp_path), True), learner("toy_agent:ConstantAgent")
    found = list(unseen(source, lambda: 1))
    assert source.exhausted and [item.episode.index for item in found] == [1, 2]
    for item, index in zip(found, (2, 3)):
        original = make_episode(index, 45 if index == 3 else 20)
        for name in ("observations", "actions", "stamps", "intervention", "extras"):
            np.testing.assert_array_equal(getattr(item.episode, name), getattr(original, name))
        assert item.episode.jpegs == original.jpegs and item.rewards.shape == (original.steps,)
        again.add_episode(item.episode, item.rewards)
    assert make_source("live", "", False) is None
    for bad in ("", str(tmp_path / "nowhere")):
        with pytest.raises(ConfigError):
            make_source("run", bad, False)


def test_the_released_run_is_a_source_too(tmp_path):
    replay = filled("toy_agent:ConstantAgent").state_dict()["replay"]
    counters = dict.fromkeys(
        ("env_steps", "episodes", "version", "updates", "refunded", "owed", "ratings_requested", "rounds_sent",
         "rounds_done", "next_round_at", "last_return", "phase"), 0,
    )  # fmt: skip
    rest = dict.fromkeys(("sac", "rng", "batch_rng", "model", "pending"))
    state = {"replay": replay, "counters": counters, "rated": np.zeros(0, np.int64), **rest}
    save_state(tmp_path / "sac_learner.safetensors", state, "sac_learner")
    assert len(list(unseen(make_source("run", str(tmp_path), False), lambda: 0))) == 2


def test_an_algorithm_takes_over_in_the_world_what_another_learned_from_recordings():
    """Buffer, labels and reward model come along; the new agent learns from the buffer before the first step."""
    loop = local_loop("iql", ListSource(make_episode(i) for i in range(2)), offline_updates=5, live=False)
    loop.run()
    before = loop.learner
    state = before.state_dict()
    on = learner("sac")
    on.load_state_dict(state)
    assert on.phase == LEARN and on.model is not None and on.schedule.requested == 18
    seen = make_episode(0).observations[0]

    def acts(made):
        return read_policy(made.actor_bundle()).act(seen, True)

    np.testing.assert_allclose(acts(on), acts(before), atol=1e-6)
    np.testing.assert_array_equal(on.replay.rewards, before.replay.rewards)
    assert on.pending_updates == len(on.replay) == 40 and on.episode_budget() == on.episodes + 1
    on.update(100)
    np.testing.assert_allclose(acts(on), acts(before), atol=1e-6)  # before the first step it is the other's policy
    assert on.updates == before.updates + 40 and on.episode_budget() == on.episodes + 2
    assert learner("sac", offline_updates=7).pending_updates == 0
    other = learner("sac", offline_updates=7)
    other.load_state_dict(state)
    assert other.pending_updates == other.agent.sac.guide.held == 7
    anew = learner("sac", **{"sac.take_policy": False})
    anew.load_state_dict(state)
    assert anew.agent.sac.guide is None and np.abs(acts(anew) - acts(before)).max() > 1e-3
    with refused(code=Code.DOES_NOT_FIT, parameter="learner.sac.hidden"):
        learner("sac", **{"sac.hidden": [8]}).load_state_dict(state)
    for wrong in (learner("sac", live=False), learner("bc")):
        with pytest.raises(ConfigError) as error:
            wrong.load_state_dict(state)
        assert error.value.parameter == "learner.algorithm"


@pytest.mark.slow
def test_a_loop_goes_on_from_what_another_learned_from_recordings():
    before = local_loop("iql", ListSource(make_episode(i) for i in range(2)), offline_updates=5, live=False)
    before.run()
    loop = local_loop("sac", None, updates_per_step=0.1, max_ratings=18)
    loop.go_on_from(before.learner.state_dict(), before.trainer.state_dict())
    assert [row["env_steps"] for row in loop.history] == [40] and loop.learner.pending_updates < 1
    assert loop.history[0]["success_rate"] == before.history[-1]["success_rate"]
    loop.run()
    assert loop.learner.env_steps == 140 and loop.learner.updates == before.learner.updates + 40 + 10
