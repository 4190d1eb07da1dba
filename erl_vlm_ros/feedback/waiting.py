# SPDX-License-Identifier: Apache-2.0
"""The waiting form of ``submit``, the same for every teacher."""

from __future__ import annotations

from erl_vlm_ros.data.query import LabelBatch, QueryBatch


class Waiting:
    """For classes with ``submit(batch) -> Future[LabelBatch]``."""

    def label_batch(self, batch: QueryBatch) -> LabelBatch:
        """Answer and wait: every query is answered, refused, given up, or left out for lack of budget."""
        return self.submit(batch).result()
