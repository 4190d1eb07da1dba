# SPDX-License-Identifier: Apache-2.0
"""From recordings of other sessions (rosbag2, LeRobot) to datasets and back. No ROS."""
