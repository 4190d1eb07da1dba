# SPDX-License-Identifier: Apache-2.0
"""A person at the arm: real controller, guard and bridge processes; the test plays the person and the learner."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped, Twist, TwistStamped
from sensor_msgs.msg import Image, JointState, Joy
from std_msgs.msg import Bool, String, UInt8MultiArray
from std_srvs.srv import SetBool, Trigger
from test_policy_controller import TASK, Graph, actor_bundle
from trajectory_msgs.msg import JointTrajectory

from erl_vlm_ros.common import names
from erl_vlm_ros.data.bundle import decode
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.ros import convert, qos
from erl_vlm_ros.sim.arm import FINGER_NAMES, JOINT_NAMES

STEPS = 12
ENABLE = 2
ACTOR = (0.0, 0.3, 0.0)
HOME = [0.1, -0.2, 0.3, -0.4, 0.5, -0.6]


@pytest.fixture
def task(tmp_path):
    """The drawer with short episodes."""
    path = tmp_path / "short.yaml"
    path.write_text(Path(TASK.path).read_text() + f"\nepisode_steps: {STEPS}\n")
    return str(path)


class Joystick:
    """Publishes at 50 Hz from a timer while the test serves callbacks."""

    def __init__(self, ros):
        self.publisher = ros.publisher(Joy, names.JOY, qos.sensor(True))  # once the controller listens
        self.axes, self.down, self.on = [0.0] * 4, (), True
        ros.node.create_timer(0.02, self._send)

    def _send(self):
        if self.on:
            buttons = [int(i in self.down) for i in range(8)]
            self.publisher.publish(Joy(axes=[float(a) for a in self.axes], buttons=buttons))


def joystick_parameters(**more):
    values = {"human__input": "joy", "human__axes": [0, 1, 3], "human__speed": 0.2, "human__enable_button": ENABLE}
    return {**values, "human__pause_button": 0, "human__success_button": 1, **more}


class Arm:
    """A driver and a guard of the test's own: joints where the test puts them, armed when it says so."""

    def __init__(self, ros):
        self.ros, self.frame = ros, "base_link"
        self.q, self.quaternion = [0.0] * 6, (1.0, 0.0, 0.0, 0.0)
        self.homes = ros.collect(JointTrajectory, names.POLICY_HOME, qos.command())
        self.states = ros.collect(String, names.RUN_STATE, qos.latched())
        self.raw = ros.collect(UInt8MultiArray, names.TRANSITIONS, qos.bulk())
        self.raw_evaluations = ros.collect(UInt8MultiArray, names.EVALUATION_EPISODES, qos.bulk())
        self.commands = ros.collect(TwistStamped, names.POLICY_TWIST, qos.metrics())
        make = ros.node.create_publisher
        self.armed = make(Bool, names.ARMED, qos.latched())
        self.learner = make(UInt8MultiArray, names.ACTOR, qos.latched())
        self.joints = make(JointState, names.JOINT_STATES, qos.sensor(True))
        self.ee, self.thing = (make(PoseStamped, n, qos.sensor(True)) for n in (names.EE_POSE, names.OBJECT_POSE))
        self.image = make(Image, names.IMAGE, qos.sensor(True))
        self.effort, self.fingers, self.apart = [], [0.0, 0.0], False
        ros.node.create_timer(0.04, self._publish)
        ros.node.create_service(Trigger, names.RESET, self._reset)
        self.arm(True)
        self.publish_actor()

    @staticmethod
    def _reset(_, response):
        response.success = True
        return response

    def publish_actor(self, budget=10**6):
        self.learner.publish(convert.bytes_message(actor_bundle(action=ACTOR, budget=budget)))

    def start(self, task, **parameters):
        """The controller, with resets by the test's service."""
        common = {"task": task, "lock_step": False, "set_episode_seed": False, "eval_every": 0}
        return self.ros.start("policy_controller", **common | parameters)

    def _publish(self):
        now = self.ros.node.get_clock().now().nanoseconds
        names_, q = [*FINGER_NAMES, *reversed(JOINT_NAMES)], [*self.fingers, *reversed(self.q)]
        effort = [0.1, 0.2, *reversed(self.effort)] if self.effort else []
        # Most real cells: the gripper's driver publishes for itself.
        for part in (slice(0, 2), slice(2, 8)) if self.apart else (slice(0, 8),):
            message = convert.joint_message(names_[part], q[part], [0.0] * len(q[part]), now)
            message.effort = effort[part]
            self.joints.publish(message)
        for publisher in (self.ee, self.thing):
            publisher.publish(convert.pose_message((0.4, 0.0, 0.2), self.quaternion, now, self.frame))
        self.image.publish(convert.image_message(np.zeros((32, 32, 3), np.uint8), now, "camera"))

    def arm(self, armed):
        self.armed.publish(Bool(data=armed))

    def state(self, **wanted):
        """Wait for a run/state with these entries."""

        def holds():
            now = json.loads(self.states[-1].data) if self.states else {}
            return all(now.get(k) == v for k, v in wanted.items())

        self.ros.until(holds, f"run/state {wanted}, last {self.states[-1].data if self.states else None}")

    def waits_for(self, *words):
        def said():
            return self.states and all(w in json.loads(self.states[-1].data)["waiting_for"] for w in words)

        self.ros.until(said, f"run/state to say {words}, last {self.states[-1].data if self.states else None}")

    def episodes(self, count, evaluation=False):
        raw = self.raw_evaluations if evaluation else self.raw
        self.ros.until(lambda: len(raw) >= count, f"{count} episodes")
        return [Episode.from_bundle(decode(convert.bytes_of(m), "episode")) for m in raw]


