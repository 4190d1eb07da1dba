# SPDX-License-Identifier: Apache-2.0
"""safety_guard as a process, over real DDS."""

import signal

import pytest
from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
from sensor_msgs.msg import CameraInfo, JointState, Joy
from std_msgs.msg import Bool, Float64MultiArray, String
from std_srvs.srv import SetBool, Trigger

from erl_vlm_ros.common import names
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.ros import convert, qos

TASK = load_task("drawer_open")
INSIDE = (0.4, 0.0, 0.2)
NAN = float("nan")


class Guard:
    """A running guard, what it sends, and what it says."""

    def __init__(self, ros, arm=True, **parameters):
        self.ros = ros
        self.sent = ros.collect(TwistStamped, names.ARM_TWIST, qos.metrics())
        self.widths = ros.collect(Float64MultiArray, names.ARM_GRIPPER, qos.metrics())
        self.armed = ros.collect(Bool, names.ARMED, qos.latched())
        self.estopped = ros.collect(Bool, names.ESTOP_STATE, qos.latched())
        self.reasons = ros.collect(String, names.REASON, qos.bulk())  # deep: none lost to the next one
        ros.start("safety_guard", **parameters)
        self.twist = ros.publisher(TwistStamped, names.POLICY_TWIST, qos.command())
        self.width = ros.publisher(Float64MultiArray, names.POLICY_GRIPPER, qos.command())
        self.ee = ros.publisher(PoseStamped, names.EE_POSE, qos.sensor(True))
        if arm:
            assert self.set_armed(True).success

    def set_armed(self, on):
        return self.ros.call(SetBool, names.ARM, SetBool.Request(data=on))

    def pose(self, stamp, position=INSIDE, frame="base_link"):
        self.ee.publish(convert.pose_message(position, (0, 0, 0, 1), stamp, frame))

    def command(self, stamp, velocity, position=INSIDE, frame="base_link"):
        self.pose(stamp, position)
        self.twist.publish(convert.twist_message(velocity, stamp, frame))

    def answer(self, stamp):
        self.ros.until(lambda: any(convert.header_ns(m) == stamp for m in self.sent), f"an answer to {stamp}")
        return next(convert.linear_of(m) for m in self.sent if convert.header_ns(m) == stamp)

    def stamps(self):
        return {convert.header_ns(m) for m in self.sent}

    def says(self, text):
        self.ros.until(lambda: self.reasons and text in self.reasons[-1].data, f"the reason '{text}'")


def test_starts_disarmed_and_passes_commands_on_once_armed(ros):
    guard = Guard(ros, arm=False)
    guard.says("disarmed")
    ros.until(lambda: guard.armed and guard.estopped, "the latched states")
    assert not guard.armed[-1].data and not guard.estopped[-1].data
    guard.command(1_000, (0.1, 0, 0))
    ros.serve(0.3)
    assert guard.sent == []
    assert guard.set_armed(True).success
    guard.command(2_000, (0.1, -0.2, 0.3))
    assert guard.answer(2_000) == (0.1, -0.2, 0.3)
    guard.command(2_000, (0.1, -0.2, 0.3))  # asked again: the same answer again
    ros.until(lambda: len([m for m in guard.sent if convert.header_ns(m) == 2_000]) >= 2, "the answer again")
    assert guard.stamps() == {2_000}


def test_lock_step_waits_for_the_pose_of_the_same_stamp(ros):
    guard = Guard(ros)
    guard.pose(1_000)
    guard.twist.publish(convert.twist_message((0.5, 0, 0), 2_000, "base_link"))
    ros.serve(0.2)
    assert guard.sent == []
    guard.pose(2_000, (TASK.workspace_max[0] - 0.01, 0.0, 0.2))
    assert guard.answer(2_000)[0] == pytest.approx(0.1)  # judged where the arm is now: 1 cm in 0.1 s


@pytest.mark.parametrize(
    "velocity, frame, reason",
    [
        ((NAN, 0, 0), "base_link", "not finite"),
        ((0, float("inf"), 0), "base_link", "not finite"),
        ((0.1, 0, 0), "world", "frame 'world'"),
    ],
)
def test_bad_commands_are_rejected_with_the_reason(ros, velocity, frame, reason):
    guard = Guard(ros)
    guard.command(1_000, velocity, frame=frame)
    guard.says(reason)
    guard.command(2_000, (0.1, 0, 0))
    guard.answer(2_000)
    assert guard.stamps() == {2_000}


def test_rotation_is_rejected(ros):
    guard = Guard(ros)
    message = convert.twist_message((0.1, 0, 0), 1_000, "base_link")
    message.twist.angular.z = 0.5
    guard.pose(1_000)
    guard.twist.publish(message)
    guard.says("rotation")
    assert guard.sent == []


