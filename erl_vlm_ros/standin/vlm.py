# SPDX-License-Identifier: Apache-2.0
"""A stand-in for a vision-language model: an OpenAI-compatible server that looks at the images it is sent.

    python -m erl_vlm_ros.standin.vlm --port 0 --error-rate 0.2

It prints one JSON line with its base_url when it is ready. It never sees simulator state: it decodes the JPEG
of the request, describes what it sees in words (stage 1), and rates from such words alone (stage 2).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys

import cv2

from erl_vlm_ros.common.errors import Code, ConfigError
from erl_vlm_ros.feedback.noise_model import DIRECTIONS, SHARING, load_noise_model
from erl_vlm_ros.standin.answerer import Answerer, AnswererConfig
from erl_vlm_ros.standin.server import FaultConfig, StandinServer


def parser() -> argparse.ArgumentParser:
    """Command line of the server."""
    p = argparse.ArgumentParser(prog="python -m erl_vlm_ros.standin.vlm", description=__doc__.split("\n")[0])
    p.add_argument("--host", default="127.0.0.1")
    p.add_argument("--port", type=int, default=8000, help="0 chooses a free one; it is printed")
    p.add_argument("--task", default="", help="the task, where prompts do not tell it")
    p.add_argument(
        "--error-rate",
        type=float,
        default=0.0,
        help="share of answers that are another class, drawn per question (per request, if it asks for a temperature)",
    )
    p.add_argument(
        "--systematic-rate", type=float, default=0.0, help="share of view clusters that are always misjudged"
    )
    p.add_argument(
        "--sharing",
        type=float,
        default=SHARING,
        help="share of the systematic errors that another wording, a mirrored image or a detail has in common",
    )
    p.add_argument(
        "--order-bias", type=float, default=0.0, help="share of comparisons answered with the first, whatever is shown"
    )
    p.add_argument("--errors", default="any", choices=DIRECTIONS, help="any, or only ratings that are too high or low")
    p.add_argument(
        "--blind",
        action="store_true",
        help="the gripper hides a drawer's crack; a force in the prompt tells of it (vlm_rater.modalities: wrench)",
    )
    p.add_argument("--noise-model", default="", help="file of `erl-vlm check-rater`, instead of these three")
    p.add_argument("--robot", default="", help="robot file of the arm that stands in the scene, where it is not ours")
    p.add_argument("--seed", type=int, default=0, help="of both kinds of error and of the faults")
    p.add_argument("--latency", type=float, default=0.0, help="seconds added to every answer")
    p.add_argument("--fault-rate", type=float, default=0.0, help="share of requests that meet an HTTP fault")
    p.add_argument("--faults", default="", help="comma-separated kinds, default all: " + ", ".join(FaultConfig.KINDS))
    p.add_argument("--no-schema", action="store_true", help="refuse response_format with HTTP 400")
    p.add_argument("--api-key-env", default="", help="environment variable with a key that requests must carry")
    return p


def main(argv: list[str] | None = None) -> int:
    """Serve until interrupted."""
    args = parser().parse_args(argv)
    cv2.setNumThreads(1)
    try:
        noise = load_noise_model(args.noise_model, task=args.task) if args.noise_model else None
        config = AnswererConfig(
            args.error_rate,
            args.systematic_rate,
            args.seed,
            args.task,
            args.sharing,
            noise,
            args.order_bias,
            args.robot,
            args.errors,
            args.blind,
        )
        answerer = Answerer(config)
        kinds = tuple(k.strip() for k in args.faults.split(",") if k.strip()) or FaultConfig.KINDS
        faults = FaultConfig(args.fault_rate, kinds, args.seed)
        key = os.environ.get(args.api_key_env, "") if args.api_key_env else ""
        if args.api_key_env and not key:
            text = f"--api-key-env names {args.api_key_env}, which is not set"
            raise ConfigError(text, code=Code.NOT_GIVEN, parameter="api_key_env")
        server = StandinServer(answerer, args.host, args.port, args.latency, faults, not args.no_schema, key)
    except (ConfigError, OSError) as error:
        print(f"standin_vlm: {error}", file=sys.stderr)
        return 2
    # a KeyboardInterrupt may be raised where Python swallows it, in a destructor for instance
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: server.end())
    print(json.dumps({"base_url": server.base_url, "port": server.port}), flush=True)
    try:
        server.serve()
    finally:
        server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