@pytest.mark.timing
def test_a_person_takes_over_at_once_and_is_recorded_as_executed(ros, task):
    """With the real guard, which tells what it let through."""
    real = {"task": task, "lock_step": False}
    alone = {"exploration__prefix_share": 0.0, "exploration__burst_share": 0.0}
    graph = Graph(ros, bridge=real, guard=real, **real, **alone, **joystick_parameters())
    commands = ros.collect(TwistStamped, names.POLICY_TWIST, qos.metrics())
    graph.publish_actor(action=ACTOR, budget=10**6)
    stick = Joystick(ros)
    graph.episodes(1)  # the policy's own
    stick.axes, stick.down = [-0.5, 0.0, 0.0, 0.25], (ENABLE,)
    wanted = pytest.approx((-0.1, 0.0, 0.05), abs=1e-3)
    ros.until(lambda: convert.linear_of(commands[-1]) == wanted, "the person's command")

    def driven():
        whole = [e.actions for e in graph.episodes(0) if e.intervention.all()]
        return np.concatenate([np.empty((0, 3)), *whole])[2:]  # in the first two the policy's motion may still end

    while len(driven()) < STEPS:
        graph.episodes(len(graph.raw_episodes) + 1)
    by_person = driven()
    stick.down = ()
    wanted = pytest.approx((0, 0.15, 0), abs=1e-3)
    ros.until(lambda: convert.linear_of(commands[-1]) == wanted, "the policy to act again")
    episodes = graph.episodes(len(graph.raw_episodes) + 2)
    # The guard may slow a command down at the box, never turn it round.
    assert (by_person[:, 0] <= 1e-6).all() and (by_person[:, 2] >= -1e-6).all()
    assert np.allclose(by_person[:, 1], 0, atol=1e-6) and by_person[:, 0].min() == pytest.approx(-0.2, abs=0.02)
    policy = np.concatenate([e.actions[~e.intervention] for e in episodes])
    assert np.allclose(policy, ACTOR, atol=1e-3)
    assert not episodes[0].intervention.any() and not episodes[-1].intervention.any()


def test_what_the_guard_let_through_is_the_action_and_the_tools_frame_is_turned(ros, task):
    arm = Arm(ros)
    half = float(np.sqrt(0.5))
    arm.quaternion = (0.0, 0.0, half, half)  # the tool's x points along the base's y
    let_through = ros.node.create_publisher(TwistStamped, names.EXECUTED, qos.command())
    ros.node.create_timer(0.02, lambda: let_through.publish(convert.twist_message((0.0, 0.05, 0.0), 1, "base_link")))
    mouse = ros.node.create_publisher(Twist, names.HUMAN_TWIST_PLAIN, qos.sensor(True))
    push = Twist()
    push.linear.x = 0.5
    ros.node.create_timer(0.02, lambda: mouse.publish(push))
    arm.start(task, human__input="twist", human__frame="tool", human__speed=0.2)
    ros.until(
        lambda: arm.commands and np.allclose(convert.linear_of(arm.commands[-1]), (0, 0.1, 0), atol=1e-6), "the command"
    )
    arm.state(intervention=True)
    episode = arm.episodes(2)[1]
    assert episode.intervention.all()
    assert np.allclose(episode.actions, (0.0, 0.05 / TASK.linear_speed, 0.0), atol=1e-6)


