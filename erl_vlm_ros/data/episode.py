# SPDX-License-Identifier: Apache-2.0
"""One episode as the policy controller publishes it: observations, actions, frames and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from erl_vlm_ros.common.errors import DataError
from erl_vlm_ros.data.bundle import Bundle, BundleError
from erl_vlm_ros.data.images import pack_jpegs, unpack_frames
from erl_vlm_ros.data.spaces import RELEASED_OBSERVATION, Spaces, spaces_in
from erl_vlm_ros.data.views import cameras_of, pack_views, views, with_views

_META = {
    "terminated": bool,
    "truncated": bool,
    "evaluation": bool,
    "index": int,
    "actor_version": int,
    "seed": int,
    "prop_dim": int,
    "extra_names": list,
}

# What a message may hold: beyond it a number is damaged, and would spoil what is learned.
MAX_OBSERVATION, MAX_ACTION = 1e6, 10.0


MOST_WORDS = 1000  # characters of a sentence in a message


def sentence_of(raw: object, kind: str) -> str:
    """A sentence out of a bundle's meta. BundleError: it is no text, or too long a one."""
    if not isinstance(raw, str) or len(raw) > MOST_WORDS:
        text = f"{kind}: meta.instruction must be a text of at most {MOST_WORDS} characters"
        raise BundleError(text, field=f"{kind}.meta.instruction")
    return raw


