# SPDX-License-Identifier: Apache-2.0
"""LeRobot datasets: what is written comes back as it was, others' are read by their joints, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from factories import make_episode

pa = pytest.importorskip("pyarrow", reason="needs the extra lerobot")
pq = pytest.importorskip("pyarrow.parquet")

from erl_vlm_ros.cli import main  # noqa: E402
from erl_vlm_ros.common.errors import ConfigError  # noqa: E402
from erl_vlm_ros.common.tasks import load_task  # noqa: E402
from erl_vlm_ros.data.dataset import DatasetSource, write_dataset  # noqa: E402
from erl_vlm_ros.data.images import decode_jpeg, encode_jpeg  # noqa: E402
from erl_vlm_ros.data.notes import Notes  # noqa: E402
from erl_vlm_ros.data.spaces import run_spaces, with_cameras  # noqa: E402
from erl_vlm_ros.data.views import Frame, all_jpegs, cameras_of  # noqa: E402
from erl_vlm_ros.recordings.lerobot import layout as lay  # noqa: E402
from erl_vlm_ros.recordings.lerobot import write  # noqa: E402
from erl_vlm_ros.recordings.lerobot.read import Importer  # noqa: E402
from erl_vlm_ros.recordings.lerobot.stats import column_stats, joined  # noqa: E402
from erl_vlm_ros.recordings.options import BuildOptions  # noqa: E402
from erl_vlm_ros.recordings.problems import Reason, RecordingError  # noqa: E402
from erl_vlm_ros.robot.kinematics import Kinematics  # noqa: E402
from erl_vlm_ros.robot.spec import load_robot, robot_path  # noqa: E402

ROBOT, TASK = load_robot("sim_arm"), load_task("drawer_open")
SPACES = run_spaces(
    {"joint_names": list(ROBOT.joints), "gripper_joints": list(ROBOT.gripper.joints), "gripper_max": 0.08}, TASK
)
BEGAN, FPS = 10**9, 30


def ours(folder, rewards=True):
    """Three different episodes with notes; returns them."""
    out = []
    for i in range(3):
        steps = 6 + i
        episode = make_episode(
            i, steps, side=24, spaces=SPACES, success=[True, False, None][i], terminated=i == 1, truncated=i != 1,
            intervention=np.arange(steps) % 2 == 0, extras=np.arange(2.0 * (steps + 1)).reshape(-1, 2),
            extra_names=["effort_a", "effort_b"], stamps=(np.arange(steps + 1) * 10**8 + 1_750_000_000_123_456_789),
        )  # fmt: skip
        ratings = np.full(steps + 1, -1)
        ratings[[2, -1]] = i, 1
        notes = Notes(np.linspace(-1, 1, steps), ratings, 3, "model x", "run y") if i < 2 else Notes(np.ones(steps))
        out.append((episode, notes if rewards else None))
    write_dataset(folder, "drawer_open", out, "test", robot_path("sim_arm"))
    return out


@pytest.fixture
def exported(tmp_path):
    ours(tmp_path / "d")
    write.export(tmp_path / "d", tmp_path / "l")
    return tmp_path / "l"


def take(path, hand=None, degrees=False, state_names=(), **changes):
    options = BuildOptions(**({"robot": ROBOT, "task": TASK, "image_size": 48} | changes))
    importer = Importer(path, options, hand, degrees=degrees, state_names=state_names)
    return list(importer.episodes()), importer.report


def refused(path, **changes):
    with pytest.raises(RecordingError) as error:
        take(path, **changes)
    return error.value.reason


def change(path, **values):
    """Some keys of info.json."""
    info = json.loads((path / lay.INFO).read_text()) | values
    (path / lay.INFO).write_text(json.dumps(info))


# -- there and back


def test_what_is_written_comes_back_as_it_was(tmp_path, exported):
    for (episode, notes), (mine, my_notes) in zip(ours(tmp_path / "again"), take(exported)[0], strict=True):
        for name in ("observations", "actions", "stamps", "intervention", "extras"):
            np.testing.assert_array_equal(getattr(mine, name), getattr(episode, name))
        for name in (
            "jpegs",
            "terminated",
            "truncated",
            "success",
            "spaces",
            "index",
            "seed",
            "prop_dim",
            "extra_names",
        ):
            assert getattr(mine, name) == getattr(episode, name)
        np.testing.assert_array_equal(my_notes.rewards, notes.rewards)
        assert (my_notes.ratings is None) == (notes.ratings is None)
        if notes.ratings is not None:
            np.testing.assert_array_equal(my_notes.ratings, notes.ratings)
            assert replace(my_notes, rewards=None, ratings=None) == replace(notes, rewards=None, ratings=None)


def test_there_and_back_by_the_command(tmp_path, capsys):
    shown = ours(tmp_path / "d", rewards=False)
    assert main(["dataset", "export", "--format", "lerobot", str(tmp_path / "d"), str(tmp_path / "l")]) == 0
    line = [
        "dataset",
        "import",
        "--format",
        "lerobot",
        str(tmp_path / "l"),
        "--robot",
        "sim_arm",
        "--task",
        "drawer_open",
    ]
    assert main([*line, "--out", str(tmp_path / "e"), "--success", "2"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["episodes"], told["steps"]) == (3, 21)
    found = [episode for episode, _ in DatasetSource(str(tmp_path / "e"), False).annotated()]
    assert [e.success for e in found] == [False, False, True]
    np.testing.assert_array_equal(found[1].actions, shown[1][0].actions)
    assert main(["dataset", "export", str(tmp_path / "d"), str(tmp_path / "l")]) == 2  # not empty
    assert main([*line, "--out", str(tmp_path / "e")]) == 2


def test_the_layout(tmp_path, exported, monkeypatch):
    info = json.loads((exported / lay.INFO).read_text())
    assert (info["codebase_version"], info["fps"], info["total_episodes"], info["total_frames"]) == ("v3.0", 10, 3, 21)
    assert info["features"][lay.OBSERVATION]["names"][:2] == ["joints.joint1", "joints.joint2"]
    assert info["robot_type"] == "sim_arm" and info["splits"] == {"train": "0:3"}
    table = pq.read_table(exported / "data/chunk-000/file-000.parquet")
    assert table.schema.names == list(info["features"])
    assert table.schema.field(lay.ACTION).type == pa.list_(pa.float32(), 3)
    assert table.column("index").to_pylist() == list(range(21))
    np.testing.assert_allclose(table.column("timestamp").to_numpy()[:6], np.arange(6) / 10, rtol=1e-6)
    assert table.column(lay.camera_key(""))[0].as_py()["bytes"] == ours(tmp_path / "again")[0][0].jpegs[0]
    rows = pq.read_table(exported / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [(r["dataset_from_index"], r["dataset_to_index"]) for r in rows] == [(0, 6), (6, 13), (13, 21)]
    assert rows[0]["tasks"] == [TASK.instruction]
    tasks = pq.read_table(exported / lay.TASKS)
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    monkeypatch.setattr(lay, "DATA_MB", 0)
    assert write.export(tmp_path / "d", tmp_path / "parts")["data_files"] == 3
    np.testing.assert_array_equal(take(tmp_path / "parts")[0][2][0].actions, take(exported)[0][2][0].actions)


@pytest.mark.parametrize("cameras", [(), ("front", "wrist")])
def test_images_become_videos_and_come_back_but_for_their_loss(tmp_path, cameras, monkeypatch):
    """Smooth images, so that the codec's loss is small; each frame finds its own row again, in either of two files."""
    pytest.importorskip("av")
    spaces = with_cameras(SPACES, cameras, 32) if cameras else SPACES
    episodes = []
    for i in range(2):
        shades = [np.full((32, 32, 3), (30 * k + 10 * i, 200 - 25 * k, 100), np.uint8) for k in range(7)]
        frames = [encode_jpeg(shade) for shade in shades]
        frames = [Frame.of(dict.fromkeys(cameras, one)) for one in frames] if cameras else frames
        episodes.append(make_episode(i, 6, jpegs=frames, spaces=spaces))
    write_dataset(tmp_path / "d", "drawer_open", episodes, "test", robot_path("sim_arm"))
    told = write.export(tmp_path / "d", tmp_path / "l", "h264")
    assert (told["frames"], told["video_files"]) == (12, max(1, len(cameras)))
    info = json.loads((tmp_path / "l" / lay.INFO).read_text())
    key = lay.camera_key(cameras[0] if cameras else "")
    assert (info["features"][key]["dtype"], info["features"][key]["info"]["video.codec"]) == ("video", "h264")
    assert info["video_path"] == lay.VIDEO
    assert key not in pq.read_table(tmp_path / "l" / "data/chunk-000/file-000.parquet").schema.names
    row = pq.read_table(tmp_path / "l" / "meta/episodes/chunk-000/file-000.parquet").to_pylist()[1]
    assert (row[f"videos/{key}/from_timestamp"], row[f"videos/{key}/to_timestamp"]) == pytest.approx((0.6, 1.2))

    def same(folder):
        for (mine, _), episode in zip(take(folder)[0], episodes, strict=True):
            for one, other in zip(all_jpegs(mine.jpegs), all_jpegs(episode.jpegs), strict=True):
                assert np.abs(decode_jpeg(one).astype(int) - decode_jpeg(other)).max() < 10
            assert cameras_of(mine.jpegs) == cameras

    same(tmp_path / "l")
    monkeypatch.setattr(lay, "VIDEO_MB", 0)
    assert write.export(tmp_path / "d", tmp_path / "parts", "h264")["video_files"] == 2 * max(1, len(cameras))
    same(tmp_path / "parts")