@pytest.mark.timing
def test_between_two_control_steps_a_person_is_obeyed_and_letting_go_stops(ros, tmp_path):
    slow = tmp_path / "slow.yaml"
    slow.write_text(Path(TASK.path).read_text() + "\ncontrol_hz: 0.5\nepisode_steps: 8\n")
    arm = Arm(ros)
    arm.start(str(slow), image_timeout_s=5.0, state_timeout_s=5.0, **joystick_parameters())
    stick = Joystick(ros)
    ros.until(lambda: len(arm.commands) > 1, "the first steps")
    stick.axes, stick.down = [0.5, 0.0, 0.0, 0.0], (ENABLE,)
    began = time.monotonic()
    ros.until(lambda: convert.linear_of(arm.commands[-1])[0] > 0.05, "the person's command", patience=5)
    taken = time.monotonic() - began
    count = len(arm.commands)
    ros.until(lambda: len(arm.commands) >= count + 10, "the person's further commands")
    stick.down = ()
    began = time.monotonic()
    ros.until(lambda: convert.linear_of(arm.commands[-1]) == (0.0, 0.0, 0.0), "zeros", patience=5)
    assert min(taken, time.monotonic() - began) < 1.0  # a control step takes two seconds


def test_pause_holds_still_and_no_transition_spans_it(ros, task):
    arm = Arm(ros)
    arm.start(task, **joystick_parameters())
    stick = Joystick(ros)
    arm.episodes(1)
    arm.state(detail="running")
    assert ros.call(SetBool, names.HUMAN_PAUSE, SetBool.Request(data=True)).success
    paused_at = ros.node.get_clock().now().nanoseconds
    arm.state(paused=True)
    count = len(arm.raw)
    ros.serve(0.8)
    assert len(arm.raw) <= count + 1  # what came before the pause may have been under way
    count = len(arm.raw)
    later = [m for m in arm.commands if convert.header_ns(m) > paused_at]
    assert all(convert.linear_of(m) == (0.0, 0.0, 0.0) for m in later)
    stick.down = (0,)  # the button resumes
    resumed_at = ros.node.get_clock().now().nanoseconds
    arm.state(paused=False)
    episodes = arm.episodes(count + 2)
    assert [e.index for e in episodes] == list(range(len(episodes)))
    for episode in episodes:
        assert np.diff(episode.stamps).max() < 0.6e9
        assert not ((episode.stamps > paused_at) & (episode.stamps < resumed_at)).any()


def test_a_pause_in_lock_step_stops_the_simulation(ros, task):
    graph = Graph(ros, bridge={"task": task}, guard={"task": task}, task=task)
    graph.publish_actor(action=ACTOR, budget=10**6)
    graph.episodes(1)
    assert ros.call(SetBool, names.HUMAN_PAUSE, SetBool.Request(data=True)).success
    ros.serve(0.2)
    count = len(graph.raw_episodes)
    ros.serve(0.5)
    assert len(graph.raw_episodes) == count
    assert ros.call(SetBool, names.HUMAN_PAUSE, SetBool.Request(data=False)).success
    episodes = graph.episodes(count + 2)
    assert all(np.array_equal(np.diff(e.stamps), np.full(STEPS, 100_000_000)) for e in episodes)


def test_verdicts_are_recorded_and_end_the_episode_by_option(ros, task):
    arm = Arm(ros)
    arm.publish_actor(budget=2)
    arm.start(task, end_on_label=True)
    arm.state(detail="running")
    answer = ros.call(Trigger, names.HUMAN_SUCCESS, Trigger.Request())
    assert answer.success, answer.message
    judged = [e for e in arm.episodes(2) if e.success is not None]
    assert len(judged) == 1 and judged[0].success is True
    assert judged[0].truncated and not judged[0].terminated and judged[0].steps < STEPS
    arm.state(detail="waiting")
    late = ros.call(Trigger, names.HUMAN_FAILURE, Trigger.Request())
    assert not late.success and "no episode" in late.message


def test_a_topic_tells_success(ros, task):
    arm = Arm(ros)
    told = ros.node.create_publisher(Bool, names.SUCCESS, qos.sensor(True))
    ros.node.create_timer(0.05, lambda: told.publish(Bool(data=True)))
    arm.start(task, success_source="topic", end_on_label=True)
    assert all(e.success is True and e.steps < STEPS for e in arm.episodes(2))


def test_a_person_judges_each_evaluation_episode(ros, task, tmp_path):
    path = tmp_path / "actor.safetensors"
    path.write_bytes(actor_bundle(action=(0.0, 0.1, 0.0), version=3))
    arm = Arm(ros)
    arm.start(task, mode="evaluate", actor_file=str(path), final_eval_episodes=2, success_source="person")
    for count, (success, service) in enumerate(((True, names.HUMAN_SUCCESS), (False, names.HUMAN_FAILURE))):
        arm.waits_for("a person's success label")
        assert len(arm.raw_evaluations) == count
        assert ros.call(Trigger, service, Trigger.Request()).success
        assert arm.episodes(count + 1, evaluation=True)[-1].success is success
    arm.state(state="finished")


