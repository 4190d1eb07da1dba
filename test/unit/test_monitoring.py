# SPDX-License-Identifier: Apache-2.0
"""The monitor's figures, files and images."""

from __future__ import annotations

import csv
import json

import cv2
import numpy as np
import pytest
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.data.episode import Episode
from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.data.query import Label, LabelBatch
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.monitoring.files import RunFiles, redraw
from erl_vlm_ros.monitoring.line import duration, format_line, format_mix
from erl_vlm_ros.monitoring.live import LiveLine
from erl_vlm_ros.monitoring.record import RunRecord
from erl_vlm_ros.monitoring.video import Clip, write_film

NAMES = {3: ["Bad", "Average", "Good"]}
JPEG = encode_jpeg(np.full((64, 64, 3), 90, np.uint8))


def record(now=0.0):
    return RunRecord("drawer_open", 3, NAMES, 1000, 100, now)


def truth(success=0.0, progress=0.0, **classes):
    return {"success": success, "progress": progress, **{f"class_{n}": 0.0 for n in (2, 3, 4, 5)}, **classes}


def batch(number, ratings, first_stamp=0, requested=None):
    rated = []
    for i, rating in enumerate(ratings):
        stamps = np.array([first_stamp + i])
        segment = Segment(f"s{i}", [JPEG], np.zeros((1, 2)), np.zeros((1, 3)), stamps)
        rated.append(Label.of(segment, rating))
    return LabelBatch(number, 3, len(ratings) if requested is None else requested, rated)


def evaluation(index, last_stamp, steps=2):
    stamps = np.arange(last_stamp - steps, last_stamp + 1)
    return Episode(
        np.zeros((steps + 1, 19)),
        np.zeros((steps, 3)),
        [JPEG] * (steps + 1),
        stamps,
        False,
        True,
        True,
        index,
        1,
        5,
        10,
    )


def test_ratings_are_compared_with_the_truth_of_their_frame():
    r = record()
    for stamp, right in enumerate([0.0, 1.0, 2.0, 2.0]):
        r.add_truth(stamp, truth(class_3=right))
    r.add_labels(batch(0, [0, 1, 0, -1], requested=4))
    assert (r.ratings_requested, r.ratings_valid, r.mix) == (4, 3, [2, 1, 0])
    assert r.rating_accuracy == pytest.approx(2 / 3)


def test_truth_may_come_after_the_rating():
    r = record()
    r.add_labels(batch(0, [2]))
    assert r.rating_accuracy is None
    r.add_truth(0, truth(class_3=2.0))
    assert r.rating_accuracy == 1.0


def test_a_round_heard_twice_counts_once():
    r = record()
    r.add_labels(batch(0, [1]))
    r.add_labels(batch(0, [1]))
    r.add_labels(batch(1, [1]))
    assert r.ratings_valid == 2


def test_success_is_that_of_the_last_frame():
    r = record()
    r.add_truth(10, truth(success=1.0))  # on the way, but not at the end
    r.add_truth(11, truth(success=0.0, progress=0.6))
    r.add_evaluation(evaluation(0, 11), 1.0)
    assert r.last_evaluation().success_rate == 0.0 and r.settled
    r.add_evaluation(evaluation(1, 21), 2.0)
    assert not r.settled
    r.add_truth(21, truth(success=1.0, progress=1.0))
    assert r.settled and r.last_evaluation().success_rate == 0.5
    assert r.success_at(21) is True and r.success_at(99) is None


def test_a_lower_number_begins_a_new_evaluation():
    r = record()
    for stamp, (index, success) in enumerate([(0, 0.0), (1, 0.0), (0, 1.0), (1, 1.0)]):
        r.add_truth(100 * (stamp + 1), truth(success=success))
        r.add_evaluation(evaluation(index, 100 * (stamp + 1)), 1.0)
    assert [e.success_rate for e in r.evaluations] == [0.0, 1.0]
    summary = r.summary(10.0)
    assert summary["success_rate"] == 1.0 and summary["eval_episodes"] == 2