def test_images_of_an_odd_size_cannot_be_a_video(tmp_path, capsys):
    pytest.importorskip("av")
    write_dataset(tmp_path / "d", "drawer_open", [make_episode(0, 6, side=25, spaces=SPACES)], "test")
    assert main(["dataset", "export", "--video", str(tmp_path / "d"), str(tmp_path / "l")]) == 2
    assert "25x25" in capsys.readouterr().err and not (tmp_path / "l").exists()


def test_statistics_are_those_of_all_rows():
    rng = np.random.default_rng(0)
    parts = [rng.normal(i, 1 + i, (20 + i, 2)) for i in range(3)]
    found, whole = joined([column_stats(part) for part in parts]), np.concatenate(parts)
    for name, value in (("mean", whole.mean(0)), ("std", whole.std(0)), ("min", whole.min(0)), ("max", whole.max(0))):
        np.testing.assert_allclose(found[name], value)
    assert found["count"].tolist() == [len(whole)]


def test_a_dataset_without_labels_has_no_column_for_them(tmp_path):
    ours(tmp_path / "d", rewards=False)
    write.export(tmp_path / "d", tmp_path / "l")
    names = json.loads((tmp_path / "l" / lay.INFO).read_text())["features"]
    assert lay.REWARD not in names and lay.RATING not in names
    assert [notes for _, notes in take(tmp_path / "l")[0]] == [None] * 3


