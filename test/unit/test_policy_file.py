# SPDX-License-Identifier: Apache-2.0
"""The exported policy acts as the running one, in a process without ROS and without this package."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from erl_vlm_ros.common.errors import ConfigError
from erl_vlm_ros.common.tasks import load_task
from erl_vlm_ros.common.yaml_file import dump_yaml
from erl_vlm_ros.control.actor_source import read_file
from erl_vlm_ros.control.policies import make_policy
from erl_vlm_ros.data.bundle import Bundle
from erl_vlm_ros.data.checkpoint import save_state
from erl_vlm_ros.data.images import encode_jpeg
from erl_vlm_ros.data.learner_state import KIND, path_in
from erl_vlm_ros.data.views import Frame
from erl_vlm_ros.params.layers import flatten
from erl_vlm_ros.runs import policy_file
from erl_vlm_ros.runs.export import export_actor
from erl_vlm_ros.runs.policy_file import export_policy
from erl_vlm_ros.training.configs import learner_config, node_values, reward_config
from erl_vlm_ros.training.local import LocalConfig, LocalLoop, TruthTeacher

TASK = load_task("drawer_open")

ELSEWHERE = """
import json, sys
import numpy as np
inputs = np.load(sys.argv[2])
given = [inputs[name] for name in ("observation", "image", "image_scene", "image_wrist") if name in inputs]
if sys.argv[1].endswith(".onnx"):
    import onnxruntime
    session = onnxruntime.InferenceSession(sys.argv[1])
    names = [one.name for one in session.get_inputs()]
    about = session.get_modelmeta().custom_metadata_map["policy"]
    rows = [session.run(None, dict(zip(names, [g[i:i+1] for g in given])))[0] for i in range(len(given[0]))]
else:
    import torch
    files = {"policy.json": ""}
    policy = torch.jit.load(sys.argv[1], _extra_files=files)
    about = files["policy.json"]
    rows = [policy(*(torch.from_numpy(g[i:i+1]) for g in given)).numpy() for i in range(len(given[0]))]