def test_summary_has_what_the_command_promises():
    r = record()
    r.add_metrics("learner", {"env_steps": 500.0, "episodes": 10.0, "episode_return": float("nan")}, 5.0)
    wanted = "task seed env_steps ratings_requested ratings_valid rating_accuracy "
    wanted += "success_rate eval_episodes wall_s steps_per_s"
    summary = r.summary(10.0)
    assert set(wanted.split()) <= set(summary)
    assert (summary["env_steps"], summary["episodes"], summary["steps_per_s"]) == (500, 10, 50.0)
    assert summary["success_rate"] is None and summary["rating_accuracy"] is None
    json.dumps(summary, allow_nan=False)
    json.dumps(r.progress(10.0), allow_nan=False)


def test_speed_and_time_left():
    r = record()
    for second in range(40):
        r.set_steps(20 * second, float(second))
    assert r.steps_per_s(39.0) == pytest.approx(20.0)
    assert r.progress(39.0)["left_s"] == pytest.approx((1000 - 780) / 20)


def test_a_resumed_record_goes_on(tmp_path):
    first, files = record(), RunFiles(tmp_path)
    first.add_truth(0, truth(class_3=1.0))
    first.add_labels(batch(0, [1]))
    first.add_truth(50, truth(success=1.0))
    first.add_metrics("learner", {"env_steps": 200.0, "episode_return": 3.5}, 5.0)
    first.add_evaluation(evaluation(0, 50), 6.0)
    files.summary(first, 10.0)
    again = record(now=100.0)
    assert RunFiles(tmp_path).restore(again)
    assert again.wall_s(101.0) == pytest.approx(11.0)
    assert again.summary(101.0)["success_rate"] == 1.0 and again.rating_accuracy == 1.0
    again.add_labels(batch(0, [1]))  # heard before the stop
    assert (again.ratings_valid, again.env_steps, again.returns) == (1, 200, [(200, 3.5)])
    (tmp_path / "checkpoint" / "monitor.json").write_text("{}")
    with refused(ConfigError, code=Code.UNREADABLE, file=tmp_path / "checkpoint" / "monitor.json"):
        RunFiles(tmp_path).restore(record())


def test_frames_from_before_a_resume_are_not_judged_by_stamps_that_repeat():
    first = record()
    first.add_metrics("learner", {"env_steps": 500.0, "episodes": 10.0}, 1.0)
    again = record()
    again.load_state_dict(json.loads(json.dumps(first.state_dict(2.0))))
    again.add_truth(0, truth(class_3=1.0))  # the clock began again at 0
    old, new = batch(0, [2]), batch(1, [1])
    old.labels[0].segment.id, new.labels[0].segment.id = "e9_t3_h1", "e10_t0_h1"
    again.add_labels(old)
    again.add_labels(new)
    assert again.ratings_valid == 2 and again.rating_accuracy == 1.0


def test_figures_that_are_not_finite_are_left_out():
    r = record()
    r.add_metrics("learner", {"env_steps": np.nan, "episodes": np.inf, "episode_return": np.nan}, 1.0)
    assert (r.env_steps, r.episodes, r.returns) == (0, 0, [])


def test_a_run_that_went_back_forgets_what_came_after():
    first = record()
    first.set_steps(100, 1.0), first.add_metrics("learner", {"episode_return": 1.0, "episodes": 2}, 1.0)
    first.add_evaluation(evaluation(0, 1000), 2.0)
    first.set_steps(200, 3.0), first.add_metrics("learner", {"episode_return": 2.0, "episodes": 4}, 3.0)
    first.add_evaluation(evaluation(0, 2000), 4.0)
    again = record()
    again.load_state_dict(first.state_dict(5.0))
    again.go_back(150, 3)
    again.set_steps(150, 6.0)
    assert (again.env_steps, again.episodes) == (150, 3)
    assert [e.env_steps for e in again.evaluations] == [100] and again.returns == [(100, 1.0)]
    assert again._has_truth("e3_t1_h1") and not again._has_truth("e2_t1_h1")
    again.set_steps(200, 7.0)
    assert again.add_evaluation(evaluation(0, 3000), 8.0).env_steps == 200 and len(again.evaluations) == 2


