# SPDX-License-Identifier: Apache-2.0
"""The noise model: what it draws, and its file."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from refusals import refused

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.feedback.noise_model import NoiseModel, load_noise_model, view_cluster

CLUSTERS = [f"kind {i}" for i in range(4000)]


def rates(model, truth, variation="", seed=0):
    rng = np.random.default_rng(seed)
    answers = [model.rate(truth, cluster, 7, rng, variation) for cluster in CLUSTERS]
    return np.bincount(answers, minlength=model.n_classes) / len(CLUSTERS)


def test_independent_errors_follow_the_matrix():
    matrix = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.3, 0.3, 0.4]])
    model = NoiseModel(matrix)
    for truth in range(3):
        np.testing.assert_allclose(rates(model, truth), matrix[truth], atol=0.03)


def test_a_view_cluster_is_misjudged_every_time_alike():
    model = NoiseModel.uniform(5, 0.0, 0.2)
    first = [model.judged(2, cluster, 1) for cluster in CLUSTERS]
    assert first == [model.judged(2, cluster, 1) for cluster in CLUSTERS]
    assert first != [model.judged(2, cluster, 2) for cluster in CLUSTERS]
    share = np.bincount(first, minlength=5) / len(CLUSTERS)
    np.testing.assert_allclose(share, [0.05, 0.05, 0.8, 0.05, 0.05], atol=0.015)


def test_views_of_a_misjudged_cluster_are_mostly_taken_for_the_same():
    model = NoiseModel.uniform(5, 0.0, 1.0)
    alike = np.mean([model.judged(1, cluster, 3) == model.judged(2, cluster, 3) for cluster in CLUSTERS])
    assert alike > 0.7  # never when 1 is taken for 2, or 2 for 1


def test_what_a_misjudged_cluster_is_taken_for_follows_its_matrix():
    becomes = np.array([[0, 1, 0], [0, 0, 1], [0.5, 0.5, 0]])
    model = NoiseModel(np.eye(3), 1.0, becomes)
    assert {model.judged(0, cluster, 3) for cluster in CLUSTERS} == {1}
    assert {model.judged(1, cluster, 3) for cluster in CLUSTERS} == {2}
    np.testing.assert_allclose(rates(model, 2), [0.5, 0.5, 0], atol=0.03)


@pytest.mark.parametrize("sharing", [0.0, 0.5, 1.0])
def test_variations_share_their_misjudgements_by_so_much(sharing):
    model = NoiseModel.uniform(5, 0.0, 0.3, sharing)
    plain = np.array([model.judged(0, cluster, 1) for cluster in CLUSTERS])
    other = np.array([model.judged(0, cluster, 1, "mirrored") for cluster in CLUSTERS])
    third = np.array([model.judged(0, cluster, 1, "second") for cluster in CLUSTERS])
    for a, b in ((plain, other), (plain, third), (other, third)):
        both = np.mean((a != 0) & (b != 0))
        assert np.mean(b != 0) == pytest.approx(0.3, abs=0.03)
        assert both == pytest.approx(0.3 * (sharing + (1 - sharing) * 0.3), abs=0.03)
        # what is shared is shared with its direction
        alike = np.mean(a[(a != 0) & (b != 0)] == b[(a != 0) & (b != 0)])
        expected = (sharing + (1 - sharing) * 0.3 / 4) / (sharing + (1 - sharing) * 0.3)
        assert alike == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize(("errors", "sure"), [("over", 2), ("under", 0)])
def test_errors_of_one_direction_leave_out_the_class_that_has_none_there(errors, sure):
    model = NoiseModel.uniform(3, 0.3, 0.3, errors=errors)
    for truth in range(3):
        share = rates(model, truth)
        wrong = share[truth + 1 :] if errors == "over" else share[:truth]
        assert share.sum() - share[truth] == pytest.approx(wrong.sum())
        assert wrong.sum() == pytest.approx(0 if truth == sure else 0.51, abs=0.03)
    with refused(ConfigError, parameter="errors"):
        NoiseModel.uniform(3, 0.3, errors="sideways")


@pytest.mark.parametrize("name", ["model.yaml", "model.json"])
def test_the_file_keeps_everything(tmp_path, name):
    model = NoiseModel(
        np.array([[0.9, 0.1], [0.25, 0.75]]), 0.125, sharing=0.4, cell_m=0.05, task="drawer_open",
        provenance={"model": "some-vlm", "frames": 120},
    )  # fmt: skip
    model.save(tmp_path / name)
    again = load_noise_model(tmp_path / name, 2, "drawer_open")
    assert again.to_dict() == model.to_dict()
    assert again.provenance == {"model": "some-vlm", "frames": 120}


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"format": "something"}, {"parameter": "format", "code": Code.UNREADABLE}),
        ({"version": 9}, {"parameter": "version", "code": Code.OTHER_VERSION}),
        ({"n_classes": 3}, {"parameter": "n_classes", "code": Code.DOES_NOT_FIT}),
        ({"independent": [[0.9, 0.2], [0, 1]]}, {"parameter": "independent"}),
        ({"independent": "many"}, {"code": Code.UNREADABLE}),
        ({"systematic": {"share": 0.1}}, {"parameter": "becomes", "code": Code.NOT_GIVEN}),
        ({"extra": 1}, {"parameter": "extra", "code": Code.UNKNOWN}),
        (
            {"systematic": {"share": 2, "becomes": [[0, 1], [1, 0]], "sharing": 0.5, "cell_m": 0.08}},
            {"parameter": "systematic.share"},
        ),
        (
            {"systematic": {"share": 0, "becomes": [[0.5, 0.5], [1, 0]], "sharing": 0.5, "cell_m": 0.08}},
            {"parameter": "systematic.becomes"},
        ),
        (
            {"systematic": {"share": 0, "becomes": [[0, 1], [1, 0]], "sharing": 0.5, "cell_m": 0}},
            {"parameter": "systematic.cell_m"},
        ),
    ],
)
def test_a_wrong_file_is_refused_by_file_and_field(tmp_path, change, fields):
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(NoiseModel.uniform(2, 0.1).to_dict() | change))
    with refused(ConfigError, file=path, **fields):
        load_noise_model(path)


def test_a_model_for_something_else_is_refused(tmp_path):
    NoiseModel.uniform(3, 0.1).save(tmp_path / "m.yaml")
    with refused(ConfigError, parameter="n_classes", code=Code.DOES_NOT_FIT, file=tmp_path / "m.yaml"):
        load_noise_model(tmp_path / "m.yaml", 5)
    with refused(ConfigError, code=Code.MISSING_FILE, file=tmp_path / "none.yaml"):
        load_noise_model(tmp_path / "none.yaml")


def test_view_clusters_are_cells():
    assert view_cluster((0.01, 0.02, 0.03), 2) == view_cluster((0.07, 0.079, 0.0), 2)
    assert view_cluster((0.01, 0.02, 0.03), 2) != view_cluster((0.01, 0.02, 0.03), 3)
    assert view_cluster((-0.01, 0.02, 0.03)) != view_cluster((0.01, 0.02, 0.03))