def test_named_cameras_go_there_and_back(tmp_path):
    spaces = with_cameras(SPACES, ("front", "wrist"), 24)
    episodes = []
    for i in range(2):
        a, b = (make_episode(10 * i + k, 6, side=24).jpegs for k in range(2))
        frames = [Frame.of({"front": x, "wrist": y}) for x, y in zip(a, b)]
        episodes.append(make_episode(i, 6, jpegs=frames, spaces=spaces))
    write_dataset(tmp_path / "d", "drawer_open", episodes, "test", robot_path("sim_arm"))
    write.export(tmp_path / "d", tmp_path / "l")
    names = json.loads((tmp_path / "l" / lay.INFO).read_text())["features"]
    assert [n for n in names if n.startswith(lay.IMAGES)] == [lay.IMAGES + "front", lay.IMAGES + "wrist"]
    for (mine, _), episode in zip(take(tmp_path / "l")[0], episodes, strict=True):
        assert all_jpegs(mine.jpegs) == all_jpegs(episode.jpegs) and cameras_of(mine.jpegs) == ("front", "wrist")
        assert mine.spaces == spaces
    other = make_episode(2, 6, side=24, spaces=SPACES)
    write_dataset(tmp_path / "one", "drawer_open", [other], "test")
    shutil.copy(tmp_path / "one" / "episode_00000.bundle", tmp_path / "d" / "episode_00001.bundle")
    with pytest.raises(ConfigError):
        write.export(tmp_path / "d", tmp_path / "mixed")