def test_files_of_a_run(tmp_path):
    r, files = record(), RunFiles(tmp_path)
    files.figures(r, "learner", {"alpha": 0.1, "bad": float("nan")}, 1.0)
    r.add_labels(batch(0, [0, 2]))
    r.add_truth(50, truth(success=1.0))
    r.add_evaluation(evaluation(0, 50), 6.0)
    for call in (files.progress, files.summary, files.curve):
        call(r, 10.0)
    film = files.film([Clip([JPEG] * 5, "episode 0", True)], 10.0, 2)
    files.close()
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert [(row["node"], row["name"], row["value"]) for row in rows] == [("learner", "alpha", "0.1")]
    assert list((tmp_path / "tensorboard").iterdir())
    assert cv2.imread(str(tmp_path / "learning_curve.png")).shape[0] > 500
    capture = cv2.VideoCapture(str(film))
    ok, frame = capture.read()
    assert ok and frame.shape[:2] == (128, 128)
    (tmp_path / "learning_curve.png").unlink()
    assert redraw(tmp_path).stat().st_size > 10_000


def test_csv_of_a_resumed_run_has_one_header(tmp_path):
    for _ in range(2):
        files = RunFiles(tmp_path)
        files.figures(record(), "n", {"a": 1.0}, 1.0)
        files.close()
    assert (tmp_path / "metrics.csv").read_text().count("wall_s") == 1


def test_film_without_an_encoder_is_a_gif(tmp_path, monkeypatch):
    import erl_vlm_ros.monitoring.video as video

    monkeypatch.setattr(video, "_write_mp4", lambda *_: False)
    assert write_film(tmp_path, [Clip([JPEG] * 3, "x")], 10.0, 2).suffix == ".gif"
    assert write_film(tmp_path, [], 10.0, 2) is None


def test_nothing_to_plot(tmp_path):
    with refused(ConfigError, code=Code.MISSING_FILE, file=tmp_path / "summary.json"):
        redraw(tmp_path)


def test_line():
    r = record()
    r.state = "running"
    assert "0/1,000 steps | return - | ratings 0/100 | success -" in format_line(r.progress(1.0))
    r.add_labels(batch(0, [0, 0, 0, 2]))
    r.set_steps(100, 1.0)
    r.set_steps(200, 2.0)
    line = format_line(r.progress(2.0), NAMES[3])
    assert "[0:02 running]" in line and "ratings 4/100 (Bad 75% Average 0% Good 25%)" in line and "0:08 left" in line
    assert format_mix([1, 1], ["Very Bad", "Very Good"]) == "VBad 50% VGood 50%"
    assert format_mix([1, 3]) == "25% 75%" and format_mix([0, 0]) == ""
    assert duration(3725) == "1:02:05"


class Stream:
    def __init__(self, terminal):
        self.text, self._terminal = "", terminal

    def isatty(self):
        return self._terminal

    def write(self, text):
        self.text += text

    def flush(self):
        pass


@pytest.mark.parametrize("terminal", [True, False])
def test_live_line(tmp_path, terminal):
    stream, path = Stream(terminal), tmp_path / "progress.json"
    live = LiveLine(path, NAMES[3], stream)
    live.tick()
    path.write_text("{")  # half a file is no reason to stop
    live.tick()
    path.write_text(json.dumps(record().progress(1.0)))
    live.tick()
    assert ("\r" in stream.text) == terminal
    live.finish()
    assert stream.text.endswith("\n") and "0/1,000 steps" in stream.text


def test_success_is_believed_as_told_where_no_truth_is_known():
    r = RunRecord("drawer_open", 3, NAMES, 1000, 100, 0.0, success_source="labelled by a person")
    for index, success in enumerate([True, False, True]):
        episode = evaluation(index, 100 * index + 50)
        episode.success = success
        r.add_evaluation(episode, 1.0)
    assert r.settled and r.last_evaluation().success_rate == pytest.approx(2 / 3)
    summary = r.summary(2.0)
    assert (summary["eval_episodes"], summary["success_source"]) == (3, "labelled by a person")


