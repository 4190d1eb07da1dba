# SPDX-License-Identifier: Apache-2.0
"""The simulated arm: commands, determinism, limits, camera."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import numpy as np
import pytest
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.robot.rotation import rotation_of, rotation_vector
from erl_vlm_ros.sim.arm import SimArm
from erl_vlm_ros.sim.ik import TOOL_DOWN
from erl_vlm_ros.sim.tasks import TASKS

TASK_NAMES = sorted(TASKS)


@pytest.fixture(scope="module")
def arms():
    made = {name: SimArm(name, (128, 128)) for name in TASK_NAMES}
    yield made
    for arm in made.values():
        arm.close()


def play(arm: SimArm, seed: int, steps: int = 12) -> tuple[bytes, bytes]:
    """Bytes of all states and of the last images of an episode of random commands."""
    rng = np.random.default_rng(seed)
    arm.reset(seed)
    states, images = [], []
    for k in range(steps):
        arm.apply(rng.uniform(-0.5, 0.5, 3), rng.uniform(0, 0.08))
        states += [arm.data.qpos.tobytes(), arm.data.qvel.tobytes(), arm.ee_position.tobytes()]
        if k >= steps - 3:
            images.append(arm.render().tobytes())
    return b"".join(states), b"".join(images)


@pytest.mark.parametrize("name", TASK_NAMES)
def test_same_seed_same_bytes(arms, name):
    first = play(arms[name], 5)
    other = SimArm(name, (128, 128))
    play(other, 6)  # what happened before a reset must not matter
    assert play(other, 5) == first
    assert play(other, 6) != first
    other.close()


@pytest.mark.parametrize("name", TASK_NAMES)
def test_speed_matches_command(arms, name):
    arm = arms[name]
    for axis, sign in ((0, -1), (1, 1), (2, 1), (1, -1)):
        arm.reset(3)
        middle = (arm._low + arm._high) / 2
        velocity = np.zeros(3)
        velocity[axis] = 0.2 * sign * (1 if arm.ee_position[axis] * sign < middle[axis] * sign else -1)
        for k in range(3):
            before = arm.ee_position
            arm.apply(velocity, 0.0)
            moved = arm.ee_position - before
            if np.all(arm._reference > arm._low + 1e-6) and np.all(arm._reference < arm._high - 1e-6):
                np.testing.assert_allclose(moved, velocity * 0.1, atol=2e-3 if k == 0 else 5e-4)


@pytest.mark.parametrize("name", TASK_NAMES)
def test_holds_still_without_creeping(arms, name):
    arm = arms[name]
    arm.reset(1)
    start = arm.ee_position
    for _ in range(100):
        arm.apply(np.zeros(3), arm.task.start_width)
    assert np.abs(arm.ee_position - start).max() < 5e-4
    assert arm.time == pytest.approx(10.0)


@pytest.mark.parametrize("name", TASK_NAMES)
def test_stays_in_the_workspace_tool_down_and_within_joint_limits(arms, name):
    arm, rng = arms[name], np.random.default_rng(0)
    limits = arm.model.jnt_range[:6]
    for seed in range(3):
        arm.reset(seed)
        velocity = np.zeros(3)
        for k in range(40):
            velocity = rng.uniform(-0.5, 0.5, 3) if k % 8 == 0 else velocity
            arm.apply(velocity, 0.0)
            assert np.all(arm.ee_position > arm._low - 0.03) and np.all(arm.ee_position < arm._high + 0.03)
            assert np.all(arm.joint_positions > limits[:, 0]) and np.all(arm.joint_positions < limits[:, 1])
        for _ in range(10):  # free of contact again, the tool points down
            arm.apply((-0.2, 0.0, 0.2), 0.0)
        assert np.abs(arm.data.site_xmat[arm._ee].reshape(3, 3) - TOOL_DOWN).max() < 0.02


@pytest.mark.parametrize("name", TASK_NAMES)
def test_every_workspace_corner_is_reachable(arms, name):
    arm = arms[name]
    for corner in np.stack(np.meshgrid(*zip(arm._low, arm._high)), -1).reshape(-1, 3):
        joints = arm._ik.solve(arm.joint_positions, corner, iterations=60, tolerance=1e-6)
        again = arm._ik.solve(joints, corner, iterations=1)  # evaluates at joints: nothing left to correct
        assert np.abs(again - joints).max() < 1e-3


def test_blocked_reference_does_not_wind_up(arms):
    arm = arms["drawer_open"]
    arm.reset(0)
    for _ in range(20):  # over the handle bar, then down on it for two seconds
        arm.apply(np.clip(6 * (arm.object_position + (0, 0, 0.06) - arm.ee_position), -0.5, 0.5), 0.0)
    for _ in range(20):
        arm.apply((0.0, 0.0, -0.1), 0.0)
    before = arm.ee_position
    assert before[2] > arm._low[2] + 0.015  # held by the bar
    for _ in range(2):
        arm.apply((0.0, 0.0, 0.5), 0.0)
    assert arm.ee_position[2] > before[2] + 0.06


def test_gripper_width_follows_the_command(arms):
    arm = arms["pick_place"]
    arm.reset(0)
    for width, expected in ((0.03, 0.03), (0.2, 0.08), (-1.0, 0.0)):
        for _ in range(6):
            arm.apply(np.zeros(3), width)
        assert arm.gripper_width == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("command", [((np.nan, 0, 0), 0.0), ((0, 0, 0), np.inf), ((0, 0), 0.0)])
def test_bad_command_moves_nothing(arms, command):
    arm = arms["sweep_into"]
    arm.reset(0)
    before = arm.data.qpos.copy()
    with pytest.raises(ValueError):
        arm.apply(*command)
    np.testing.assert_array_equal(arm.data.qpos, before)


def test_unknown_task_and_bad_size_are_named():
    with refused(ConfigError, parameter="task", code=Code.UNKNOWN, shows=("make_coffee", "drawer_open")):
        SimArm("make_coffee")
    with refused(ConfigError, parameter="image_size", shows="4000x4000"):
        SimArm("drawer_open", (4000, 4000))


def test_missing_opengl_names_the_package(monkeypatch):
    import mujoco

    def broken(*_args, **_kwargs):
        raise AttributeError("no EGL")

    arm = SimArm("drawer_open", (64, 64))
    monkeypatch.setattr(mujoco, "Renderer", broken)
    with refused(
        ConfigError,
        parameter="MUJOCO_GL",
        code=Code.MISSING_PACKAGE,
        remedy="apt-get install -y libegl1 libgl1-mesa-dri",
    ):
        arm.render()


@pytest.mark.parametrize("first", ["mujoco", "erl_vlm_ros.sim"])
def test_it_renders_whoever_imported_mujoco_first(first):
    code = f"import {first}; from erl_vlm_ros.sim.arm import SimArm; a = SimArm('drawer_open'); a.reset(1); a.render()"
    environment = {name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "DISPLAY")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)


@pytest.mark.skipif("mujoco.egl" not in sys.modules, reason="EGL is not in use")
def test_an_arm_collected_while_another_opens_its_camera_does_no_harm(monkeypatch):
    from mujoco import egl

    old, new = SimArm("drawer_open", (64, 64)), SimArm("drawer_open", (64, 64))
    for arm in (old, new):
        arm.reset(1)
    wanted = old.render().tobytes()
    old.cycle = old
    bind = egl.EGL.eglBindAPI

    def collected_now(api):
        bind(api)
        if gc.isenabled():
            gc.collect()

    monkeypatch.setattr(egl.EGL, "eglBindAPI", collected_now)
    del old, arm
    assert new.render().tobytes() == wanted
    new.close()


def _project(arm: SimArm, point: np.ndarray) -> tuple[int, int]:
    """Column and row of a point of the base frame, from the published calibration alone."""
    camera = np.linalg.inv(arm.camera_pose()) @ np.append(point, 1.0)
    pixel = arm.camera_matrix() @ camera[:3]
    return round(pixel[0] / pixel[2]), round(pixel[1] / pixel[2])


def _colour(pixel: np.ndarray) -> str:
    red, green, blue = pixel.astype(int)
    if red > 100 and green > 80 and blue < 60:
        return "yellow"
    if max(red, green, blue) - min(red, green, blue) < 60:
        return "grey"
    return ("red", "green", "blue")[int(np.argmax([red, green, blue]))]


@pytest.mark.parametrize("size", [(128, 128), (640, 480), (64, 64)])
def test_calibration_puts_known_points_on_their_colours(size):
    for name in TASK_NAMES:
        arm = SimArm(name, size)
        for seed in range(4):
            arm.reset(seed)
            image = arm.render()
            assert image.shape == (size[1], size[0], 3) and image.dtype == np.uint8
            points = {"green": arm.ee_position + (0, 0, 0.02)} if name != "pick_place" else {}
            if name == "drawer_open":
                points["blue"] = arm.object_position + (
                    0.058,
                    -0.06,
                    -0.05,
                )  # lower part of the drawer's front
                near_gripper = False
            else:
                points["blue"] = arm.goal
                near_gripper = np.linalg.norm((arm.ee_position - arm.object_position)[:2]) < 0.08
            if not near_gripper:  # the gripper may hide the object
                points["red"] = arm.object_position if name != "drawer_open" else arm.object_position + (0, -0.05, 0)
            for colour, point in points.items():
                column, row = _project(arm, point)
                assert _colour(image[row, column]) == colour, (name, seed, colour)
        arm.close()


@pytest.mark.parametrize("name", TASK_NAMES)
def test_the_end_effector_never_leaves_the_image(arms, name):
    arm = arms[name]
    arm.reset(0)
    for corner in np.stack(np.meshgrid(*zip(arm._low, arm._high)), -1).reshape(-1, 3):
        column, row = _project(arm, corner)
        assert 2 <= column <= 125 and 2 <= row <= 125


def test_an_angular_velocity_turns_the_tool_and_none_keeps_its_direction():
    arm = SimArm("drawer_open", (64, 64))
    for _ in range(10):
        arm.apply(np.zeros(3), 0.0, (0.0, 0.0, 0.4))
    turned = rotation_vector(rotation_of(*arm.ee_quaternion) @ TOOL_DOWN.T)
    assert turned == pytest.approx([0.0, 0.0, 0.4], abs=0.05)
    for _ in range(5):
        arm.apply((0.0, 0.05, 0.0), 0.0)
    kept = rotation_vector(rotation_of(*arm.ee_quaternion) @ TOOL_DOWN.T)
    assert kept == pytest.approx([0.0, 0.0, 0.4], abs=0.05)
    for wrong in ((0.0, 0.0), (0.0, 0.0, np.nan)):
        with pytest.raises(ValueError):
            arm.apply(np.zeros(3), 0.0, wrong)
    arm.reset(3)
    assert np.allclose(rotation_of(*arm.ee_quaternion), TOOL_DOWN, atol=1e-3)