def test_cameras_of_another(tmp_path, urdf):
    path = foreign(tmp_path / "f")
    info = json.loads((path / lay.INFO).read_text())
    key = "observation.images.front"
    file = path / "data/chunk-000/file-000.parquet"
    table = pq.read_table(file)
    pq.write_table(table.append_column("observation.images.wrist", table.column(key)), file)
    change(path, features={**info["features"], "observation.images.wrist": info["features"][key]})
    assert refused(path, urdf=urdf) is Reason.SEVERAL_TOPICS
    assert cameras_of(take(path, urdf=urdf, cameras=(("", "wrist"),))[0][0][0].jpegs) == ()
    named = (("top", "front"), ("wrist", "observation.images.wrist"))
    episode = take(path, urdf=urdf, cameras=named)[0][0][0]
    assert cameras_of(episode.jpegs) == episode.spaces.observation.cameras == ("top", "wrist")
    assert refused(path, urdf=urdf, cameras=(("side", "side"),)) is Reason.NO_TOPIC


def test_what_cannot_be_exported(tmp_path):
    write_dataset(tmp_path / "old", "t", [make_episode(0, 5, side=16)], "test")  # says no spaces
    mixed = [make_episode(i, 5, side=16 + 8 * i, spaces=SPACES) for i in range(2)]
    write_dataset(tmp_path / "mixed", "t", mixed, "test")
    for name in ("old", "mixed", "nothing"):
        with pytest.raises(ConfigError):
            write.export(tmp_path / name, tmp_path / f"{name}_out")


# -- refused


def test_what_is_no_dataset(tmp_path, exported):
    assert refused(tmp_path) is Reason.NO_BAG
    change(exported, codebase_version="v2.1")
    assert refused(exported) is Reason.VERSION
    change(exported, codebase_version="v3.0", fps=0)
    assert refused(exported) is Reason.UNREADABLE
    (exported / lay.INFO).write_text("{")
    assert refused(exported) is Reason.UNREADABLE


def test_another_robot_or_task(exported):
    assert refused(exported, robot=load_robot("ur5e")) is Reason.SPACES
    assert refused(exported, task=load_task("pick_place")) is Reason.SPACES
    assert len(take(exported, observe="images")[0]) == 3


def test_a_dataset_that_was_cut_off(exported):
    change(exported, total_frames=22)
    assert refused(exported) is Reason.TRUNCATED
    file = exported / "data/chunk-000/file-000.parquet"
    file.write_bytes(file.read_bytes()[:1000])
    assert refused(exported) is Reason.UNREADABLE
    file.unlink()
    assert refused(exported) is Reason.TRUNCATED


def test_a_missing_column(exported):
    info = json.loads((exported / lay.INFO).read_text())
    change(exported, features={k: v for k, v in info["features"].items() if k != lay.ACTION})
    assert refused(exported) is Reason.NO_TOPIC
    change(exported, features={k: v for k, v in info["features"].items() if k != lay.camera_key("")})
    assert refused(exported) is Reason.NO_TOPIC


def test_numbers_that_are_not_finite(exported):
    file = exported / "data/chunk-000/file-000.parquet"
    table = pq.read_table(file)
    actions = np.array(table.column(lay.ACTION).to_pylist(), np.float32)
    actions[8, 1] = np.nan
    spoilt = pa.FixedSizeListArray.from_arrays(pa.array(actions.reshape(-1)), 3)
    pq.write_table(table.set_column(table.schema.names.index(lay.ACTION), table.schema.field(lay.ACTION), spoilt), file)
    episodes, report = take(exported)
    assert len(episodes) == 2
    assert [(one.episode, one.reason) for one in report.skipped] == [(1, Reason.NOT_FINITE)]
    assert report.skipped[0].topic == lay.ACTION and "row 2 of 7" in report.skipped[0].text


# -- datasets of others


@pytest.fixture(scope="module")
def urdf(tmp_path_factory):
    from erl_vlm_ros.sim.backend import make_backend

    arm = make_backend("", TASK, (32, 32), "")
    file = tmp_path_factory.mktemp("urdf") / "arm.urdf"
    file.write_text(arm.urdf(ROBOT.base_frame, ROBOT.tool_frame))
    arm.close()
    return str(file)


