# SPDX-License-Identifier: Apache-2.0
"""viewer: a window that shows monitor/image. The run goes on when it is closed."""

from __future__ import annotations

import os
import signal
import sys

import cv2
from sensor_msgs.msg import Image

from erl_vlm_ros.common import names
from erl_vlm_ros.ros import convert, qos
from erl_vlm_ros.ros.node_base import BaseNode, run


class Viewer(BaseNode):
    """Shows each image; the window's events are served ten times a second."""

    NAME = "viewer"

    def __init__(self) -> None:
        super().__init__(self.NAME)
        self._open = False
        self.create_subscription(Image, names.MONITOR_IMAGE, self._on_image, qos.latched())
        self.wall_timer(0.1, self._serve)

    def _on_image(self, message: Image) -> None:
        image = cv2.cvtColor(convert.image_to_rgb(message), cv2.COLOR_RGB2BGR)
        if self.p.scale != 1.0:
            image = cv2.resize(image, None, fx=self.p.scale, fy=self.p.scale)
        cv2.imshow(self.p.title, image)
        self._open = True

    def _serve(self) -> None:
        if not self._open:
            return
        cv2.waitKey(1)
        if cv2.getWindowProperty(self.p.title, cv2.WND_PROP_VISIBLE) < 1:
            os.kill(os.getpid(), signal.SIGTERM)  # the window was closed

    def on_stop(self) -> None:
        """Close the window."""
        if self._open:
            cv2.destroyAllWindows()


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run(Viewer, args)


if __name__ == "__main__":
    sys.exit(main())
