# SPDX-License-Identifier: Apache-2.0
"""policy_controller with real sim_bridge and safety_guard processes; the learner is played by the test."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped, TwistStamped
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Bool, Float64MultiArray, String, UInt8MultiArray
from std_srvs.srv import SetBool

from erl_vlm_ros.common import names
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.bundle import Bundle, decode, encode
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.images import decode_jpeg
from erl_vlm_ros.data.observation import build_observation
from erl_vlm_ros.data.spaces import RELEASED_OBSERVATION
from erl_vlm_ros.ros import convert, qos
from erl_vlm_ros.sim.arm import FINGER_NAMES, JOINT_NAMES, SimArm
from erl_vlm_ros.sim.bridge import BridgeCore

TASK = load_task("drawer_open")
STEPS = TASK.episode_steps


def actor_bundle(action=None, budget=0, version=1, env_steps=0, episodes=0, act_dim=3):
    """An actor that always does ``action``; without one: no weights yet."""
    arrays = {}
    if action is not None:
        bias = np.concatenate([np.arctanh(np.array(action)), np.zeros(act_dim)])
        arrays = {
            "w0": np.zeros((19, 2 * act_dim), np.float32), "b0": bias.astype(np.float32),
            "log_std_bounds": np.array([-10.0, -9.0], np.float32),
        }  # fmt: skip
    meta = {"version": version, "env_steps": env_steps, "episodes": episodes, "episode_budget": budget}
    return encode(Bundle("actor", arrays, meta | {"phase": "learn" if arrays else "explore"}))


class Graph:
    """Bridge, guard and controller, with the test as learner."""

    def __init__(self, ros, bridge=(), guard=(), **parameters):
        self.ros = ros
        self.raw_episodes = ros.collect(UInt8MultiArray, names.TRANSITIONS, qos.bulk())
        self.raw_evaluations = ros.collect(UInt8MultiArray, names.EVALUATION_EPISODES, qos.bulk())
        self.states = ros.collect(String, names.RUN_STATE, qos.latched())
        self.learner = ros.node.create_publisher(UInt8MultiArray, names.ACTOR, qos.latched())
        self.parameters = {
            "auto_arm": True,
            "eval_every": 0,
            "checkpoint_dir": str(ros.folder / "checkpoint"),
        } | parameters
        ros.start("sim_bridge", **dict(bridge))
        ros.start("safety_guard", **dict(guard))
        self.start_controller()

    def close(self):
        """Stop the processes and forget the learner, so that another graph can follow."""
        for name in ("policy_controller", "safety_guard", "sim_bridge"):
            assert self.ros.stop(name) == 0
        self.ros.node.destroy_publisher(self.learner)

    def start_controller(self, **more):
        self.ros.start("policy_controller", **self.parameters | more)

    def publish_actor(self, **kwargs):
        self.learner.publish(convert.bytes_message(actor_bundle(**kwargs)))

    def episodes(self, count, evaluation=False):
        raw = self.raw_evaluations if evaluation else self.raw_episodes
        self.ros.until(lambda: len(raw) >= count, f"{count} episodes, have {len(raw)}")
        return [Episode.from_bundle(decode(convert.bytes_of(m), "episode")) for m in raw]

    def state(self, **wanted):
        def holds():
            now = json.loads(self.states[-1].data) if self.states else {}
            return all(now.get(k) == v for k, v in wanted.items())

        self.ros.until(holds, f"run/state {wanted}, last {self.states[-1].data if self.states else None}")


def test_episode_holds_what_the_bridge_sent_and_what_was_commanded(ros):
    sensor = qos.sensor(True, 500)
    images = ros.collect(Image, names.IMAGE, sensor)
    joints = ros.collect(JointState, names.JOINT_STATES, sensor)
    ee = ros.collect(PoseStamped, names.EE_POSE, sensor)
    objects = ros.collect(PoseStamped, names.OBJECT_POSE, sensor)
    commands = ros.collect(TwistStamped, names.POLICY_TWIST, qos.metrics())
    graph = Graph(ros, bridge={"seed": 4})
    ros.until(lambda: images and joints and ee and objects, "what the bridge repeats until it is answered")
    graph.publish_actor(budget=2)
    first, second = graph.episodes(2)
    graph.state(state="running", detail="waiting", env_steps=2 * STEPS, episodes=2)  # the budget is used up
    assert [(e.index, e.steps, e.evaluation) for e in (first, second)] == [
        (0, STEPS, False),
        (1, STEPS, False),
    ]
    assert all(e.truncated and not e.terminated and e.actor_version == 1 for e in (first, second))
    by_stamp = [{convert.header_ns(m): m for m in messages} for messages in (images, joints, ee, objects, commands)]
    for episode in (first, second):
        assert np.array_equal(np.diff(episode.stamps), np.full(STEPS, 100_000_000))
        for t, stamp in enumerate(episode.stamps.tolist()):
            image, joint, ee, thing, command = (messages.get(stamp) for messages in by_stamp)
            q = convert.joints_by_name(joint, [*JOINT_NAMES, *FINGER_NAMES])
            expected = build_observation(
                RELEASED_OBSERVATION, q[:6], convert.position_of(ee), q[6:].sum(), convert.position_of(thing),
                TASK.goal,
            )  # fmt: skip
            assert np.array_equal(episode.observations[t], expected)
            difference = decode_jpeg(episode.jpegs[t]).astype(int) - convert.image_to_rgb(image)
            assert np.abs(difference).mean() < 6
            if t < STEPS:
                assert np.allclose(convert.linear_of(command), episode.actions[t] * TASK.linear_speed, atol=1e-6)
    assert np.abs(first.actions).max() <= 1 and first.actions.std() > 0.1
    # the starts are those of the bridge's seed
    core = BridgeCore(SimArm("drawer_open"), 4)
    for index, episode in enumerate((first, second)):
        core.reset(episode_index=index)
        assert np.allclose(episode.observations[0][6:9], core.arm.ee_position)


def test_same_seeds_give_the_same_episodes_byte_for_byte(ros):
    runs = []
    for folder in ("one", "other"):  # in the same folder the second would go on where the first ended
        graph = Graph(ros, bridge={"seed": 6}, seed=6, checkpoint_dir=str(ros.folder / folder))
        graph.publish_actor(budget=2)
        runs.append(graph.episodes(2))
        graph.close()
    for one, other in zip(*runs):
        assert np.array_equal(one.stamps, other.stamps)
        assert np.array_equal(one.actions, other.actions)
        assert np.array_equal(one.observations, other.observations)
        assert one.jpegs == other.jpegs


def test_evaluates_on_schedule_with_its_own_seeds_and_finishes(ros):
    graph = Graph(ros, eval_every=100, eval_episodes=2, final_eval_episodes=3, max_steps=150, eval_seed=70)
    graph.publish_actor(action=(0.1, -0.2, 0.3), budget=100, version=5, env_steps=0)
    early = graph.episodes(2, evaluation=True)
    graph.episodes(3)
    graph.state(detail="waiting", awaits="learner")
    graph.publish_actor(action=(0.3, 0.2, 0.1), budget=100, version=6, env_steps=150, episodes=3)
    evaluations = graph.episodes(5, evaluation=True)
    graph.state(state="finished", env_steps=150, episodes=3, eval_round=2, eval_episodes=3, eval_final=True)
    assert [(e.index, e.seed, e.actor_version) for e in evaluations] == [
        (0, 70, 5),
        (1, 71, 5),
        (0, 70, 6),
        (1, 71, 6),
        (2, 72, 6),
    ]
    assert all(e.evaluation and e.steps == STEPS for e in evaluations)
    assert np.allclose(early[0].actions, (0.1, -0.2, 0.3), atol=1e-5)  # the mean action, always
    assert np.array_equal(evaluations[0].observations[0], evaluations[2].observations[0])  # same seed, same start
    assert not any(e.evaluation for e in graph.episodes(3))


@pytest.mark.parametrize("number, resume", [(signal.SIGTERM, True), (signal.SIGKILL, False)])
def test_a_restarted_controller_goes_on_where_the_learner_is(ros, number, resume):
    graph = Graph(ros, bridge={"seed": 9})
    graph.publish_actor(budget=2)
    graph.episodes(2)
    graph.publish_actor(budget=100, env_steps=2 * STEPS, episodes=2)
    ros.until(lambda: len(graph.raw_episodes) >= 3, "another episode")
    status = ros.stop("policy_controller", number)
    assert status == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    done = len(graph.episodes(3))
    graph.publish_actor(budget=done + 1, env_steps=done * STEPS, episodes=done)
    graph.start_controller(resume=resume)
    episode = graph.episodes(done + 1)[done]
    graph.state(detail="waiting", env_steps=(done + 1) * STEPS, episodes=done + 1)
    assert (episode.index, episode.steps) == (done, STEPS)
    core = BridgeCore(SimArm("drawer_open"), 9)
    core.reset(episode_index=done)
    assert np.allclose(episode.observations[0][6:9], core.arm.ee_position)
    if resume:
        assert "restored" in ros.log("policy_controller")


def test_a_restarted_bridge_costs_the_running_episode_only(ros):
    graph = Graph(ros)
    graph.publish_actor(budget=1)
    graph.episodes(1)
    graph.publish_actor(budget=10**6)
    ros.until(lambda: len(graph.raw_episodes) >= 2, "another episode")
    ros.stop("sim_bridge", signal.SIGKILL)
    done = len(graph.episodes(2))
    ros.start("sim_bridge")
    episode = graph.episodes(done + 1)[done]
    assert (episode.index, episode.steps) == (done, STEPS)
    assert episode.stamps[0] < 10 * 100_000_000  # the new bridge's time


def test_disarming_cuts_the_episode_and_arming_goes_on(ros):
    graph = Graph(ros, auto_arm=False)
    graph.state(detail="disarmed")
    graph.publish_actor(budget=10**6)
    graph.state(detail="disarmed", awaits="guard")
    assert ros.call(SetBool, names.ARM, SetBool.Request(data=True)).success
    graph.episodes(1)
    assert ros.call(SetBool, names.ARM, SetBool.Request(data=False)).success
    graph.state(detail="disarmed")
    ros.serve(0.3)
    episodes = graph.episodes(1)
    assert [e.index for e in episodes] == list(range(len(episodes)))
    assert ros.call(SetBool, names.ARM, SetBool.Request(data=True)).success
    later = graph.episodes(len(episodes) + 1)[len(episodes)]
    assert (later.index, later.steps) == (len(episodes), STEPS)


def test_gripper_task_in_evaluate_mode_from_a_file(ros, tmp_path):
    path = tmp_path / "actor.safetensors"
    path.write_bytes(actor_bundle(action=(0.0, 0.1, 0.2, 0.5), version=12, act_dim=4))
    widths = ros.collect(Float64MultiArray, names.ARM_GRIPPER, qos.metrics())
    task = {"task": "pick_place"}
    evaluate = {"mode": "evaluate", "actor_file": str(path), "final_eval_episodes": 2, "eval_seed": 1000}
    armed = ros.collect(Bool, names.ARMED, qos.latched())
    graph = Graph(ros, bridge=task, guard=task, auto_arm=False, **task, **evaluate)
    ros.until(lambda: armed, "a connection to the guard")  # the whole run takes no second: arm it once it is heard
    assert ros.call(SetBool, names.ARM, SetBool.Request(data=True)).success
    graph.state(state="finished", eval_episodes=2, env_steps=0)
    episodes = graph.episodes(2, evaluation=True)
    assert [(e.index, e.seed, e.actor_version, e.actions.shape[1]) for e in episodes] == [
        (0, 1000, 12, 4),
        (1, 1001, 12, 4),
    ]
    assert convert.width_of(widths[-1])[0] == pytest.approx(0.06, abs=1e-5)  # +0.5 of -1..1 on 0..8 cm


@pytest.mark.parametrize("content", [None, b"not a bundle", actor_bundle(action=(0.1,), act_dim=1)])
def test_a_bad_actor_file_is_refused_with_one_line(ros, tmp_path, content):
    path = tmp_path / "actor.safetensors"
    if content is not None:
        path.write_bytes(content)
    process = ros.start("policy_controller", mode="evaluate", actor_file=str(path))
    ros.until(lambda: process.poll() is not None, "the node to refuse")
    assert process.returncode == 2
    assert f"erl_vlm_ros: policy_controller: actor_file {path}" in ros.log("policy_controller")


def test_a_corrupt_checkpoint_stops_the_start(ros, tmp_path):
    (tmp_path / "policy_controller.safetensors").write_bytes(b"rubbish")
    process = ros.start("policy_controller", checkpoint_dir=str(tmp_path), resume=True)
    ros.until(lambda: process.poll() is not None, "the node to refuse")
    assert process.returncode == 1
    lines = [line for line in ros.log("policy_controller").splitlines() if line.startswith("erl_vlm_ros: ")]
    assert len(lines) == 1 and "policy_controller.safetensors" in lines[0]


def test_malformed_actors_are_ignored(ros):
    graph = Graph(ros)
    graph.learner.publish(convert.bytes_message(b"rubbish"))
    ros.until(lambda: "learning/actor: message refused" in ros.log("policy_controller"), "the complaint")
    graph.learner.publish(convert.bytes_message(actor_bundle(action=(0.1,), act_dim=1, budget=5)))
    assert graph.raw_episodes == []
    graph.publish_actor(budget=1)
    assert len(graph.episodes(1)) == 1


def test_real_time_holds_still_while_images_are_missing_and_drops_the_gap(ros, tmp_path):
    path = tmp_path / "short.yaml"
    path.write_text(Path(TASK.path).read_text() + "\nepisode_steps: 12\n")
    real = {"task": str(path), "lock_step": False}
    sent = ros.collect(TwistStamped, names.ARM_TWIST, qos.metrics())
    commanded = ros.collect(TwistStamped, names.POLICY_TWIST, qos.metrics())
    graph = Graph(ros, bridge=real, guard=real, **real)
    graph.publish_actor(action=(0.2, 0.0, 0.1), budget=10**6)
    graph.episodes(1)
    bridge = ros.processes["sim_bridge"]

    def holding():
        return json.loads(graph.states[-1].data)["awaits"] == "observations"

    for _ in range(10):  # on a busy machine an episode may end just before the images do
        before, seen = len(commanded), len(graph.raw_episodes)
        graph.state(detail="running")
        ros.until(lambda before=before: len(commanded) > before + 3, "commands of a running episode")
        bridge.send_signal(signal.SIGSTOP)
        split = ros.holds(lambda seen=seen: holding() and any(e.steps < 12 for e in graph.episodes(0)[seen:]), 5.0)
        if split:
            break
        bridge.send_signal(signal.SIGCONT)
    assert split, "no episode was split while the images were missing"
    ros.until(lambda: convert.linear_of(sent[-1]) == (0, 0, 0), "zeros to the arm")
    stopped = ros.node.get_clock().now().nanoseconds
    ros.until(lambda: ros.node.get_clock().now().nanoseconds > stopped + 1e9, "a gap of a second")
    again = ros.node.get_clock().now().nanoseconds
    bridge.send_signal(signal.SIGCONT)
    episodes = graph.episodes(len(graph.raw_episodes) + 2)
    assert [e.index for e in episodes] == list(range(len(episodes)))
    for episode in episodes:  # no transition spans the gap
        pairs = zip(episode.stamps[:-1], episode.stamps[1:])
        assert not any(a <= stopped and b >= again for a, b in pairs)
    assert episodes[-1].stamps[0] >= again
