# SPDX-License-Identifier: Apache-2.0
"""LeRobot's dataset layout, version 3.0: written and read with pyarrow (extra ``lerobot``), without LeRobot itself."""