def test_box_and_speed_are_kept(ros):
    guard = Guard(ros, max_speed=0.2)
    guard.command(1_000, (0.5, 0, 0))
    assert guard.answer(1_000) == pytest.approx((0.2, 0, 0))
    guard.says("speed")
    low = TASK.workspace_min[2]
    guard.command(2_000, (0, 0, -0.2), position=(0.4, 0, low + 0.005))
    assert guard.answer(2_000) == pytest.approx((0, 0, -0.05))
    guard.says("box")
    guard.command(3_000, (0, 0, -0.2), position=(0.4, 0, low - 0.05))  # outside already: only back in
    assert guard.answer(3_000) == (0, 0, 0)
    guard.command(4_000, (0, 0, 0.2), position=(0.4, 0, low - 0.05))
    assert guard.answer(4_000) == pytest.approx((0, 0, 0.2))


def test_gripper_is_clipped_and_nan_refused(ros):
    guard = Guard(ros)
    guard.width.publish(convert.width_message(NAN, 1))
    guard.says("gripper width is not finite")
    guard.width.publish(convert.width_message(0.5, 2))
    ros.until(lambda: guard.widths, "a gripper command")
    assert [convert.width_of(m) for m in guard.widths] == [(0.08, 2)]


def test_estop_latches_until_cleared_and_armed_again(ros):
    guard = Guard(ros)
    assert ros.call(Trigger, names.ESTOP, Trigger.Request()).success
    ros.until(lambda: guard.estopped and guard.estopped[-1].data and not guard.armed[-1].data, "the e-stop state")
    refused = guard.set_armed(True)
    assert not refused.success and "clear" in refused.message
    guard.command(1_000, (0.1, 0, 0))
    guard.says("e-stop")
    assert ros.call(Trigger, names.CLEAR_ESTOP, Trigger.Request()).success
    ros.until(lambda: not guard.estopped[-1].data, "the cleared state")
    guard.command(2_000, (0.1, 0, 0))
    guard.says("disarmed")
    assert guard.sent == []
    assert not ros.call(Trigger, names.CLEAR_ESTOP, Trigger.Request()).success  # nothing to clear
    assert guard.set_armed(True).success
    guard.command(3_000, (0.1, 0, 0))
    guard.answer(3_000)


def real_time(ros, arm=True, **parameters):
    """A guard in real time: states at 100 Hz while ``state`` is on, commands while ``velocity`` is set.

    The arm stays where it is whatever the command, so the limit of the tracking error is off unless a test asks for it.
    """
    guard = Guard(ros, arm=False, **({"lock_step": False, "max_tracking_error_m": 0.0} | parameters))
    joints = ros.publisher(JointState, names.JOINT_STATES, qos.sensor(True))
    guard.state, guard.velocity, guard.position, guard.frame = True, None, INSIDE, "base_link"
    guard.joint = "joint1"

    def feed():
        now = ros.node.get_clock().now().nanoseconds
        if guard.state:
            joints.publish(convert.joint_message([guard.joint], [0.0], [0.0], now))
            guard.pose(now, guard.position, guard.frame)
        if guard.velocity is not None:
            guard.twist.publish(convert.twist_message(guard.velocity, now, "base_link"))

    ros.node.create_timer(0.01, feed)
    if arm:
        ros.until(lambda: guard.set_armed(True).success, "the guard to arm")
    return guard


def test_an_arm_that_does_not_follow_is_pushed_no_further(ros):
    guard = real_time(ros, max_tracking_error_m=0.02)
    guard.velocity = (0.1, 0.0, 0.0)
    ros.until(lambda: any(convert.linear_of(m)[0] > 0.05 for m in guard.sent), "a command that passes")
    guard.says("tracking error")
    ros.until(lambda: convert.linear_of(guard.sent[-1])[0] < 0.01, "the push to end")
    guard.velocity = (-0.1, 0.0, 0.0)
    ros.until(lambda: convert.linear_of(guard.sent[-1])[0] == pytest.approx(-0.1), "the way back")


def test_real_time_republishes_and_stops_when_something_falls_silent(ros):
    guard = real_time(ros, command_timeout_s=0.3, state_timeout_s=0.3)
    guard.says("no policy command")
    assert all(convert.linear_of(m) == (0, 0, 0) for m in guard.sent)
    guard.velocity = (0.1, 0, 0)
    ros.until(lambda: guard.sent and convert.linear_of(guard.sent[-1])[0] == 0.1, "the command to pass")
    guard.velocity = None
    count = len(guard.sent)
    guard.says("no policy command for")
    still = [convert.linear_of(m)[0] for m in guard.sent[count:]]
    assert len(still) >= 8 and still[0] == 0.1  # held and repeated until the time limit
    ros.until(lambda: convert.linear_of(guard.sent[-1]) == (0, 0, 0), "zeros")
    guard.velocity = (0.1, 0, 0)
    ros.until(lambda: convert.linear_of(guard.sent[-1])[0] == 0.1, "motion again")
    guard.state = False
    guard.says("no joint_states for")
    ros.until(lambda: convert.linear_of(guard.sent[-1]) == (0, 0, 0), "zeros")


