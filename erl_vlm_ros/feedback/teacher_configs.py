# SPDX-License-Identifier: Apache-2.0
"""How the teachers beside the model work: parameters of vlm_rater; docs/teachers.md explains them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from erl_vlm_ros.common.config import config, setting


@config("vlm_rater.human")
class HumanConfig:
    """Of a person on a local web page."""

    host: str = setting("127.0.0.1", "Address of the person's page; docs/teachers.md on opening it to others.")
    port: int = setting(8765, "Its port; 0: any free one.", low=0, high=65_535)
    round_timeout_s: float = setting(
        900.0,
        "What a person has not rated so long after it was asked gets no rating, s; 0: wait for ever.",
        low=0.0,
        high=1e6,
    )
    undo_s: float = setting(3.0, "How long the last rating of a round can be taken back, s.", low=0.0, high=600.0)


@config("vlm_rater.scripted")
class ScriptedConfig:
    """How the simulation's truth is made to err. A ``noise_model`` takes the place of all three rates."""

    error_rate: float = setting(0.0, "Share of wrong ratings, drawn per frame.", low=0.0, high=1.0)
    errors: Literal["any", "over", "under"] = setting(
        "any", "Direction of both kinds of error: any, or ratings that are too high, or too low, only."
    )
    systematic_rate: float = setting(0.0, "Share of view clusters that are always misjudged.", low=0.0, high=1.0)
    confusion: tuple[Annotated[float, Field(ge=0.0, le=1.0)], ...] | None = setting(
        None, "n * n shares, row by row (true class, answered class), in place of error_rate."
    )
    noise_model: str = setting("", "File of `erl-vlm check-rater`, in place of all three.")
    timeout_s: float = setting(10.0, "How long a frame may wait for its truth, s.", low=0.1, high=3600.0)
    seed: int = setting(0, "Seed of the errors.", low=0)


@config("vlm_rater.rerate")
class ReratingConfig:
    """Of a teacher whose high labels are asked about again."""

    from_class: int | None = setting(
        None, "Ratings of this class and above; not set: the upper half of them.", low=0, high=4
    )
    votes: int = setting(2, "Answers that a class needs, the first one included.", low=2, high=4)
    undecided: Literal["abstain", "soft"] = setting(
        "abstain",
        "When no class gets so many: abstain (no rating), or soft (the votes' shares as a soft label).",
    )


@config("vlm_rater.audit")
class AuditConfig:
    """Of a teacher some of whose labels an auditor gives once more."""

    share: float = setting(0.0, "Share of the ratings that the auditor gives once more; 0: none.", low=0.0, high=1.0)
    spacing_m: float = setting(
        0.04,
        "Distance, m, at which two positions of the end effector count as different; audits are spread over them.",
        low=1e-3,
        high=1.0,
    )


@config("vlm_rater.ensemble")
class VoteConfig:
    """How the members' votes become a label."""

    min_margin: float = setting(
        0.0,
        "Least lead of the first class over the second, as a share of the votes; below, and in a tie: no rating.",
        low=0.0,
        high=1.0,
    )
    min_votes: int = setting(0, "Least number of votes for a rating; 0: more than half.", low=0, high=4096)
    straggler_s: float = setting(
        60.0,
        "When at least half of the members are done, the others get so long, s; 0: as long as they take.",
        low=0.0,
        high=3600.0,
    )