def test_the_learned_reward_judges_where_nobody_else_does():
    r = record()
    r.add_metrics("learner", {"env_steps": 50.0, "success_share": 0.25}, 1.0)
    r.add_metrics("learner", {"env_steps": 100.0, "success_share": 0.5}, 2.0)
    r.add_metrics("learner", {"env_steps": 100.0, "success_share": 0.5}, 3.0)
    for index in range(4):
        r.add_evaluation(evaluation(index, 100 * index + 50), 4.0)
    r.add_metrics("learner", {"evaluation_success_share": 0.75}, 5.0)
    summary = r.summary(6.0)
    assert r.training_rates == [(50, 0.25), (100, 0.5)] and summary["training_success"] == 0.5
    assert (summary["success_rate"], summary["eval_episodes"]) == (0.75, 4)
    assert summary["success_source"] == "by the learned reward"
    again = record()
    again.load_state_dict(json.loads(json.dumps(r.state_dict(7.0))))
    assert again.training_rates == r.training_rates and again.last_evaluation().success_rate == 0.75
    r.add_truth(350, truth(success=1.0))  # a simulated arm: truth is better than the reward
    assert r.last_evaluation().success_rate == 1.0 and r.success_source == "ground truth"


def test_line_tells_of_training_success_where_no_evaluation_is_judged():
    r = record()
    r.add_metrics("learner", {"env_steps": 50.0, "success_share": 0.25}, 1.0)
    assert "success 25% in training" in format_line(r.progress(2.0))


def test_the_last_words_of_a_run_say_who_told_of_success():
    from erl_vlm_ros.runs.report import _result

    r = RunRecord("drawer_open", 3, NAMES, 1000, 100, 0.0, success_source="labelled by a person")
    assert "learning had not begun" in _result(r.summary(1.0))
    r.add_evaluation(evaluation(0, 50), 1.0)
    assert "without success labels" in _result(r.summary(1.0))
    told = evaluation(1, 150)
    told.success = True
    r.add_evaluation(told, 1.0)
    assert "success rate 100% of 1 episodes (labelled by a person)" in _result(r.summary(1.0))
    r.add_truth(50, truth(success=0.0))
    assert "success rate 50% of 2 episodes after" in _result(r.summary(1.0))


def test_curve_of_a_run_without_truth(tmp_path):
    r = record()
    r.add_metrics("learner", {"env_steps": 50.0, "success_share": 0.25, "episode_return": 1.0}, 1.0)
    r.add_metrics("learner", {"env_steps": 100.0, "success_share": 0.5, "episode_return": 2.0}, 1.0)
    files = RunFiles(tmp_path)
    files.summary(r, 1.0)
    files.close()
    drawn = cv2.imread(str(redraw(tmp_path)))
    grey = (abs(drawn.astype(int) - 153) < 3).all(-1)  # the line of the training episodes
    assert grey[: len(grey) // 3].sum() > 100


def test_scripted_ratings_are_called_so_in_every_figure():
    figures = record()
    assert figures.summary(1.0)["teacher"] is None
    made = batch(0, [0, 1, 2])
    made.teacher = "scripted"
    figures.add_labels(made)
    assert figures.summary(1.0)["teacher"] == figures.progress(1.0)["teacher"] == "scripted"
    assert "scripted ratings 3/100" in format_line(figures.progress(1.0))
    again = record()
    again.load_state_dict(figures.state_dict(2.0))
    other = batch(1, [0])
    other.teacher = "vlm"
    again.add_labels(other)
    assert again.teacher == "scripted, vlm"  # a resumed run does not forget what it learned from
    old = figures.state_dict(2.0)
    del old["teachers"]
    again.load_state_dict(old)
    assert again.teacher is None