@dataclass
class Episode:
    """T steps and T+1 frames. Transition t is (observation t, action t, observation t+1); what it earned is
    seen in frame t+1. ``intervention``, ``extras`` and ``extra_names`` may be left out: none.

    Raises:
        ValueError: lengths that do not agree, no step at all, vectors of another size than the spaces say, or a number
            that is not finite.
    """

    observations: np.ndarray  # float32 [T+1, O]; the first prop_dim columns are proprioception
    actions: np.ndarray  # float32 [T, A] in [-1, 1]: the policy's, or what was executed while a person drove
    jpegs: list[bytes]  # T+1 camera frames; of several cameras each a data.views.Frame
    stamps: np.ndarray  # int64 [T+1], ns, of the observation
    terminated: bool  # the task ended by itself (never by time)
    truncated: bool  # the time limit or a person ended it: the last value is still bootstrapped
    evaluation: bool  # not learned from
    index: int  # number of the training episode, or of the evaluation episode
    actor_version: int
    seed: int  # -1: unknown
    prop_dim: int
    intervention: np.ndarray | None = None  # bool [T], where a person drove, if only for a part of the step
    success: bool | None = None  # a success label from outside; None: there is none
    extras: np.ndarray | None = None  # float32 [T+1, K], measured beside the observation: wrench, joint efforts
    extra_names: list[str] = field(default_factory=list)  # K names
    spaces: Spaces | None = None  # what the vectors hold; None: not said, as by version 0.1
    instruction: str = ""  # the sentence of this episode; empty: the task's

    def __post_init__(self) -> None:
        self.observations = np.ascontiguousarray(self.observations, np.float32)
        self.actions = np.ascontiguousarray(self.actions, np.float32)
        self.stamps = np.ascontiguousarray(self.stamps, np.int64)
        steps = len(self.actions)
        self._check_additions(steps)
        if self.observations.ndim != 2 or self.actions.ndim != 2 or self.stamps.ndim != 1:
            raise DataError(
                "episode: observations [T+1, O], actions [T, A] and stamps [T+1] have the wrong rank", field="rank"
            )
        lengths = {"observations": len(self.observations), "jpegs": len(self.jpegs), "stamps": len(self.stamps)}
        wrong = [name for name, length in lengths.items() if length != steps + 1]
        if steps < 1 or wrong:
            raise DataError(
                f"episode: {steps} actions need {steps + 1} observations, frames and stamps "
                f"(at least one action), got {', '.join(map(str, lengths.values()))}",
                field=wrong[0] if steps else "actions",
            )
        if not 0 < self.prop_dim <= self.observations.shape[1]:
            raise DataError(
                f"episode: prop_dim {self.prop_dim} is outside 1..{self.observations.shape[1]}", field="prop_dim"
            )
        for name, rows in (("observations", self.observations), ("actions", self.actions)):
            bad = np.flatnonzero(~np.isfinite(rows).all(1))
            if len(bad):
                text = f"episode: {name}: a number in row {bad[0]} of {len(rows)} is not finite"
                raise DataError(text, field=f"{name}.values")
        if self.spaces is not None:
            self._check_spaces(self.spaces)

    def _check_spaces(self, spaces: Spaces) -> None:
        said = (spaces.observation.size, spaces.action.size, spaces.observation.proprio_size)
        held = (self.observations.shape[1], self.actions.shape[1], self.prop_dim)
        if said != held:
            raise DataError(
                f"episode: observations, actions and proprioception have the sizes {held}, its spaces say {said}: "
                f"{spaces.observation}; {spaces.action}",
                field="spaces",
            )
        seen, told = cameras_of(self.jpegs), spaces.observation.cameras
        if seen != told and any(self.jpegs):
            shown = [", ".join(names) or "one camera without a name" for names in (seen, told)]
            raise DataError(f"episode: its frames are of {shown[0]}, its spaces say {shown[1]}", field="jpegs")

    def _check_additions(self, steps: int) -> None:
        none = np.zeros(steps, bool)
        self.intervention = none if self.intervention is None else np.ascontiguousarray(self.intervention, bool)
        nothing = np.zeros((steps + 1, 0), np.float32)
        self.extras = nothing if self.extras is None else np.ascontiguousarray(self.extras, np.float32)
        if self.intervention.shape != (steps,):
            raise DataError(
                f"episode: intervention must be [{steps}], got {list(self.intervention.shape)}", field="intervention"
            )
        if self.extras.shape != (steps + 1, len(self.extra_names)):
            raise DataError(
                f"episode: extras must be [{steps + 1}, {len(self.extra_names)}] as extra_names says, "
                f"got {list(self.extras.shape)}",
                field="extra_names",
            )
        if not np.isfinite(self.extras).all():
            raise DataError("episode: a number in extras is not finite", field="extras.values")

    @property
    def steps(self) -> int:
        """Number of transitions T."""
        return len(self.actions)

    def part(self, name: str) -> np.ndarray | None:
        """A part of the observations, float32 [T+1, n]; None when there is no such part, or it is not known."""
        spec = RELEASED_OBSERVATION if self.spaces is None else self.spaces.observation
        if name not in spec or self.observations.shape[1] != spec.size:
            return None
        return self.observations[:, spec.slice(name)]

    def seen_as(self, spaces: Spaces) -> Episode:
        """The episode in other spaces, part by part: what they do not know is left out.

        Raises:
            SpecError: they have a part that the episode does not hold, or another action.
        """
        mine = self.spaces
        if mine is None or mine == spaces:
            return self
        spaces.require_in(mine, f"episode {self.index}")
        columns = [self.observations[:, mine.observation.slice(part.name)] for part in spaces.observation.vector]
        proprio_size, cameras = spaces.observation.proprio_size, spaces.observation.cameras
        jpegs = [views(frame, cameras) for frame in self.jpegs] if cameras else list(map(bytes, self.jpegs))
        return replace(self, observations=np.hstack(columns), prop_dim=proprio_size, spaces=spaces, jpegs=jpegs)

    def to_bundle(self) -> Bundle:
        """The episode as a bundle of kind ``episode``."""
        data, offsets = pack_jpegs(self.jpegs)
        arrays = {
            "observations": self.observations,
            "actions": self.actions,
            "stamps": self.stamps,
            "jpeg": data,
            "jpeg_offsets": offsets,
            "intervention": self.intervention.astype(np.uint8),
            "extras": self.extras,
        }
        more, names = pack_views(self.jpegs)
        arrays |= more
        meta = {key: kind(getattr(self, key)) for key, kind in _META.items()} | names
        meta["success"] = None if self.success is None else bool(self.success)
        if self.spaces is not None:
            meta["spaces"] = self.spaces.to_json()
        if self.instruction:
            meta["instruction"] = self.instruction
        return Bundle("episode", arrays, meta)

    @staticmethod
    def from_bundle(bundle: Bundle) -> Episode:
        """Inverse of to_bundle. Raises BundleError for bad meta or arrays that do not agree."""
        for key, kind in _META.items():
            if type(bundle.meta.get(key)) is not kind:
                raise BundleError(
                    f"episode: meta.{key} must be {kind.__name__}, got {bundle.meta.get(key)!r}",
                    field=f"episode.meta.{key}",
                )
        success, extra_names = bundle.meta.get("success"), bundle.meta["extra_names"]
        instruction = sentence_of(bundle.meta.get("instruction", ""), "episode")
        if success is not None and type(success) is not bool:
            raise BundleError(
                f"episode: meta.success must be true, false or null, got {success!r}", field="episode.meta.success"
            )
        if not all(isinstance(name, str) for name in extra_names):
            raise BundleError("episode: meta.extra_names must be texts", field="episode.meta.extra_names")
        if not 0 <= bundle.meta["index"] < 2**31:
            raise BundleError(
                f"episode: meta.index must be from 0 to 2^31 - 1, got {bundle.meta['index']}",
                field="episode.meta.index",
            )
        arrays = bundle.arrays
        for name, most in (("observations", MAX_OBSERVATION), ("actions", MAX_ACTION), ("extras", MAX_OBSERVATION)):
            if (np.abs(arrays[name]) > most).any():
                raise BundleError(f"episode: a number in {name} is beyond {most:g}", field=f"episode.{name}")
        try:
            return Episode(
                observations=arrays["observations"],
                actions=arrays["actions"],
                jpegs=with_views(unpack_frames(arrays["jpeg"], arrays["jpeg_offsets"]), arrays, bundle.meta),
                stamps=arrays["stamps"],
                intervention=arrays["intervention"] != 0,
                extras=arrays["extras"],
                success=success,
                spaces=spaces_in(bundle.meta),
                instruction=instruction,
                **{key: bundle.meta[key] for key in _META},
            )
        except ValueError as error:
            raise BundleError.of(error, field="episode") from error
