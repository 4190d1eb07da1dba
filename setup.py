# SPDX-License-Identifier: Apache-2.0
"""ament_python package: colcon builds it on a ROS installation, pip installs it anywhere."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "erl_vlm_ros"
ROOT = Path(__file__).resolve().parent
VERSION = re.search(r'^__version__ = "(.+)"', (ROOT / PACKAGE / "__init__.py").read_text(), re.M).group(1)

NODES = [
    "sim_bridge",
    "camera",
    "policy_controller",
    "safety_guard",
    "guard_watchdog",
    "learner",
    "collector",
    "vlm_rater",
    "reward_trainer",
    "monitor",
    "viewer",
    "tool_pose",
    "run_side",
]
# The message packages that the nodes import, as PyPI names.
ROS_MESSAGES = [
    "builtin",
    "diagnostic",
    "geometry",
    "rosgraph",
    "sensor",
    "std",
    "trajectory",
    "visualization",
]


def shipped(*folders: str) -> list[tuple[str, list[str]]]:
    """data_files entries for all files below ``folders``, under share/PACKAGE, sub-folders kept."""
    found: dict[str, list[str]] = {}
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                relative = path.relative_to(ROOT)
                found.setdefault(f"share/{PACKAGE}/{relative.parent}", []).append(str(relative))
    return sorted(found.items())


setup(
    name=PACKAGE,
    version=VERSION,
    description="Teach a robot arm a task from a sentence: VLM ratings, a learned reward and SAC, over ROS 2",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    maintainer="erl_vlm_ros maintainers",
    maintainer_email="maintainers@users.noreply.github.com",
    python_requires=">=3.10",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        *shipped("launch", "config", "sim"),
    ],
    zip_safe=True,
    install_requires=[
        "setuptools",
        "numpy",
        "PyYAML",
        "opencv-python",
        "safetensors",
        "torch",
        "openai>=3",  # which brings httpx2
        "pydantic>=2",
        "typing-extensions",
        "tensorboard",
        "matplotlib",
    ],
    extras_require={
        "ros": [
            "ros-rclpy[fastrtps]",
            "ros-rcl-interfaces",
            "ros-std-srvs",
            *(f"ros-{name}-{'interfaces' if name == 'builtin' else 'msgs'}" for name in ROS_MESSAGES),
        ],
        "sim": ["mujoco", "gymnasium"],
        # metaworld itself asks for one old MuJoCo, which it does not need: pip install --no-deps metaworld
        "metaworld": ["mujoco", "gymnasium", "scipy", "imageio"],
        "minigrid": ["minigrid", "gymnasium"],  # brings pygame-ce, which drawing does not use but importing does
        "kinematics": ["pin", "example-robot-data"],  # to compare our kinematics with pinocchio's, in a test
        "menagerie": ["mujoco-menagerie"],  # models of real arms; robosuite's: pip install --no-deps robosuite
        "real": ["pyrealsense2; platform_system == 'Linux'"],
        "compare": ["scipy"],  # the bootstrap of `erl-vlm compare`: statistics are not written anew here
        "export": ["onnx", "onnxscript"],  # erl-vlm export --format onnx
        "lerobot": ["pyarrow", "av"],  # erl-vlm dataset export | import --format lerobot
        "bag": ["rosbags"],  # rosbag2 recordings without a ROS installation
        "dev": [
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "hypothesis",
            "ruff",
            "import-linter",
            "stable-baselines3",
            "scipy",
        ],
    },
    entry_points={
        "console_scripts": [
            f"erl-vlm = {PACKAGE}.cli:main",
            f"standin_vlm = {PACKAGE}.standin.vlm:main",
            *(f"{node} = {PACKAGE}.nodes.{node}:main" for node in NODES),
        ],
    },
)
