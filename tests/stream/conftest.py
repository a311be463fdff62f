"""What every test of whole runs takes: the program, a rig, and a network that means nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ..support.networks import BODYPARTS, small_random_bundle
from ..support.runs import ARENA, POSESTREAM, Running, children_of, free_endpoint, wait_for_processes
from ..support.trouble_plugins import install
from ..support.videos import encode_video, frames_in, write_video

__all__ = [
    "ARENA",
    "BODYPARTS",
    "POSESTREAM",
    "Running",
    "children_of",
    "encode_video",
    "frames_in",
    "free_endpoint",
    "wait_for_processes",
    "write_video",
]


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a small student whose weights mean nothing: it runs as a real one does, and starts quickly."""
    folder = tmp_path_factory.mktemp("models") / "random"
    small_random_bundle().save(folder, "float16")
    return folder


@pytest.fixture(scope="session")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which a camera and an engine are installed that misbehave as they are told."""
    return install(tmp_path_factory.mktemp("site"))


@pytest.fixture
def posestream(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start posestream commands; what still runs when the test ends is killed."""
    started: list[Running] = []

    def start(*arguments: object, **options: Any) -> Running:
        started.append(Running([str(argument) for argument in arguments], tmp_path, **options))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
        running.process.communicate()


@pytest.fixture
def rig(tmp_path: Path) -> Callable[[str], Path]:
    """Write a rig file; poses go to an address that no other run uses."""

    def write(text: str, name: str = "rig.toml") -> Path:
        path = tmp_path / name
        network = "" if "[network]" in text else f'[network]\nposes = "{free_endpoint()}"\n'
        path.write_text(f'[session]\nname = "test"\noutput = "out"\nmin_free_gib = 0.01\n{text}\n{network}')
        return path

    return write
