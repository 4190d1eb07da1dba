# SPDX-License-Identifier: Apache-2.0
"""Teach a robot arm a task from a sentence: absolute VLM ratings, a learned reward, SAC, over ROS 2."""

__version__ = "0.1.0"