def test_home_then_a_person(ros, task):
    arm = Arm(ros)
    arm.start(task, reset="home_then_person", home_positions=HOME, extras__efforts=True, human__continue_button=3)
    arm.effort = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    arm.waits_for("home pose")
    ros.until(lambda: arm.homes, "the home pose")
    assert list(arm.homes[0].joint_names) == list(JOINT_NAMES)
    assert list(arm.homes[0].points[0].positions) == pytest.approx(HOME)
    assert not arm.raw
    arm.q = HOME
    arm.waits_for("a person", names.HUMAN_CONTINUE, "button 3")
    assert "waiting for a person" in ros.log("policy_controller")
    assert ros.call(Trigger, names.HUMAN_CONTINUE, Trigger.Request()).success
    episode = arm.episodes(1)[0]
    assert episode.steps == STEPS
    assert episode.extra_names == [f"effort_{name}" for name in JOINT_NAMES]
    assert np.allclose(episode.extras, arm.effort)
    assert np.allclose(episode.observations[:, :6], HOME)  # by name, whatever the order
    arm.waits_for("a person")
    # Disarmed while waiting: nothing goes on by itself, and arming begins the reset anew.
    arm.arm(False)
    arm.waits_for("armed")
    assert not ros.call(Trigger, names.HUMAN_CONTINUE, Trigger.Request()).success
    arm.arm(True)
    arm.waits_for("a person")
    assert len(arm.raw) == 1


def test_an_arm_that_does_not_come_home_stops_the_run(ros, task):
    arm = Arm(ros)
    arm.start(task, reset="home", home_positions=HOME, home_timeout_s=1.0)
    arm.waits_for("reset failed", "joint6 is 0.60 rad away", "3 attempts")
    assert json.loads(arm.states[-1].data)["state"] == "failed"


def test_arm_and_gripper_in_messages_of_their_own(ros, task):
    arm = Arm(ros)
    arm.apart, arm.fingers = True, [0.01, 0.02]
    arm.start(task)
    (episode, *_) = arm.episodes(1)
    assert episode.steps == STEPS and not episode.intervention.any()
    assert np.allclose(episode.observations[:, 9], 0.03)  # opening: the fingers' sum
    arm.fingers = [float("nan"), 0.02]  # refused by name; what was last known grows old, and the arm is held
    ros.until(lambda: "finger_left" in ros.log("policy_controller"), "the refusal")
    arm.waits_for("joint state")
    assert ros.processes["policy_controller"].poll() is None
    arm.fingers, before = [0.01, 0.02], len(arm.raw)
    arm.episodes(before + 2)


def test_an_episode_is_bounded_in_time(ros, tmp_path):
    long = tmp_path / "long.yaml"
    long.write_text(Path(TASK.path).read_text() + "\nepisode_steps: 1000\n")
    arm = Arm(ros)
    arm.start(str(long), reset="home", home_positions=HOME, episode_timeout_s=1.0)
    arm.q = HOME
    episodes = arm.episodes(2)
    assert all(3 < e.steps <= 14 and e.truncated and not e.terminated for e in episodes)


@pytest.mark.parametrize(
    "parameters, words",
    [
        ({"reset": "home"}, ["home_positions", "6"]),
        ({"reset": "person", "lock_step": True}, ["'reset'", "lock_step"]),
        ({"reset": "magic"}, ["'reset'", "home_then_person"]),
        ({"human__input": "joy", "human__enable_button": -1}, ["human.enable_button"]),
        ({"extras__wrench": True, "lock_step": True}, ["extras.wrench"]),
    ],
)
def test_what_cannot_be_is_refused_at_start(ros, parameters, words):
    process = ros.start("policy_controller", **{"lock_step": False, **parameters})
    ros.until(lambda: process.poll() is not None, "the node to refuse")
    assert process.returncode == 2
    lines = [line for line in ros.log("policy_controller").splitlines() if line.startswith("erl_vlm_ros: ")]
    assert len(lines) == 1 and all(word in lines[0] for word in words), lines


def test_wrong_joint_names_and_frames_are_refused_and_nothing_moves(ros, task):
    arm = Arm(ros)
    common = {"task": task, "lock_step": False, "reset": "home", "home_positions": HOME}
    arm.q = HOME
    wrong = ["joint1", "joint2", "j3", "joint4", "joint5", "joint6"]
    process = ros.start("policy_controller", **common, joint_names=wrong)
    ros.until(lambda: process.poll() is not None, "the node to refuse")
    assert process.returncode == 2 and "parameter 'joint_names': no joint j3" in ros.log("policy_controller")
    arm.frame = "world"
    process = ros.start("policy_controller", **common)
    ros.until(lambda: process.poll() is not None, "the node to refuse")
    assert process.returncode == 2 and "parameter 'base_frame'" in ros.log("policy_controller")
    assert not arm.commands
