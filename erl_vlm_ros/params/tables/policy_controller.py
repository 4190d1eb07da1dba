# SPDX-License-Identifier: Apache-2.0
"""Parameters of policy_controller."""

from __future__ import annotations

from erl_vlm_ros.agents.exploration import ExplorationConfig
from erl_vlm_ros.control.drivers import DRIVERS, POLICY, DemonstratorConfig
from erl_vlm_ros.control.intervention import HumanConfig
from erl_vlm_ros.params.param import Param, group
from erl_vlm_ros.params.tables._shared import CAMERA_SIZES, ENCODER, MAX_STEPS, MEASURED, SUCCESS_SOURCE

_BIG = 10**9

PARAMETERS = (
    Param("task", "drawer_open", "Name or path of the task file."),
    Param("run_id", "", "Episodes, ratings and weights of another run are refused; empty: none is."),
    Param("seed", 0, "Seed of exploration.", low=0, high=2**31 - 1),
    Param(
        "mode",
        "train",
        "train: collect episodes and evaluate now and then; evaluate: run actor_file and finish.",
        choices=("train", "evaluate"),
    ),
    Param(
        "driver",
        POLICY,
        "Who acts in training episodes: policy; person (human.input, in real time: an episode begins with the first "
        "motion, and the arm stands still while the person rests); scripted (the simulated tasks' expert, on the "
        "tracked object's position).",
        choices=DRIVERS,
    ),
    Param("actor_file", "", "Mode evaluate: file with an actor bundle."),
    Param(
        "lock_step",
        True,
        "Answer every observation with a command of its stamp; false: run at the task's control rate.",
    ),
    Param(
        "realtime_priority",
        5,
        "Real time: priority of the process (SCHED_FIFO) where it is permitted; 0: off. Below safety_guard's.",
        low=0,
        high=90,
    ),
    Param("auto_arm", False, "Arm the safety guard without asking. For simulation only."),
    MAX_STEPS,
    Param("eval_every", 1000, "Training steps between evaluations; 0: only the final one.", low=0, high=_BIG),
    Param("eval_episodes", 10, "Episodes of an evaluation during training.", low=1, high=10_000),
    Param(
        "final_eval_episodes",
        20,
        "Episodes of the final evaluation, or of mode evaluate; 0: none.",
        low=0,
        high=10_000,
    ),
    Param(
        "eval_seed",
        1_000_000,
        "Evaluation episode i starts from seed eval_seed + i.",
        low=0,
        high=2**31 - 20_000,
    ),
    Param("jpeg_quality", 90, "Quality of the frames kept in episodes.", low=1, high=100),
    *MEASURED,
    CAMERA_SIZES,
    Param(
        "camera_tolerance_s",
        0.05,
        "Several cameras, real time: images of one moment are stamped within this time of each other, s.",
        low=0.0,
        high=1.0,
    ),
    Param(
        "camera_wait_s",
        60.0,
        "Several cameras: end when one of them has sent nothing, or none of their images go together, for so long "
        "after the start, s.",
        low=1.0,
        high=3600.0,
    ),
    *ENCODER,
    Param("reliable_sensors", True, "Ask for reliable sensor topics; false also accepts best effort."),
    Param(
        "image_timeout_s",
        0.3,
        "Real time: hold still while the newest image is older than this, s.",
        low=0.01,
        high=10.0,
    ),
    Param(
        "state_timeout_s",
        0.3,
        "Real time: hold still while the newest joint state or pose is older than this, s.",
        low=0.01,
        high=10.0,
    ),
    Param("set_episode_seed", True, "Tell sim_bridge which episode to start; false on a real arm."),
    Param(
        "reset_timeout_s",
        30.0,
        "Ask for a reset again after this long without an answer, s.",
        low=1.0,
        high=600.0,
    ),
    Param(
        "reset",
        "service",
        "How an episode begins: the reset service, the home pose through the guard, a person, or two of them in turn.",
        choices=(
            "service",
            "home",
            "person",
            "home_then_person",
            "person_then_home",
            "home_then_service",
            "service_then_person",
        ),
    ),
    Param(
        "home_positions",
        [0.0],
        "Resets with home: where the joints go, rad, one number for each of joint_names.",
        low=-7.0,
        high=7.0,
        any_length=True,
    ),
    Param("home_tolerance", 0.03, "Home is reached when every joint is this near, rad.", low=0.001, high=0.5),
    Param(
        "home_timeout_s",
        30.0,
        "Longest drive home, s; after three attempts the run stops.",
        low=1.0,
        high=600.0,
    ),
    Param(
        "episode_timeout_s",
        0.0,
        "An episode ends after this much wall time, pauses left out, s; 0: only after its steps.",
        low=0.0,
        high=86_400.0,
    ),
    SUCCESS_SOURCE,
    Param(
        "end_on_label",
        False,
        "A person's label, or success on the topic, ends the episode (truncated: its last value is bootstrapped).",
    ),
    Param(
        "label_timeout_s",
        600.0,
        "Longest wait for a person's success label of an evaluation episode or of a person's own, s.",
        low=1.0,
        high=86_400.0,
    ),
    Param("extras.wrench", False, "Real time: record the topic wrench beside each observation."),
    Param("extras.efforts", False, "Record the efforts in joint_states beside each observation."),
    Param(
        "settle_timeout_s",
        60.0,
        "Before the final evaluation, wait at most this long for the learner to catch up, s.",
        low=0.0,
        high=3600.0,
    ),
    Param("checkpoint_dir", "", "Folder for policy_controller.safetensors; empty: no checkpoint."),
    Param("resume", False, "Continue from checkpoint_dir; the learner's counters are adopted in any case."),
    Param("checkpoint_every", 20, "Training episodes between checkpoints.", low=1, high=_BIG),
    *group("human", HumanConfig),
    *group("exploration", ExplorationConfig),
    *group("demonstrator", DemonstratorConfig),
)
