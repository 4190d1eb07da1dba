# SPDX-License-Identifier: Apache-2.0
"""A policy from images through the whole graph: demonstrations first, no tracked object, continued and evaluated."""

from __future__ import annotations

import json

import pytest
from system_helpers import quick_settings

from erl_vlm_ros.data.learner_state import load
from erl_vlm_ros.data.spaces import FEATURES, OBJECT, spaces_in

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


def test_it_learns_is_continued_and_evaluated(erl_vlm, tmp_path):
    folder = tmp_path / "run"
    quick = quick_settings(**{"policy_controller.final_eval_episodes": 1, "policy_controller.eval_every": 0})
    first = ("--observe", "images", "--demos", "scripted:4", "--max-steps", 400, "--headless")
    erl_vlm("run", "train_sim", "--out", folder, *first, *quick)
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["state"], summary["env_steps"]) == ("finished", 400)
    before = load(folder / "checkpoint")
    spec = spaces_in(before["replay"]).observation
    assert FEATURES in spec and OBJECT not in spec
    assert before["replay"]["frames"]["observations"][:, spec.slice(FEATURES)].std(0).max() > 0.1
    assert before["replay"]["steps"]["intervention"].sum() == 200
    erl_vlm("run", "train_sim", "--resume", folder, "--max-steps", 450, "--headless")
    after = load(folder / "checkpoint")
    assert after["counters"]["env_steps"] == 450
    assert after["images"]["meta"] == before["images"]["meta"]  # one encoder for a whole run
    done = erl_vlm("evaluate", folder, "--episodes", 1)
    assert json.loads(done.stdout.splitlines()[-1])["eval_episodes"] == 1


def test_from_two_cameras(erl_vlm, tmp_path):
    folder, quick = tmp_path / "run", {"policy_controller.final_eval_episodes": 1, "policy_controller.eval_every": 0}
    settings = quick_settings(**quick, **{"learner.min_skill": -1.0, "vlm_rater.rater_cameras": "[scene, wrist]"})
    asked = ("--observe", "images", "--demos", "scripted:4", "--max-steps", 400, "--headless")
    erl_vlm("run", "train_sim", "--out", folder, *asked, "--set=learner.cameras=[scene, wrist]", *settings)
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["state"], summary["env_steps"]) == ("finished", 400)
    assert summary["camera_spread_max_s"] == 0.0  # in lock-step all images have one stamp
    assert summary["ratings_valid"] > 0
    learned = load(folder / "checkpoint")
    assert learned["images"]["meta"]["cameras"] == ["scene", "wrist"] == list(learned["replay"]["cameras"])
    spec = spaces_in(learned["replay"]).observation
    assert spec.cameras == ("scene", "wrist")
    features = learned["replay"]["frames"]["observations"][:, spec.slice(FEATURES)]
    assert (features[:, spec.proprio_size :].std(0) > 0.1).reshape(2, -1).mean(1).min() > 0.2  # of either camera
    erl_vlm("run", "train_sim", "--resume", folder, "--max-steps", 450, "--headless")
    done = erl_vlm("evaluate", folder, "--episodes", 1)
    assert json.loads(done.stdout.splitlines()[-1])["eval_episodes"] == 1
