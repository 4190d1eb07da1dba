# SPDX-License-Identifier: Apache-2.0
"""What the monitor does with what it hears: figures, files and images. No ROS."""
