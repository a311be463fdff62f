"""A home and a cache of its own for every run of the tests, the order of the files, and what all tests may take."""

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

TESTS = Path(__file__).parent
REPOSITORY = TESTS.parent

OWN = pytest.StashKey[Path]()
LONGEST = (
    "stream/test_plugins.py",
    "acquisition/backends/test_aravis.py",
    "benchmarks/test_programs.py",
    "benchmarks/test_witness.py",
    "stream/test_run.py",
    "benchmarks/test_manipulations.py",
    "stream/run/test_joining.py",
    "stream/offline/test_backfill.py",
    "stream/bench/test_speed.py",
    "stream/test_manipulations.py",
    "stream/commands/test_cameras.py",
    "inference/engines/test_int8.py",
    "inference/engines/test_openvino_engine.py",
    "stream/test_surroundings.py",
    "stream/test_windows.py",
    "stream/offline/test_analyze.py",
    "stream/test_clip.py",
    "inference/training/test_trainer.py",
    "stream/commands/test_distil.py",
)
"""Files that take longest. They begin first, so that the processes that share the files end at about the same time."""
MORE_THAN_CORES = 1
"""Processes that share the files beyond the number of cores: for half of their time, most wait for a run to go on."""


def pytest_configure(config: pytest.Config) -> None:
    """Give the run an empty home and an empty cache, which its processes share: nothing that the user has is found."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a job in the background of a shell; programs inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(config, "workerinput"):  # a process of the run, which has them already
        return
    if gone := [file for file in LONGEST if not (TESTS / file).is_file()]:
        raise pytest.UsageError(f"{__file__}: LONGEST names files that are not there: {', '.join(gone)}")
    folder = config.stash[OWN] = Path(tempfile.mkdtemp(prefix="posestream-tests-"))
    for variable, part in {
        "HOME": "home",
        "USERPROFILE": "home",
        "LOCALAPPDATA": "home/local",
        "XDG_CACHE_HOME": "home/cache",
        "XDG_CONFIG_HOME": "home/config",
        "XDG_DATA_HOME": "home/data",
        "XDG_STATE_HOME": "home/state",
        "POSESTREAM_CACHE": "cache",
        "POSESTREAM_LOGS": "logs",
    }.items():
        (folder / part).mkdir(parents=True, exist_ok=True)
        os.environ[variable] = str(folder / part)


def pytest_unconfigure(config: pytest.Config) -> None:
    if OWN in config.stash:
        shutil.rmtree(config.stash[OWN], ignore_errors=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Give the number of processes that share the files; a number on the command line is taken as it is."""
    if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None
    return (os.cpu_count() or 1) + MORE_THAN_CORES


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each file to one process, and all files on Aravis to the same: there can be one emulator at a time."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "aravis" if "test_aravis" in file else file

    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {TESTS / file: place for place, file in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(LONGEST)))


@pytest.fixture
def context() -> Iterator["zmq.Context[Any]"]:
    """A context of its own; a socket that the test leaves open fails it within seconds instead of hanging."""
    context: zmq.Context[Any] = zmq.Context()
    yield context
    ending = threading.Thread(target=context.term, daemon=True)
    ending.start()
    ending.join(5)
    if ending.is_alive():
        pytest.fail("the test left a socket open")


@pytest.fixture(scope="session")
def openfield_clip() -> Path:
    data = Path(os.environ.get("POSESTREAM_DATA", REPOSITORY.parent / "shared" / "data"))
    clip = data / "openfield" / "videos" / "m3v1_clip.mp4"
    if not clip.exists():
        pytest.skip(f"{clip} is not here; POSESTREAM_DATA names the folder that holds openfield/")
    return clip


@pytest.fixture(scope="session")
def lmtracker_folder() -> Path:
    """Train folder of the network that the package lmtracker 0.1.0 ships."""
    home = Path(os.environ.get("POSESTREAM_LMTRACKER", REPOSITORY / ".cache" / "lmtracker"))
    found = sorted(home.glob("**/train/pose_cfg.yaml"))
    if not found:
        pytest.skip(
            f"no network in {home}; pip install --no-deps --target it lmtracker==0.1.0, or set POSESTREAM_LMTRACKER"
        )
    return found[0].parent


@pytest.fixture(autouse=True)
def ordinary_scheduling() -> Iterator[None]:
    """Undo what cameras' libraries do as root: they make this process a real-time one, and what it starts."""
    yield
    if hasattr(os, "sched_setscheduler") and os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
