# SPDX-License-Identifier: Apache-2.0
"""What this machine lacks, told before anything is downloaded: ``python3 erl_vlm_ros/preflight.py``.

Standard library only, and no import from the package: it runs before the package is installed.
"""

from __future__ import annotations

import argparse
import ctypes
import glob
import importlib.util
import os
import shutil
import sys

MIN_PYTHON, MAX_PYTHON = (3, 10), (3, 13)
NEED_DISK_MB = 6000  # the virtual environment with PyPI's build of torch (5.4 GB measured)

# shared library -> (apt package, what needs it)
LIBRARIES = {
    "libEGL.so.1": ("libegl1", "rendering without a screen"),
    "libGL.so.1": ("libgl1", "OpenCV and MuJoCo"),
    "libxcb.so.1": ("libxcb1", "OpenCV"),
    "libglib-2.0.so.0": ("libglib2.0-0", "OpenCV"),
    "libgthread-2.0.so.0": ("libglib2.0-0", "OpenCV"),
}
# Needed for a part only: named, and installed on a CI machine, but not asked for.
OPTIONAL = {"libusb-1.0.so.0": ("libusb-1.0-0", "RealSense cameras; without it their tests are skipped")}
# Mesa's driver and its EGL half are opened at run time, by name or by path, when nothing else renders.
MESA_EGL = ("libEGL_mesa.so.0", "libEGL_nvidia.so.0")
MESA_DRIVERS = (
    "/usr/lib/*/dri/*_dri.so",
    "/usr/lib*/dri/*_dri.so",
    "/usr/lib*/libgallium*.so",
    "/usr/lib/*/libgallium*.so",
)


def loads(library: str) -> bool:
    """True when the dynamic linker finds ``library``."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def missing_packages(python: tuple[int, int] = sys.version_info[:2], load=loads) -> dict[str, str]:
    """apt packages that are missing -> why each is needed. Empty on a machine that is ready."""
    missing: dict[str, str] = {}
    for library, (package, reason) in LIBRARIES.items():
        if not load(library):
            missing[package] = f"{reason} ({library})"
    if not any(load(library) for library in MESA_EGL):
        missing["libegl-mesa0"] = f"software rendering ({MESA_EGL[0]})"
    if not any(glob.glob(pattern) for pattern in MESA_DRIVERS) and not load(MESA_EGL[1]):
        missing["libgl1-mesa-dri"] = "software rendering (swrast_dri.so)"
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        missing[f"python{python[0]}.{python[1]}-venv"] = "the virtual environment"
    return missing


def useful_packages(load=None) -> dict[str, str]:
    """apt packages that are missing and that only a part needs -> which part."""
    load = load or loads
    return {package: f"{part} ({library})" for library, (package, part) in OPTIONAL.items() if not load(library)}


def free_mb(path: str) -> float:
    """Free space in MB where ``path`` is or will be."""
    path = os.path.abspath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return shutil.disk_usage(path).free / 1e6


def report(venv: str = ".venv", load=loads, need_mb: int = NEED_DISK_MB) -> list[str]:
    """Problems in words, in the order in which to fix them; empty when there is none."""
    python = sys.version_info[:2]
    problems = []
    if not MIN_PYTHON <= python <= MAX_PYTHON:
        low, high = (".".join(map(str, v)) for v in (MIN_PYTHON, MAX_PYTHON))
        problems.append(
            f"Python {python[0]}.{python[1]} ({sys.executable}): this package needs {low} to {high}; "
            "name another one with: make PYTHON=python3.12 ..."
        )
    missing = missing_packages(python, load)
    for package, reason in missing.items():
        problems.append(f"missing system package {package}: {reason}")
    if missing:
        problems.append(
            "install them with:\n\n    sudo apt-get update && sudo apt-get install -y "
            + " ".join(sorted(missing))
            + "\n"
        )
    if not os.path.exists(os.path.join(venv, "bin", "python")) and free_mb(venv) < need_mb:
        problems.append(f"{free_mb(venv):.0f} MB free for {os.path.abspath(venv)}; about {need_mb} MB are needed")
    return problems


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", default=".venv", help="where the virtual environment is or will be")
    parser.add_argument("--apt", action="store_true", help="print only the missing apt packages, in one line")
    parser.add_argument("--need-mb", type=int, default=NEED_DISK_MB, help="disk space for the environment")
    arguments = parser.parse_args(argv)
    if arguments.apt:
        print(" ".join(sorted({**missing_packages(), **useful_packages()})))
        return 0
    for package, part in useful_packages().items():
        print(f"note: {package} is not installed: {part}", file=sys.stderr)
    problems = report(arguments.venv, need_mb=arguments.need_mb)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        print("nothing was downloaded or installed", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