def test_the_silence_of_any_named_camera_stops_the_arm(ros):
    guard = real_time(ros, arm=False, cameras=["scene", "wrist"], camera_timeout_s=0.5)
    sensor, sending = qos.sensor(True), {"scene", "wrist"}
    infos = {name: ros.publisher(CameraInfo, names.NAMED_CAMERA_INFO.format(name), sensor) for name in sorted(sending)}
    ros.node.create_timer(0.05, lambda: [infos[name].publish(CameraInfo()) for name in sending])
    ros.until(lambda: guard.set_armed(True).success, "the guard to arm")
    guard.velocity = (0.1, 0, 0)
    ros.until(lambda: guard.sent and convert.linear_of(guard.sent[-1])[0] == 0.1, "the command to pass")
    sending.remove("wrist")
    guard.says("camera")
    ros.until(lambda: convert.linear_of(guard.sent[-1]) == (0, 0, 0), "zeros")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_zeros_on_shutdown(ros, number):
    guard = real_time(ros)
    guard.velocity = (0.1, 0, 0)
    ros.until(lambda: guard.sent and convert.linear_of(guard.sent[-1])[0] == 0.1, "the command to pass")
    assert ros.stop("safety_guard", number) == 0
    ros.until(lambda: [convert.linear_of(m) for m in guard.sent[-5:]] == [(0, 0, 0)] * 5, "zeros")
    assert not guard.armed[-1].data


def moving(guard):
    """Wait until the arm is commanded to move."""
    count = len(guard.sent)
    guard.ros.until(
        lambda: len(guard.sent) > count and convert.linear_of(guard.sent[-1])[0] > 0.05, "motion", patience=20
    )


def zeros(guard):
    """Wait for zeros; returns the stamp (s) of the first of them."""
    count = len(guard.sent)

    def first():
        return [m for m in guard.sent[count:] if convert.linear_of(m) == (0, 0, 0)]

    guard.ros.until(first, "zeros", patience=20)
    return 1e-9 * convert.header_ns(first()[0])


def clock(ros):
    return 1e-9 * ros.node.get_clock().now().nanoseconds


def test_every_watchdog_stops_the_arm_within_100_ms_of_its_limit_and_some_lock_it(ros):
    limits = {"camera_timeout_s": 0.4, "deadman_button": 0, "deadman_timeout_s": 0.3, "heartbeat_timeout_s": 0.4}
    guard = real_time(ros, arm=False, max_force=20.0, max_acceleration=20.0, max_jerk=2000.0, max_speed=0.3, **limits)
    camera = ros.publisher(CameraInfo, names.CAMERA_INFO, qos.sensor())
    joy = ros.publisher(Joy, names.JOY, qos.sensor())
    beat = ros.publisher(Bool, names.HEARTBEAT, qos.sensor())
    wrench = ros.publisher(WrenchStamped, names.WRENCH, qos.sensor())
    guard.velocity, silent, pressed, last = (0.1, 0.0, 0.0), set(), [1], {}
    push = WrenchStamped()

    def feed():
        for name, publisher, message in (
            ("camera", camera, CameraInfo()),
            ("joy", joy, Joy(buttons=pressed)),
            ("heartbeat", beat, Bool(data=True)),
            ("wrench", wrench, push),
        ):
            if name not in silent:
                publisher.publish(message)
                last[name] = clock(ros)

    ros.node.create_timer(0.02, feed)
    ros.until(lambda: guard.set_armed(True).success, "the guard to arm")
    for source, limit in (("camera", 0.4), ("joy", 0.3), ("wrench", 0.3)):
        moving(guard)
        silent.add(source)
        assert zeros(guard) - last[source] <= limit + 0.1
        guard.says(f"no {source} for")
        silent.clear()
    moving(guard)
    pressed[0], released = 0, clock(ros)
    assert zeros(guard) - released <= 0.1 + 0.05  # and until the message is there
    guard.says("dead-man button not held")
    pressed[0] = 1
    moving(guard)
    guard.state, silenced = False, clock(ros)
    assert zeros(guard) - silenced <= 0.3 + 0.1
    guard.state = True
    moving(guard)
    guard.velocity, silenced = None, clock(ros)
    assert zeros(guard) - silenced <= 0.15 + 0.1
    guard.velocity = (0.1, 0.0, 0.0)
    moving(guard)
    silent.add("heartbeat")
    assert zeros(guard) - last["heartbeat"] <= 0.4 + 0.1
    guard.says("e-stop: no heartbeat for 0.4 s")
    ros.until(lambda: guard.estopped[-1].data and not guard.armed[-1].data, "the e-stop state")
    silent.clear()
    assert not guard.set_armed(True).success
    assert ros.call(Trigger, names.CLEAR_ESTOP, Trigger.Request()).success
    ros.until(lambda: guard.set_armed(True).success, "the guard to arm again")
    moving(guard)
    push.wrench.force.z = -25.0
    zeros(guard)
    guard.says("e-stop: force 25.0 N above max_force 20 N")
    ros.until(lambda: guard.estopped[-1].data, "the e-stop state")


