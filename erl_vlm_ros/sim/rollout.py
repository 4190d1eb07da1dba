# SPDX-License-Identifier: Apache-2.0
"""One episode in a simulated world, whoever drives: what was seen and done, and what is true of each frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from erl_vlm_ros.control.recorder import square
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.data.observation import build_observation
from erl_vlm_ros.data.spaces import ObservationSpec, Spaces
from erl_vlm_ros.data.views import Frame
from erl_vlm_ros.robot.rotation import rotation_of
from erl_vlm_ros.sim.backend import SimBackend, is_discrete, named_cameras, obey

_STILL = 3  # steps that are kept of a world that stands still: what it is worth must be learned too
Driver = Callable[[np.ndarray, Callable[[], bytes]], np.ndarray]  # (observation, its frame) -> action


def observed(backend: SimBackend, spec: ObservationSpec) -> np.ndarray:
    """The observation at this instant, float32 [O]."""
    if is_discrete(backend):
        return backend.observation()
    seen = backend.observe()
    return build_observation(
        spec, seen.joints, seen.ee_position, seen.gripper_width, seen.object_position, backend.goal,
        rotation_of(*seen.ee_quaternion),
    )  # fmt: skip


def frame_of(backend: SimBackend, spec: ObservationSpec) -> bytes:
    """What the cameras see at this instant, as it is stored in episodes."""
    if not named_cameras(backend):
        return encode_jpeg(backend.render())
    sides = dict(zip(spec.cameras, (part.shape[0] for part in spec.images)))
    seen = backend.render_all()
    return Frame.of({name: encode_jpeg(square(seen[name], side)) for name, side in sides.items()})


class Rollout(NamedTuple):
    """T steps: an episode, and of each of its T + 1 frames progress, success, class among n (column n of [T+1, 6]) and
    the dense reward of worlds that have one, else the progress."""

    episode: Episode
    progress: np.ndarray
    success: np.ndarray
    classes: np.ndarray
    dense: np.ndarray


def roll_out(
    backend: SimBackend,
    spaces: Spaces,
    steps: int,
    control_hz: float,
    drive: Driver,
    *,
    seed: int,
    images: bool = True,
    least: int | None = None,
    by_person: bool = False,
    **about: Any,
) -> Rollout:
    """Drive ``steps`` steps from the reset of ``seed``.

    ``images``: false: nobody looks, and frames are empty. ``least``: leave off soon after the world has ``ended``,
    where it tells, but not before so many steps; None: go on to the last.
    ``by_person``: every step counts as a person's. ``about``: further fields of the Episode.
    """
    backend.reset(seed)
    observations, actions, jpegs, truths = [], [], [], []

    def look() -> None:
        observations.append(observed(backend, spaces.observation))
        jpegs.append(frame_of(backend, spaces.observation) if images else b"")
        truths.append(backend.truth())

    look()
    still = 0
    for _ in range(steps):
        action = drive(observations[-1], lambda: jpegs[-1])
        obey(backend, action, spaces.action)
        actions.append(action)
        look()
        still += bool(getattr(backend, "ended", False))
        if least is not None and still >= _STILL and len(actions) >= least:
            break
    steps = len(actions)
    episode = Episode(
        observations=np.stack(observations), actions=np.stack(actions), jpegs=jpegs,
        stamps=(np.arange(steps + 1) * 1e9 / control_hz).astype(np.int64), terminated=False, truncated=True,
        seed=seed, prop_dim=spaces.observation.proprio_size, spaces=spaces,
        intervention=np.full(steps, by_person), instruction=getattr(backend, "instruction", ""), **about,
    )  # fmt: skip
    classes = [[0, 0, *(int(truth[f"class_{n}"]) for n in (2, 3, 4, 5))] for truth in truths]
    dense = [truth.get("reward", truth["progress"]) for truth in truths]
    return Rollout(
        episode, np.array([truth["progress"] for truth in truths], np.float32),
        np.array([truth["success"] > 0 for truth in truths]), np.array(classes), np.array(dense, np.float32),
    )  # fmt: skip