assert not any(name.startswith(("erl_vlm_ros", "rclpy")) for name in sys.modules)
np.save(sys.argv[3], np.concatenate(rows))
print(about if isinstance(about, str) else about.decode())
"""


@pytest.fixture(scope="module", params=["images", "state", "two cameras"])
def run(request, tmp_path_factory):
    """A run directory as far as export reads it, of a policy that was trained for a moment."""
    folder, two = tmp_path_factory.mktemp("run"), request.param == "two cameras"
    seen = {"observe": "images" if two else request.param, "image_size": 64}
    seen |= {"cameras": ["scene", "wrist"]} if two else {}
    small = {"warmup_steps": 100, "first_ratings": 20, "min_skill": -1.0, "max_ratings": 20, **seen}
    values = node_values("learner", TASK, small)
    trunk = {"trunk.first_iterations": 5, **seen}
    config = LocalConfig(
        learner=learner_config(values, TASK), reward=reward_config(node_values("reward_trainer", TASK, trunk), TASK),
        max_steps=150, eval_every=0, image_size=64, cameras=("scene", "wrist") if two else (),
    )  # fmt: skip
    loop = LocalLoop(TASK, config, 1, lambda truth: TruthTeacher(truth, 5, 0.0, 0))
    loop.run()
    (folder / "config").mkdir()
    (folder / "checkpoint").mkdir()
    shutil.copyfile(TASK.path, folder / "config" / "task.yaml")
    kept = {name: value for name, value in values.items() if value is not None}
    text = dump_yaml({"learner": {"ros__parameters": flatten(kept)}})
    (folder / "config" / "learner.yaml").write_text(text)
    save_state(path_in(folder / "checkpoint"), loop.learner.state_dict(), KIND)
    return folder, loop


@pytest.mark.slow
@pytest.mark.parametrize("form", ["torchscript", "onnx"])
def test_it_acts_alike_elsewhere(run, form, tmp_path):
    folder, loop = run
    if form == "onnx":
        for name in ("onnx", "onnxscript", "onnxruntime"):
            pytest.importorskip(name)
    file = tmp_path / f"policy.{'onnx' if form == 'onnx' else 'pt'}"
    about = export_policy(folder, file, form)
    bundle = tmp_path / "actor"
    export_actor(folder, bundle)
    policy, _ = read_file(str(bundle), loop.learner.config.spaces)
    rng, count = np.random.default_rng(0), 5
    inputs = {"observation": rng.normal(0, 0.3, (count, policy.obs_dim)).astype(np.float32)}
    if about["image_size"]:
        side = about["image_size"]
        inputs |= {name: rng.integers(0, 256, (count, side, side, 3), np.uint8) for name in about["inputs"][1:]}
    np.savez(tmp_path / "inputs.npz", **inputs)
    call = [sys.executable, "-c", ELSEWHERE, file, tmp_path / "inputs.npz", tmp_path / "out.npy"]
    done = subprocess.run(list(map(str, call)), capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(json.dumps(about))
    assert about["spaces"] == loop.learner.config.spaces.to_json()
    acted = np.load(tmp_path / "out.npy")
    for i, observation in enumerate(inputs["observation"]):
        if not about["image_size"]:
            wanted = policy.act(observation, True)
        else:
            image = np.concatenate([inputs[name][i : i + 1] for name in about["inputs"][1:]], axis=1)
            features = policy.features
            found = np.hstack([observation[None], features.encoder.encode(image)])
            seen = np.clip((found - features.mean) / features.deviation, -5, 5)[0]
            wanted = policy.within.act(np.append(observation, seen), True)
        np.testing.assert_allclose(acted[i], wanted, atol=1e-5)


@pytest.mark.slow
def test_on_a_frame_as_it_is_stored(run, tmp_path):
    """What a caller has to do with a camera image: the image at the encoder's size, as decoded."""
    import torch

    from erl_vlm_ros.data.images import decode_jpeg

    folder, loop = run
    about = export_policy(folder, tmp_path / "policy.pt", "torchscript")
    if not about["image_size"]:
        pytest.skip("sees no image")
    export_actor(folder, tmp_path / "actor")
    policy, _ = read_file(str(tmp_path / "actor"), loop.learner.config.spaces)
    rng = np.random.default_rng(3)
    jpegs = [encode_jpeg(rng.integers(0, 256, (64, 64, 3), np.uint8)) for _ in about["inputs"][1:]]
    frame = Frame.of(dict(zip(policy.features.cameras, jpegs))) if policy.features.cameras else jpegs[0]
    observation = rng.normal(0, 0.3, policy.obs_dim).astype(np.float32)
    images = [torch.from_numpy(decode_jpeg(jpeg, about["image_size"])[None]) for jpeg in jpegs]
    network = torch.jit.load(str(tmp_path / "policy.pt"))
    acted = network(torch.from_numpy(observation[None]), *images).numpy()[0]
    np.testing.assert_allclose(acted, policy.act(observation, True, None, lambda: frame), atol=1e-5)


@pytest.mark.parametrize("takes", [(0, 0, 0), (0, 1, 1)])
def test_a_categorical_policy_gives_the_same_choice(takes):
    rng = np.random.default_rng(0)
    width = 3 + 2 * any(takes)
    arrays = {"w0": rng.normal(size=(4, 8)), "b0": rng.normal(size=8), "w1": rng.normal(size=(8, width)),
              "b1": np.zeros(width), "takes": np.array(takes)}  # fmt: skip
    policy = make_policy("categorical", {name: a.astype(np.float32) for name, a in arrays.items()}, {})
    network, example = policy_file._network(policy)
    traced = torch.jit.trace(network, example)
    for obs in rng.normal(size=(20, 4)).astype(np.float32):
        np.testing.assert_array_equal(traced(torch.from_numpy(obs[None]))[0], policy.act(obs, True))


def test_a_run_that_learned_nothing_is_refused(tmp_path):
    with pytest.raises(ConfigError):
        export_policy(tmp_path, tmp_path / "policy.pt", "torchscript")
    assert not (tmp_path / "policy.pt").exists()


def test_an_encoder_of_a_file_of_its_own_is_refused(tmp_path, monkeypatch):
    seeing = {"name": "file", "image_size": 64, "version": "one"}
    bundle = Bundle("actor", {}, {"policy": "from_images", "within": "squashed_gaussian", "encoder": seeing})
    monkeypatch.setattr(policy_file, "trained_actor", lambda run: (bundle, 100))
    with pytest.raises(ConfigError) as error:
        export_policy(tmp_path, tmp_path / "policy.pt", "torchscript")
    assert error.value.parameter == "learner.encoder.name" and not (tmp_path / "policy.pt").exists()
