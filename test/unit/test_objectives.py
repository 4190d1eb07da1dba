# SPDX-License-Identifier: Apache-2.0
"""Objectives against numbers worked out by hand, and reward models by name: ours, and one from outside the package."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.data.bundle import decode, encode
from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.data.query import Label, LabelBatch, Query
from erl_vlm_ros.data.segment import Segment
from erl_vlm_ros.params import renamed
from erl_vlm_ros.reward.boundaries import class_boundaries, class_logits, min_max
from erl_vlm_ros.reward.configs import ErlRewardConfig, HeadConfig, TrunkConfig
from erl_vlm_ros.reward.heads import fit_heads
from erl_vlm_ros.reward.losses import rating_loss, rating_targets
from erl_vlm_ros.reward.model import load_reward_model
from erl_vlm_ros.reward.objectives import (
    LOGITS,
    OBJECTIVES,
    RETURNS,
    ClassLikelihood,
    ErlRating,
    Labels,
    ObjectiveSettings,
    make_objective,
)
from erl_vlm_ros.reward.trainer import RewardTrainer, RewardTrainerConfig

TASK = load_task("drawer_open")


def test_class_likelihood_by_hand():
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]))
    labels = Labels(torch.tensor([0, 1]))
    np.testing.assert_allclose(ClassLikelihood().terms(logits, labels), [-math.log(0.7), -math.log(0.1)], rtol=1e-6)
    assert ClassLikelihood().answers(logits, labels).tolist() == [0, 2]
    # wrong in 20% of the labels: P(label) = 0.1 + (1 - 0.2 - 0.1) p
    noisy = Labels(labels.classes, noise=torch.tensor([0.2, 0.2]))
    expected = [-math.log(0.1 + 0.7 * 0.7), -math.log(0.1 + 0.7 * 0.1)]
    np.testing.assert_allclose(ClassLikelihood().terms(logits, noisy), expected, rtol=1e-6)
    soft = Labels(labels.classes, torch.tensor([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]]))
    expected = [-0.5 * math.log(0.7) - 0.5 * math.log(0.2), -math.log(0.1)]
    np.testing.assert_allclose(ClassLikelihood().terms(logits, soft), expected, rtol=1e-6)


def test_labels_for_each_member_and_by_index():
    labels = Labels(torch.tensor([0, 1, 2]), torch.eye(3), torch.tensor([0.1, 0.2, 0.3]))
    each = labels.for_each(4)
    assert each.classes.shape == (4, 3) and each.soft.shape == (4, 3, 3) and each.noise.shape == (3,)
    some = labels[torch.tensor([[2, 0], [1, 1]])]
    assert some.classes.tolist() == [[2, 0], [1, 1]] and some.soft.shape == (2, 2, 3)
    assert labels.targets is labels.soft and Labels(labels.classes).targets is labels.classes


@pytest.mark.parametrize("loss", ["mae", "ce"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_eq_1_is_the_papers(loss, smoothing):
    returns, classes = torch.tensor([0.3, -0.7, 0.9, 0.1, -0.2]), torch.tensor([1, 0, 2, 1, 0])
    counts = torch.bincount(classes, minlength=3)
    scaled = min_max(returns)
    logits = class_logits(scaled, class_boundaries(scaled, counts, "edge"), 30.0)
    expected = rating_loss(loss, logits, rating_targets(classes, 3, smoothing))
    objective = make_objective(f"erl_{loss}", ObjectiveSettings(3, smoothing=smoothing), RETURNS)
    assert objective.terms(returns, Labels(classes)).mean().item() == expected.item()
    assert objective.answers(returns, Labels(classes)).tolist() == classes.tolist()  # the order is right


def test_objectives_by_name():
    settings = ObjectiveSettings(3)
    assert isinstance(make_objective("class_likelihood", settings, LOGITS), ClassLikelihood)
    assert make_objective("erl_ce", settings, RETURNS) == ErlRating("ce", 3)
    assert all(OBJECTIVES.load(name)(settings).segments == 1 for name in ("class_likelihood", "erl_mae", "erl_ce"))
    for name, outputs in (("erl_mae", LOGITS), ("class_likelihood", RETURNS), ("mse", LOGITS), ("", LOGITS)):
        with pytest.raises(ConfigError):
            make_objective(name, settings, outputs)


def test_heads_learn_from_an_objective_from_outside_the_package():
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, 90)
    inputs = (np.eye(3)[classes] + 0.05 * rng.normal(size=(90, 3))).astype(np.float32)
    objective = make_objective("toy_reward_model:misses", ObjectiveSettings(3), LOGITS)
    heads, report = fit_heads(inputs, classes, 3, HeadConfig(iterations=60), 0, objective=objective)
    assert report["held_out_accuracy"] > 0.95 and report["held_out_loss"] < 0.3
    assert (heads.probabilities(np.eye(3, dtype=np.float32)).mean(0).argmax(1) == np.arange(3)).all()


# -- reward models by name


def config(**options):
    small = {
        "heads": HeadConfig(iterations=10),
        "trunk": TrunkConfig(image_size=48, channels=(8, 8), features=16, first_iterations=2, iterations=2),
        "erl": ErlRewardConfig(image_size=48, n_classes=3, passes=1),
    }
    return RewardTrainerConfig(**{"n_classes": 3, **small, **options})


def labels(count=12, kind="rating", segments=1):
    out = []
    for i in range(count):
        jpeg = encode_jpeg(np.full((48, 48, 3), 60 * (i % 3) + 40, np.uint8))
        query = Query(
            *(
                Segment(f"e0_t{i}_h1", [jpeg], np.zeros((1, 10)), np.zeros((1, 3)), np.array([i]))
                for _ in range(segments)
            )
        )
        out.append(Label(query, i % 3))
    return LabelBatch(0, 3, count, out, "vlm", kind)


@pytest.mark.parametrize("name", ["trunk_heads", "erl_vlm", "toy_reward_model:BrightnessTrainer"])
def test_a_reward_model_is_trained_published_and_resumed(name):
    trainer = RewardTrainer(config(reward_model=name), 0)
    assert trainer.add_labels(labels()) == 12
    model = trainer.train()
    assert model.version == 1 and model.health["ratings"] == 12 and "skill" in model.health
    again = load_reward_model(decode(encode(model.to_bundle()), "reward_model"))
    assert type(again) is type(model) and again.n_classes == 3
    copy = RewardTrainer(config(reward_model=name), 1)
    copy.load_state_dict(trainer.state_dict())
    assert copy.version == 1 and (copy.images == trainer.images).all()
    assert copy.trainer.describe() == trainer.trainer.describe()
    with pytest.raises(ConfigError):
        other = "erl_vlm" if name != "erl_vlm" else "trunk_heads"
        RewardTrainer(config(reward_model=other), 0).load_state_dict(trainer.state_dict())


@pytest.mark.parametrize(("old", "new"), [("trunk", "trunk_heads"), ("erl", "erl_vlm")])
def test_a_checkpoint_of_the_released_layout_resumes(old, new):
    trainer = RewardTrainer(config(reward_model=new), 0)
    trainer.add_labels(labels())
    trainer.train()
    state = trainer.state_dict()
    frames = state.get("frames") or RewardTrainer(config(), 0).trainer.frames.state_dict()
    released = {**state, "recipe": old, "trunk": state.get("trunk"), "erl": state.get("erl"), "frames": frames}
    del released["reward_model"]
    copy = RewardTrainer(config(reward_model=new), 3)
    copy.load_state_dict(released)
    assert copy.version == 1 and len(copy.ratings) == 12


def test_the_old_names_are_understood():
    with pytest.warns(renamed.RenamedWarning):
        assert renamed.parameters("reward_trainer", {"recipe": "erl"}) == {"reward_model": "erl_vlm"}
    with pytest.warns(renamed.RenamedWarning):
        assert renamed.parameters("vlm_rater", {"rate_each": "transition"}) == {"feedback": "transitions"}


@pytest.mark.parametrize("name", ["recipe", "", "no_module:Model", "toy_reward_model:NoModel"])
def test_an_unknown_reward_model_is_refused(name):
    with pytest.raises(ConfigError):
        RewardTrainer(config(reward_model=name), 0)


@pytest.mark.parametrize("name", ["trunk_heads", "erl_vlm"])
def test_labels_of_comparisons_are_refused_by_models_of_ratings(name):
    trainer = RewardTrainer(config(reward_model=name), 0)
    with pytest.raises(ValueError):
        trainer.add_labels(labels(kind="preference", segments=2))
    assert len(trainer.ratings) == 0 and trainer.round == 0


def test_a_run_learns_with_a_reward_model_from_outside_the_package():
    from erl_vlm_ros.agents.exploration import ExplorationConfig
    from erl_vlm_ros.training.configs import learner_config, node_values, reward_config
    from erl_vlm_ros.training.local import LocalConfig, LocalLoop, TruthTeacher

    small = {
        "warmup_steps": 50, "first_ratings": 20, "round_steps": 50, "round_ratings": 10, "max_ratings": 30,
        "min_skill": -1.0,
    }  # fmt: skip
    model = {"reward_model": "toy_reward_model:BrightnessTrainer"}
    run = LocalConfig(
        learner=learner_config(node_values("learner", TASK, small), TASK),
        reward=reward_config(node_values("reward_trainer", TASK, model), TASK),
        exploration=ExplorationConfig(),
        max_steps=150,
        eval_every=0,
        image_size=48,
    )
    loop = LocalLoop(TASK, run, 3, lambda truth: TruthTeacher(truth, 5, 0.0, 0))
    assert loop.run()["ratings_valid"] == 30
    assert loop.learner.model.version == 2 and loop.learner.updates > 0
