# SPDX-License-Identifier: Apache-2.0
"""A dataset of ours as a LeRobot dataset, with the JPEGs as they are or as videos."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.common.new_folder import new_folder
from erl_vlm_ros.common.rundir import atomic_write
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.dataset import DatasetSource, robot_file
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.images import jpeg_size
from erl_vlm_ros.data.notes import UNRATED, Notes
from erl_vlm_ros.data.spaces import Spaces
from erl_vlm_ros.data.views import all_jpegs, cameras_of, view
from erl_vlm_ros.recordings.lerobot import layout as lay
from erl_vlm_ros.recordings.lerobot.stats import as_json, column_stats, image_stats, joined
from erl_vlm_ros.recordings.lerobot.video import VideoWriter, video_info
from erl_vlm_ros.robot.spec import load_robot

_JUDGED = {True: 1, False: 0, None: -1}


def export(dataset: str | Path, out: str | Path, video: str = "") -> dict[str, Any]:
    """Write the dataset at ``dataset`` into the new or empty folder ``out``; returns episodes, frames and files.

    One row a step: what was seen, what was done, what it earned. The frame after the last step, which LeRobot has no
    row for, and what else it has no column for, stand in files of our own beside its metadata.

    Args:
        video: a codec of ``video.CODECS``: images become MP4 files, with loss; empty: the JPEGs as they are.

    Raises:
        ConfigError: pyarrow is missing, ``out`` holds something, the dataset is none, its episodes carry no spaces, or
            their frames are of several sizes; of videos as VideoWriter.
    """
    source = DatasetSource(str(dataset), False)
    lay.module("pyarrow.parquet")
    with new_folder(out, "out") as path, closing(_Writer(path, source.info, robot_file(dataset), video)) as writer:
        for episode, notes in source.annotated():
            writer.add(episode, notes)
        return writer.finish()


class _Writer:
    def __init__(self, path: Path, info: dict[str, Any], robot: str, video: str):
        self.path, self.info, self._video = path, info, video
        self._videos: dict[str, VideoWriter] = {}  # by the key of the camera's feature
        self._pa, self._pq = lay.module(), lay.module("pyarrow.parquet")
        self._robot = load_robot(robot).name if robot else None
        try:
            task = load_task(info["task"])
            self._sentence, self._hz = task.instruction, task.control_hz
        except ConfigError:  # of another machine's file: its name is all that is known
            self._sentence, self._hz = str(info["task"]), 0.0
        self._rewarded = info.get("rewards") is True
        self._cameras: tuple[str, ...] = ()
        self._features: dict[str, dict[str, Any]] = {}
        self._spaces: Spaces | None = None
        self._open: Any = None
        self._written, self._file, self._frames = 0, -1, 0
        self._rows: list[dict[str, Any]] = []
        self._about: list[dict[str, Any]] = []
        self._final: list[dict[str, Any]] = []
        self._stats: list[dict[str, dict[str, np.ndarray]]] = []

    def add(self, episode: Episode, notes: Notes | None) -> None:
        if not self._features:
            self._begin(episode)
        cameras = cameras_of(episode.jpegs)
        if cameras != self._cameras:
            told = ", ".join(cameras) or "one without a name"
            raise self._unfit(f"episode {episode.index} has other cameras than the first: {told}")
        for name in cameras or ("",):
            height, width, _ = self._features[lay.camera_key(name)]["shape"]
            if {jpeg_size(view(frame, name)) for frame in episode.jpegs} != {(height, width)}:
                raise self._unfit(
                    f"episode {episode.index} has images of another size than the first: {width}x{height} px"
                )
        columns = self._columns(episode, notes)
        if self._open is None or self._written > lay.DATA_MB << 20:
            self._next_file()
        schema = self._open.schema
        arrays = [self._array(columns[of.name], self._features[of.name], of.type) for of in schema]
        self._open.write_table(self._pa.Table.from_arrays(arrays, schema=schema))
        self._written += 64 * episode.steps + (0 if self._video else sum(map(len, all_jpegs(episode.jpegs))))
        self._note(episode, notes, columns)

    def _begin(self, first: Episode) -> None:
        if first.spaces is None:
            raise self._unfit("its episodes do not say what their vectors hold: they are of version 0.1")
        self._spaces = first.spaces
        if not self._hz:
            self._hz = round(1e9 / float(np.median(np.diff(first.stamps))), 3)
        self._cameras = cameras_of(first.jpegs)
        shapes = {name: jpeg_size(view(first.jpegs[0], name)) for name in self._cameras or ("",)}
        axes = ["height", "width", "channels"]
        seen, done = first.spaces.observation, first.spaces.action
        self._features = {
            lay.OBSERVATION: lay.feature("float32", seen.size, names=lay.column_names(seen)),
            **{lay.camera_key(name): self._camera(lay.camera_key(name), shape, axes) for name, shape in shapes.items()},
            lay.ACTION: lay.feature("float32", done.size, names=lay.column_names(done)),
            **({lay.REWARD: lay.feature("float32", 1)} if self._rewarded else {}),
            lay.DONE: lay.feature("bool", 1),
            lay.TRUNCATED: lay.feature("bool", 1),
            lay.SUCCESS: lay.feature("bool", 1),
            lay.STAMP: lay.feature("int64", 1),
            lay.DRIVEN: lay.feature("bool", 1),
            **({lay.RATING: lay.feature("int64", 1)} if self.info.get("ratings") is True else {}),
            **({lay.EXTRAS: lay.feature("float32", len(first.extra_names), names=list(first.extra_names))}
               if first.extra_names else {}),
            "timestamp": lay.feature("float32", 1),
            **{name: lay.feature("int64", 1) for name in lay.INDICES},
        }  # fmt: skip

    def _camera(self, key: str, shape: tuple[int, int], axes: list[str]) -> dict[str, Any]:
        """A camera's feature; of a video with its writer."""
        if not self._video:
            return lay.feature("image", *shape, 3, names=axes)
        self._videos[key] = VideoWriter(self.path, key, self._video, shape, self._fps)
        return lay.feature("video", *shape, 3, names=axes) | {"info": video_info(self._video, *shape, self._fps)}

    @property
    def _fps(self) -> float:
        """A whole number where it is one, as LeRobot has it."""
        return int(self._hz) if self._hz == int(self._hz) else self._hz

    def _unfit(self, text: str) -> ConfigError:
        return ConfigError(text, code=Code.DOES_NOT_FIT, file=str(self.path))

    def _columns(self, episode: Episode, notes: Notes | None) -> dict[str, Any]:
        steps = episode.steps
        last = np.arange(steps) == steps - 1
        ratings = np.full(steps + 1, UNRATED, np.int64) if notes is None or notes.ratings is None else notes.ratings
        return {
            lay.OBSERVATION: episode.observations[:-1], lay.ACTION: episode.actions,
            **{lay.camera_key(name): [view(frame, name) for frame in episode.jpegs[:-1]]
               for name in self._cameras or ("",)},
            lay.REWARD: None if notes is None else notes.rewards, lay.DONE: last,
            lay.TRUNCATED: last & episode.truncated, lay.SUCCESS: last & bool(episode.success),
            lay.STAMP: episode.stamps[:-1], lay.DRIVEN: episode.intervention, lay.RATING: ratings[:-1],
            lay.EXTRAS: episode.extras[:-1], "timestamp": (np.arange(steps) / self._hz).astype(np.float32),
            "frame_index": np.arange(steps), "episode_index": np.full(steps, len(self._rows)),
            "index": self._frames + np.arange(steps), "task_index": np.zeros(steps, np.int64),
        }  # fmt: skip

    def _array(self, values: Any, of: dict[str, Any], kind: Any) -> Any:
        pa = self._pa
        if of["dtype"] == "image":
            return pa.array([{"bytes": jpeg, "path": None} for jpeg in values], kind)
        if list(of["shape"]) == [1]:
            return pa.array(np.asarray(values).reshape(-1), kind)
        return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), type=kind)

    def _next_file(self) -> None:
        self._end_file()
        self._file += 1
        self._written = 0
        path = self.path / lay.DATA.format(**self._place(self._file))
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = {name: of for name, of in self._features.items() if of["dtype"] != "video"}  # these have files
        schema = self._pa.schema([(name, lay.arrow_type(of)) for name, of in columns.items()])
        self._open = self._pq.ParquetWriter(path, schema, compression="snappy")

    @staticmethod
    def _place(file: int) -> dict[str, int]:
        return {"chunk_index": file // lay.FILES_A_CHUNK, "file_index": file % lay.FILES_A_CHUNK}

    def _note(self, episode: Episode, notes: Notes | None, columns: dict[str, Any]) -> None:
        stats = {
            name: image_stats(columns[name]) if of["dtype"] in ("image", "video") else column_stats(columns[name])
            for name, of in self._features.items()
        }
        self._stats.append(stats)
        place = self._place(self._file)
        self._rows.append({
            "episode_index": len(self._rows), "tasks": [self._sentence], "length": episode.steps,
            "data/chunk_index": place["chunk_index"], "data/file_index": place["file_index"],
            "dataset_from_index": self._frames, "dataset_to_index": self._frames + episode.steps,
            **{name: value for key, of in self._videos.items() for name, value in of.add(columns[key]).items()},
            **{f"stats/{name}/{key}": value.tolist() for name, of in stats.items() for key, value in of.items()},
            "meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0,
        })  # fmt: skip
        self._frames += episode.steps
        self._about.append({
            "terminated": episode.terminated, "truncated": episode.truncated, "success": _JUDGED[episode.success],
            "actor_version": episode.actor_version, "seed": episode.seed,
            **({} if notes is None else {"rewarded": notes.rewards is not None, "rated": notes.ratings is not None,
               "n_classes": notes.n_classes, "rater": notes.rater, "reward_model": notes.reward_model}),
        })  # fmt: skip
        rated = notes is not None and notes.ratings is not None
        self._final.append({
            "episode_index": len(self._final), lay.OBSERVATION: episode.observations[-1].tolist(),
            **{lay.camera_key(name): bytes(view(episode.jpegs[-1], name)) for name in self._cameras or ("",)},
            lay.STAMP: int(episode.stamps[-1]), lay.EXTRAS: episode.extras[-1].tolist(),
            lay.RATING: int(notes.ratings[-1]) if rated else UNRATED,
        })  # fmt: skip

    def finish(self) -> dict[str, Any]:
        self.close()
        pa = self._pa
        (self.path / "meta").mkdir(parents=True, exist_ok=True)
        episodes = self.path / lay.EPISODES.format(chunk_index=0, file_index=0)
        episodes.parent.mkdir(parents=True)
        self._pq.write_table(pa.Table.from_pylist(self._rows), episodes, compression="snappy")
        tasks = pa.table({"task_index": pa.array([0], pa.int64()), "task": [self._sentence]})
        self._pq.write_table(lay.as_index(tasks, "task"), self.path / lay.TASKS)
        real = pa.float32()
        kinds = {lay.OBSERVATION: pa.list_(real), lay.EXTRAS: pa.list_(real)}
        kinds |= {lay.camera_key(name): pa.binary() for name in self._cameras or ("",)}
        fields = [(name, kinds.get(name, pa.int64())) for name in self._final[0]]
        self._pq.write_table(pa.Table.from_pylist(self._final, pa.schema(fields)), self.path / lay.FINAL)
        stats = {name: joined([one[name] for one in self._stats]) for name in self._features}
        atomic_write(self.path / lay.STATS, json.dumps(as_json(stats), indent=1))
        ours = {"version": lay.OURS_VERSION, "task": self.info["task"], "made_by": self.info.get("made_by", "")}
        ours |= {"spaces": self._spaces.to_json(), "episodes": self._about}
        atomic_write(self.path / lay.OURS, json.dumps(ours, indent=1))
        info = {
            "codebase_version": lay.VERSION, "robot_type": self._robot, "total_episodes": len(self._rows),
            "total_frames": self._frames, "total_tasks": 1, "chunks_size": lay.FILES_A_CHUNK,
            "data_files_size_in_mb": lay.DATA_MB, "video_files_size_in_mb": lay.VIDEO_MB,
            "fps": self._fps, "splits": {"train": f"0:{len(self._rows)}"},
            "data_path": lay.DATA, "video_path": lay.VIDEO if self._video else None,
            "features": self._features,
        }  # fmt: skip
        atomic_write(self.path / lay.INFO, json.dumps(info, indent=1))  # last: a folder that was cut off is no dataset
        files = {"data_files": self._file + 1}
        files |= {"video_files": sum(one.files for one in self._videos.values())} if self._video else {}
        return {"episodes": len(self._rows), "frames": self._frames, **files}

    def _end_file(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def close(self) -> None:
        self._end_file()
        for one in self._videos.values():
            one.close()