def test_arming_is_refused_where_the_arm_cannot_be_guarded(ros):
    guard = real_time(ros, arm=False, controller_joints=["joint1"], adapter="servo_twist")

    def refused(text):
        ros.until(lambda: text in guard.set_armed(True).message, f"the refusal '{text}'")

    guard.velocity, guard.position = (0.1, 0.0, 0.0), (0.9, 0.0, 0.2)
    refused("the tool at [0.900, 0.000, 0.200] is outside the workspace box")
    guard.joint = "elbow"
    refused("joint_states lacks joint1 (it has elbow)")  # once the last of joint1 is too old
    guard.position, guard.joint, guard.frame = INSIDE, "joint1", "camera_link"
    refused("ee_pose in frame 'camera_link', expected 'base_link'")
    assert all(convert.linear_of(m) == (0, 0, 0) for m in guard.sent)  # it never moved
    guard.frame = "base_link"
    ros.until(lambda: guard.set_armed(True).success, "the guard to arm")
    moving(guard)


def test_what_is_sent_is_also_published_as_executed_and_stamps_are_judged(ros):
    executed = ros.collect(TwistStamped, names.EXECUTED, qos.metrics())
    guard = real_time(ros, max_angular_speed=1.0, max_speed=0.2)
    guard.velocity = (0.3, 0.0, 0.0)
    moving(guard)
    ros.until(lambda: executed and convert.linear_of(executed[-1])[0] > 0, "what was let through")
    assert convert.linear_of(executed[-1])[0] == pytest.approx(0.2)
    guard.velocity = None
    zeros(guard)
    asked = [0, (0.1, 0.0, 0.0), (0.0, 0.0, 0.0)]  # stamp's offset ns, m/s, rad/s

    def ask():
        stamp = ros.node.get_clock().now().nanoseconds + asked[0]
        guard.twist.publish(convert.twist_message(asked[1], stamp, "base_link", asked[2]))

    for off, text in ((-1_000_000_000, "s old"), (2_000_000_000, "s in the future")):
        asked[0] = off
        if off < 0:
            ros.node.create_timer(0.02, ask)
        ros.until(lambda text=text: any("rejected: stamp is" in m.data and text in m.data for m in guard.reasons), text)
    assert all(convert.linear_of(m) == (0, 0, 0) for m in executed[-3:])  # neither was obeyed
    asked[:] = 0, (0.0, 0.0, 0.0), (0.0, 0.0, 3.0)
    ros.until(lambda: convert.angular_of(executed[-1])[2] > 0, "rotation")
    assert convert.angular_of(executed[-1])[2] == pytest.approx(1.0)


def test_a_stop_by_signal_goes_through_with_the_deceleration(ros):
    guard = real_time(ros, max_acceleration=8.0, max_speed=0.25, rate_hz=100.0)
    guard.velocity = (0.2, 0.0, 0.0)
    ros.until(lambda: guard.sent and convert.linear_of(guard.sent[-1])[0] == pytest.approx(0.2), "full speed")
    assert ros.stop("safety_guard") == 0
    ros.until(lambda: [convert.linear_of(m) for m in guard.sent[-5:]] == [(0, 0, 0)] * 5, "zeros")
    speeds = [convert.linear_of(m)[0] for m in guard.sent]
    drops = [a - b for a, b in zip(speeds, speeds[1:])]
    assert max(drops) <= 8.0 * 0.01 + 1e-9 and sum(d > 0 for d in drops) >= 4


@pytest.mark.parametrize(
    "parameters, text",
    [
        ({"forbidden_boxes": [0.1] * 5}, "parameter 'forbidden_boxes' has 5 numbers"),
        ({"adapter": "telepathy"}, "parameter 'adapter' of safety_guard is 'telepathy'"),
    ],
)
def test_limits_that_make_no_sense_are_refused_at_start(ros, parameters, text):
    sent = ros.collect(TwistStamped, names.ARM_TWIST, qos.metrics())
    process = ros.start("safety_guard", lock_step=False, **parameters)
    ros.until(lambda: process.poll() is not None, "the guard to refuse")
    assert process.returncode == 2 and text in ros.log("safety_guard") and sent == []
