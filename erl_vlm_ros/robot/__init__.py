# SPDX-License-Identifier: Apache-2.0
"""The arm as its URDF describes it: kinematics, velocities of the tool and of the joints, homing. No rclpy."""
