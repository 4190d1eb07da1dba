# SPDX-License-Identifier: Apache-2.0
"""Parameters of vlm_rater. The API key itself is never a parameter, only the name of its environment variable."""

from __future__ import annotations

from erl_vlm_ros.ros.params import Param

PARAMETERS = (
    Param("task", "drawer_open", "Name or path of the task file."),
    Param(
        "teacher",
        "vlm",
        "Who rates: a model, a person on a web page, a ledger that is replayed, the simulation's truth with errors"
        " (benchmarks only), or several models together.",
        choices=("vlm", "human", "ledger", "scripted", "ensemble"),
    ),
    Param("base_url", "http://127.0.0.1:8000/v1", "OpenAI-compatible endpoint."),
    Param("model", "stand-in", "Name of the model at the endpoint."),
    Param(
        "api_key_env",
        "",
        "NAME of the environment variable with the API key; empty: the endpoint needs none.",
    ),
    Param("n_classes", 0, "Rating classes; 0: as the task file says.", low=0, high=5),
    Param(
        "two_stage",
        True,
        "Ask for an analysis of the images first, then for a class; false: both in one query.",
    ),
    Param("prompts", "default", "Prompt set in config/prompts, or a folder of templates."),
    Param(
        "frames",
        "images",
        "Segments of several frames: an image each, or one strip with all side by side.",
        choices=("images", "strip"),
    ),
    Param(
        "rate_each",
        "segment",
        "One rating for a segment (its last frame), or one for each of its transitions.",
        choices=("segment", "transition"),
    ),
    Param(
        "modalities",
        ["none"],
        "What prompts tell besides the images: wrench, gripper, effort; none.",
        choices=("none", "wrench", "gripper", "effort"),
        any_length=True,
    ),
    Param("modality_form", "text", "Tell it in words, or as a plot over the frames.", choices=("text", "plot")),
    Param("concurrency", 8, "Ratings asked for at the same time.", low=1, high=1024),
    Param("max_queries", 100_000, "Budget in ratings over the whole ledger.", low=0, high=10**9),
    Param("max_total_tokens", 0, "Budget in tokens over the whole ledger; 0: none.", low=0, high=10**12),
    Param(
        "max_money", 0.0, "Budget in the price table's currency over the whole ledger; 0: none.", low=0.0, high=1e9
    ),
    Param("prices", "", "Price table (YAML); empty: the shipped config/prices.yaml."),
    Param("requests_per_minute", 0, "Requests in any 60 s; 0: no limit.", low=0, high=10**6),
    Param("tokens_per_minute", 0, "Tokens in any 60 s; 0: no limit.", low=0, high=10**9),
    Param("timeout_s", 60.0, "Time limit of one attempt to the last byte, s.", low=0.05, high=3600.0),
    Param("max_retries", 5, "Attempts after the first one.", low=0, high=100),
    Param(
        "backoff_s", 0.5, "First pause before another attempt, s; it doubles each time.", low=0.0, high=60.0
    ),
    Param(
        "give_up_s",
        600.0,
        "Longest that one stage of a rating may take with all its waiting, s; then there is no rating.",
        low=0.1,
        high=86_400.0,
    ),
    Param(
        "breaker_failures", 10, "Failures in a row until nothing is sent for a while; 0: never.", low=0, high=10**6
    ),
    Param(
        "breaker_pause_s",
        5.0,
        "Pause until the endpoint is tried again, s; doubles up to a minute.",
        low=0.01,
        high=3600.0,
    ),
    Param(
        "when_down",
        "wait",
        "Ratings while the endpoint is down: wait up to give_up_s, or no_rating at once.",
        choices=("wait", "no_rating"),
    ),
    Param(
        "structured_output",
        "auto",
        "Answers by JSON schema: auto finds out once and remembers it in the ledger.",
        choices=("auto", "on", "off"),
    ),
    Param(
        "temperature", 0.0, "Sampling temperature; below 0: not sent, for models that take none.", low=-1.0, high=2.0
    ),
    Param(
        "reasoning_effort",
        "",
        "For models that think before they answer; empty: not sent. Thinking counts against max_tokens.",
        choices=("", "none", "minimal", "low", "medium", "high"),
    ),
    Param("max_tokens", 512, "Longest answer, tokens.", low=1, high=100_000),
    Param("seed", 0, "Seed of the pauses' jitter.", low=0, high=2**31 - 1),
    Param("ledger", "ledger.sqlite", "SQLite file that keeps every query and answer."),
    Param("check_endpoint", True, "Refuse to start when the endpoint does not answer."),
    Param("human.host", "127.0.0.1", "Address of the person's page; docs/teachers.md on opening it to others."),
    Param("human.port", 8765, "Its port; 0: any free one.", low=0, high=65_535),
    Param(
        "human.round_timeout_s",
        900.0,
        "What a person has not rated so long after it was asked gets no rating, s; 0: wait for ever.",
        low=0.0,
        high=1e6,
    ),
    Param("human.undo_s", 3.0, "How long the last rating of a round can be taken back, s.", low=0.0, high=600.0),
    Param(
        "human.joy_buttons",
        [-1],
        "Joystick button of each class, worst first; [-1]: the joystick does not rate.",
        low=-1,
        high=63,
        any_length=True,
    ),
    Param("human.joy_skip", -1, "Joystick button that abstains; -1: none.", low=-1, high=63),
    Param("human.joy_undo", -1, "Joystick button that takes the last rating back; -1: none.", low=-1, high=63),
    Param("scripted.error_rate", 0.0, "Share of wrong ratings, drawn per frame.", low=0.0, high=1.0),
    Param("scripted.systematic_rate", 0.0, "Share of kinds of view that are always misjudged.", low=0.0, high=1.0),
    Param(
        "scripted.confusion",
        [0.0],
        "n * n shares, row by row (true class, answered class), in place of error_rate; [0.0]: none.",
        low=0.0,
        high=1.0,
        any_length=True,
    ),
    Param("scripted.noise_model", "", "File of `erl-vlm check-rater`, in place of all three."),
    Param("scripted.timeout_s", 10.0, "How long a frame may wait for its truth, s.", low=0.1, high=3600.0),
    Param("replay.ledger", "", "Ledger that teacher: ledger answers from; empty: the run's own."),
    Param("replay.model", "", "Only that model's ratings (or human); empty: any, an ensemble's before its members'."),
    Param(
        "rerate.variations",
        [""],
        "Ways in which high ratings of the teacher vlm are asked about again, in this order: reworded, mirrored, "
        "detail; empty: believed at once.",
        any_length=True,
    ),
    Param("rerate.from_class", -1, "Ratings of this class and above; -1: the upper half of them.", low=-1, high=4),
    Param("rerate.votes", 2, "Answers that a class needs, the first one included.", low=2, high=4),
    Param(
        "rerate.undecided",
        "abstain",
        "When no class gets so many: abstain (no rating), or soft (the votes' shares as a soft label).",
        choices=("abstain", "soft"),
    ),
    Param("ensemble.models", [""], "Model of each member; an empty name: model.", any_length=True),
    Param("ensemble.base_urls", [""], "Endpoint of each, or one for all; empty: base_url.", any_length=True),
    Param("ensemble.api_key_envs", [""], "Key variable of each, or one for all; empty: api_key_env.", any_length=True),
    Param(
        "ensemble.prompts",
        [""],
        "Prompt set of each, or one for all; mirrored and detail vary the picture, too; empty: prompts.",
        any_length=True,
    ),
    Param("ensemble.votes", 1, "How often each member is asked the same.", low=1, high=64),
    Param("ensemble.temperature", 0.7, "Their temperature when they are asked several times.", low=0.0, high=2.0),
    Param(
        "ensemble.min_margin",
        0.0,
        "Least lead of the first class over the second, as a share of the votes; below, and in a tie: no rating.",
        low=0.0,
        high=1.0,
    ),
    Param("ensemble.min_votes", 0, "Least number of votes for a rating; 0: more than half.", low=0, high=4096),
    Param(
        "ensemble.straggler_s",
        60.0,
        "When at least half of the members are done, the others get so long, s; 0: as long as they take.",
        low=0.0,
        high=3600.0,
    ),
)