def image(number):
    picture = np.full((48, 64, 3), 30, np.uint8)
    picture[:, : 1 + number % 60] = 200
    return picture


def joints(t):
    return 0.3 * np.sin(np.asarray(t)[..., None] + np.arange(6))


def foreign(path, rows=90, video=False, state=None, times=None, endings=".pos", **more):
    """Two episodes of somebody else's, in degrees; ``more``: further columns of the first episode's rows."""
    times = np.arange(rows) / FPS if times is None else times
    degrees = np.rad2deg(joints(np.arange(rows) / FPS))
    state = np.hstack([degrees, np.full((rows, 2), 0.01)]) if state is None else state
    state = np.concatenate([state, state]).astype(np.float32)
    names = [f"{name}{endings}" for name in (*ROBOT.joints, *ROBOT.gripper.joints)]
    number = np.repeat([0, 1], rows)
    columns = {
        lay.OBSERVATION: pa.FixedSizeListArray.from_arrays(pa.array(state.reshape(-1)), 8),
        "timestamp": pa.array(np.tile(times, 2).astype(np.float32)), "episode_index": pa.array(number),
        "frame_index": pa.array(np.tile(np.arange(rows), 2)), "index": pa.array(np.arange(2 * rows)),
        "task_index": pa.array(np.zeros(2 * rows, np.int64)),
    }  # fmt: skip
    columns |= {name: pa.array(np.concatenate([values, values])) for name, values in more.items()}
    key = "observation.images.front"
    if not video:
        pictures = [{"bytes": encode_jpeg(image(i % rows), 95), "path": None} for i in range(2 * rows)]
        columns[key] = pa.array(pictures, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    (path / "data/chunk-000").mkdir(parents=True)
    (path / "meta/episodes/chunk-000").mkdir(parents=True)
    pq.write_table(pa.table(columns), path / "data/chunk-000/file-000.parquet")
    kinds = {name: "bool" if v.dtype == bool else str(v.dtype) for name, v in more.items()}
    features = {name: lay.feature(kind, 1) for name, kind in kinds.items()}
    features |= {name: lay.feature("float32" if name == "timestamp" else "int64", 1)
                 for name in ("timestamp", *lay.INDICES)}  # fmt: skip
    features[lay.OBSERVATION] = lay.feature("float32", 8, names={"motors": names})
    features[key] = lay.feature("video" if video else "image", 48, 64, 3)
    info = {
        "codebase_version": "v3.0",
        "fps": FPS,
        "total_frames": 2 * rows,
        "features": features,
        "video_path": lay.VIDEO,
    }
    (path / lay.INFO).write_text(json.dumps(info))
    if video:
        _write_video(path, key, rows)
    return path


def _write_video(path, key, rows):
    av = pytest.importorskip("av")
    file = path / lay.VIDEO.format(video_key=key, chunk_index=0, file_index=0)
    file.parent.mkdir(parents=True)
    with av.open(str(file), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 64, 48, "yuv420p", 4_000_000
        for i in range(2 * rows):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image(i % rows), format="rgb24")))
        container.mux(stream.encode(None))
    table = {"episode_index": [0, 1], f"videos/{key}/chunk_index": [0, 0], f"videos/{key}/file_index": [0, 0],
             f"videos/{key}/from_timestamp": [0.0, rows / FPS]}  # fmt: skip
    pq.write_table(pa.table(table), path / "meta/episodes/chunk-000/file-000.parquet")


def bar(jpeg):
    """How far the image's bar reaches, px of 64: its number."""
    return int((decode_jpeg(jpeg)[24, :, 0] > 115).sum())


