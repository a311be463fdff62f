import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture
def context() -> Iterator[zmq.Context]:
    """A context of its own; a socket that the test leaves open fails it within seconds instead of hanging."""
    context = zmq.Context()
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


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Converted models of the tests go to a folder of their own, and none that the user has is found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POSESTREAM_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("POSESTREAM_LOGS", str(tmp_path_factory.mktemp("logs")))
        yield
