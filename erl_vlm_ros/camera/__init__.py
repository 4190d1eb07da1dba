# SPDX-License-Identifier: Apache-2.0
"""Cameras without ROS: where images come from, when one was taken, what happens when none comes."""
