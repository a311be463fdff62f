import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

POSESTREAM = shutil.which("posestream", path=str(Path(sys.executable).parent)) or "posestream"
BODYPARTS = ("snout", "leftear", "rightear", "tailbase")
ARENA = """
[cameras.top]
backend = "synthetic"
width = 96
height = 64
rate_hz = 50.0
buffers = 1000  # a busy machine loses nothing here
"""


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a whole ResNet-50 whose weights mean nothing: it runs as a real one does."""
    from posestream.inference.bundle import ModelBundle, ModelSource, ModelSpec, expected_tensors

    spec = ModelSpec(
        name="random",
        net_type="resnet_50",
        bodyparts=BODYPARTS,
        skeleton=(("snout", "tailbase"),),
        scorer="DLC_resnet50_randomNov22shuffle1_1",
        source=ModelSource(kind="test"),
    )
    rng = np.random.default_rng(0)
    weights = {
        name: rng.standard_normal(shape, np.float32) * np.float32(0.5 / np.sqrt(max(1, np.prod(shape[:-1]))))
        for name, shape in expected_tensors(spec).items()
    }
    folder = tmp_path_factory.mktemp("models") / "random"
    ModelBundle(spec, weights).save(folder, "float16")
    return folder


class Running:
    """A posestream command that runs."""

    def __init__(self, arguments: list[str], cwd: Path, **options: Any) -> None:
        self.process = subprocess.Popen(
            [POSESTREAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, **options
        )
        self.seen = ""
        self.cwd = cwd

    def until(self, text: str, seconds: float = 60) -> None:
        """Read what it says until a text stands there."""
        assert self.process.stderr is not None
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            line = self.process.stderr.readline()
            assert line or self.process.poll() is None, f"it ended before it said {text!r}:\n{self.seen}"
            assert time.monotonic() < deadline, f"it did not say {text!r} in time:\n{self.seen}"
            self.seen += line

    def until_rows(self, number: int, table: str, seconds: float = 60) -> None:
        """Wait until a table of the session has so many rows."""
        deadline = time.monotonic() + seconds
        while sum(path.read_bytes().count(b"\n") for path in (self.cwd / "out").glob(f"*/{table}")) <= number:
            assert self.process.poll() is None, self.end()
            assert time.monotonic() < deadline, f"{table} had no {number} rows in time"
            time.sleep(0.05)

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def end(self, seconds: float = 90) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, self.seen + err

    def summary(self, status: int, seconds: float = 90) -> dict[str, Any]:
        """Wait for the end, see that the exit status is right, and give the printed summary."""
        code, out, err = self.end(seconds)
        assert code == status, err
        summary: dict[str, Any] = json.loads(out)
        assert json.loads((Path(summary["folder"]) / "summary.json").read_text()) == summary
        if status == 0:
            from posestream.stream.verify import verify_session

            assert verify_session(Path(summary["folder"]))["problems"] == []
        return summary


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


def free_endpoint() -> str:
    """Give an address below those that systems hand out to connections, one of which could take it in between."""
    while True:
        port = random.randrange(10_000, 30_000)  # noqa: S311
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return f"tcp://127.0.0.1:{port}"


def write_video(path: Path, frames: int, height: int = 48, width: int = 64, rate: int = 30) -> Path:
    """A small video in which every frame differs."""
    rng = np.random.default_rng(0)

    def draw(number: int) -> NDArray[np.uint8]:
        pixels = rng.integers(0, 256, (6, 8, 3), np.uint8).repeat(height // 6, 0).repeat(width // 8, 1)
        pixels[:4, :4] = number % 256
        return pixels

    return encode_video(path, map(draw, range(frames)), rate)


def encode_video(path: Path, frames: Iterable[NDArray[np.uint8]], rate: int = 30) -> Path:
    """A video of frames (height, width, 3)."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "20"})
        stream.pix_fmt = "yuv420p"
        for number, pixels in enumerate(frames):
            if not number:
                stream.height, stream.width = pixels.shape[:2]
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def frames_in(path: Path) -> int:
    """Frames of a video that can be decoded."""
    import av

    count = 0
    try:
        with av.open(str(path)) as container:
            for _ in container.decode(video=0):
                count += 1
    except av.error.FFmpegError:
        pass  # the last packet of a killed writer may be cut in the middle
    return count


def children_of(pid: int) -> dict[str, int]:
    """Process ids of a run's processes, by module and name."""
    import psutil

    found = {}
    for child in psutil.Process(pid).children():
        command = child.cmdline()
        module = command[command.index("-m") + 1].rpartition(".")[2]
        name = command[command.index("--name") + 1] if "--name" in command else ""
        found[f"{module}:{name}" if name else module] = child.pid
    return found


def wait_for_processes(pids: list[int], seconds: float = 30) -> list[int]:
    """Wait for processes to end; gives those that did not."""
    import psutil

    deadline = time.monotonic() + seconds
    left = pids
    while left and time.monotonic() < deadline:
        left = [pid for pid in left if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]
        time.sleep(0.05)
    return left


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