@pytest.mark.parametrize("video", [False, True])
def test_joints_images_and_motion_of_another(tmp_path, urdf, video):
    reward, done = np.arange(90, dtype=np.float32), np.arange(90) == 89
    path = foreign(tmp_path / "f", video=video, **{lay.REWARD: reward, lay.SUCCESS: done})
    episodes, report = take(path, urdf=urdf, degrees=True)
    assert len(episodes) == 2 and not report.skipped
    arm = Kinematics.from_file(urdf, ROBOT.base_frame, ROBOT.tool_frame)
    at = np.arange(0, 90, 3)  # 30 frames a second at 10 Hz
    for episode, notes in episodes:
        np.testing.assert_allclose(episode.part("joints"), joints(at / FPS), atol=1e-5)
        place = np.array([arm.forward(q)[0] for q in joints(at / FPS)])
        np.testing.assert_allclose(episode.part("ee_position"), place, atol=1e-5)
        wanted = np.diff(place, axis=0) * 10 / TASK.linear_speed
        np.testing.assert_allclose(episode.actions, np.clip(wanted, -1, 1), atol=1e-3)
        np.testing.assert_allclose(notes.rewards, [reward[a : a + 3].sum() for a in at[:-1]])
        assert episode.success is True and episode.intervention.all()
        crop = [np.clip(1 + i % 60 - 8, 0, 48) for i in at]  # of 64 px the middle 48
        assert np.abs(np.array([bar(jpeg) for jpeg in episode.jpegs]) - crop).max() <= 1


def test_names_of_another(tmp_path, urdf):
    path = foreign(tmp_path / "f", endings="_strange")
    assert refused(path, urdf=urdf) is Reason.JOINTS
    names = (*ROBOT.joints, *ROBOT.gripper.joints)
    assert len(take(path, urdf=urdf, state_names=names, degrees=True)[0]) == 2
    assert refused(path, urdf=urdf, state_names=names[:4]) is Reason.JOINTS
    assert refused(path, robot=ROBOT) is Reason.URDF
    assert refused(path, urdf=urdf, state_names=names, task=replace(TASK, control_hz=50.0)) is Reason.SLOW_CAMERA


def test_bad_rows_of_another(tmp_path, urdf):
    state = np.zeros((90, 8))
    state[40, 2] = np.nan
    _, report = take(foreign(tmp_path / "nan", state=state), urdf=urdf)
    assert {(one.reason, one.topic) for one in report.skipped} == {(Reason.NOT_FINITE, lay.OBSERVATION)}
    assert "row 40 of 90" in report.skipped[0].text
    times = np.arange(90) / FPS
    back, gap = times.copy(), times + 2.0 * (np.arange(90) > 50)
    back[50:] -= 1.0
    for name, wrong, reason in (("back", back, Reason.CLOCK_JUMPS), ("gap", gap, Reason.GAP)):
        _, report = take(foreign(tmp_path / name, times=wrong), urdf=urdf)
        assert {one.reason for one in report.skipped} == {reason}
    _, report = take(foreign(tmp_path / "short", rows=9), urdf=urdf)
    assert {one.reason for one in report.skipped} == {Reason.SHORT}
    reward = {lay.REWARD: np.full(90, np.nan, np.float32)}
    _, report = take(foreign(tmp_path / "reward", **reward), urdf=urdf)
    assert {(one.reason, one.topic) for one in report.skipped} == {(Reason.NOT_FINITE, lay.REWARD)}


def test_a_video_that_is_missing_or_too_short(tmp_path, urdf):
    path = foreign(tmp_path / "f", video=True)
    shutil.copytree(path, tmp_path / "long")
    change(path, fps=FPS)
    next((path / "videos").rglob("*.mp4")).write_bytes(b"no video")
    assert refused(path, urdf=urdf) is Reason.IMAGE
    next((path / "videos").rglob("*.mp4")).unlink()
    assert refused(path, urdf=urdf) is Reason.IMAGE
    rows = tmp_path / "long/meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(rows).to_pydict()
    table["videos/observation.images.front/from_timestamp"] = [0.0, 5.0]
    pq.write_table(pa.table(table), rows)
    assert refused(tmp_path / "long", urdf=urdf) is Reason.IMAGE


def test_an_image_outside_of_the_dataset_is_not_read(tmp_path, urdf):
    path = foreign(tmp_path / "f")
    (tmp_path / "secret.jpg").write_bytes(encode_jpeg(image(0)))
    file = path / "data/chunk-000/file-000.parquet"
    table = pq.read_table(file)
    kind = table.schema.field("observation.images.front")
    links = pa.array([{"bytes": None, "path": "../secret.jpg"}] * 180, kind.type)
    pq.write_table(table.set_column(table.schema.names.index(kind.name), kind, links), file)
    assert refused(path, urdf=urdf) is Reason.IMAGE
