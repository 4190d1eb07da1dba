# SPDX-License-Identifier: Apache-2.0
"""Where the time goes: CPU seconds land on the right kind, once."""

from __future__ import annotations

import importlib.util
import sys
import threading
import time
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("needs the checkout", allow_module_level=True)


def loaded(path: Path, name: str):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def timing(monkeypatch):
    monkeypatch.delenv("WHERE_TIME_GOES", raising=False)
    return loaded(BENCHMARKS / "profiled" / "sitecustomize.py", "timing_of_nodes")


report = loaded(BENCHMARKS / "where_time_goes.py", "where_time_goes")


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_timed_function_counts_without_the_timed_ones_within(timing):
    inner = timing.timed(lambda: burn(0.04), "inner")

    def both():
        burn(0.02)
        inner()
        burn(0.02)

    timing.timed(both, "outer")()
    sums = timing._sums
    assert sums[True, "inner"] == pytest.approx(0.04, abs=0.01)
    assert sums[True, "outer"] == pytest.approx(0.04, abs=0.01)
    thread = threading.Thread(target=inner)
    thread.start()
    thread.join()
    assert sums[False, "inner"] == pytest.approx(0.04, abs=0.01)


def test_an_error_passes_through_and_is_counted(timing):
    def fail():
        burn(0.01)
        raise KeyError("x")

    with pytest.raises(KeyError):
        timing.timed(fail, "kind")()
    assert timing._sums[True, "kind"] > 0.005 and timing._state.stack == []


def test_a_module_is_timed_when_it_is_loaded(timing, monkeypatch, tmp_path):
    (tmp_path / "work_of_mine.py").write_text(
        "from math import sqrt\ndef a(): return 1\ndef _b(): return 2\nclass C:\n    def d(self): return 3\n"
    )
    monkeypatch.setitem(timing.TIMED, "work_of_mine", {"*": "functions", "C.d": "method", "Gone.e": "none"})
    monkeypatch.syspath_prepend(str(tmp_path))
    finder = timing._Finder()
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    import work_of_mine

    assert (work_of_mine.a(), work_of_mine._b(), work_of_mine.C().d(), work_of_mine.sqrt(4)) == (1, 2, 3, 2.0)
    assert set(timing._sums) == {(True, "functions"), (True, "method")}


def test_the_names_that_are_timed_exist(timing):
    pytest.importorskip("rclpy")
    for name, wanted in timing.TIMED.items():
        module = importlib.import_module(name)
        for path in wanted:
            owner, _, member = path.rpartition(".")
            place = getattr(module, owner) if owner else module
            assert member == "*" or member in vars(place), f"{name}: {path}"


def test_what_is_left_over_is_the_executors_and_that_of_dds():
    rows = [
        {"time": t, "process": p, "main": m, "python": y, "sums": {"main/updates": u, "other/JPEG": j}}
        for t, p, m, y, u, j in [(0, 1.0, 0.5, 0.6, 0.1, 0.0), (1, 2.0, 1.0, 1.2, 0.4, 0.05), (2, 9, 9, 9, 9, 9)]
    ]
    spent = report.spent(rows, began=0.4, ended=0.9)
    wanted = {"updates": 0.3, "JPEG": 0.05, report.EXECUTOR: 0.2, report.OTHERS: 0.05, report.DDS: 0.4}
    assert spent == pytest.approx(wanted)
    assert sum(spent.values()) == pytest.approx(1.0)
    assert "**all** | **1000.00**" in report.table({"learner": {k: 1e3 * v for k, v in spent.items()}})
