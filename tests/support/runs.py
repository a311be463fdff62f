"""The program as people call it: its commands, what they print, and the processes of a run."""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .waiting import until

__all__ = [
    "ARENA",
    "POSESTREAM",
    "Running",
    "arena",
    "children_of",
    "free_endpoint",
    "in_terminal",
    "wait_for_processes",
]

POSESTREAM = shutil.which("posestream", path=str(Path(sys.executable).parent)) or "posestream"
ARENA = """
[cameras.top]
backend = "synthetic"
width = 96
height = 64
rate_hz = 50.0
buffers = 1000  # a busy machine loses nothing here
"""


def arena(size: str) -> str:
    """The camera of a test with frames of another size, WIDTHxHEIGHT."""
    width, _, height = size.partition("x")
    return ARENA.replace("width = 96", f"width = {width}").replace("height = 64", f"height = {height}")


class Running:
    """A posestream command that runs."""

    def __init__(self, arguments: list[str], cwd: Path, **options: Any) -> None:
        self.process = subprocess.Popen(
            [POSESTREAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, **options
        )
        self.seen = ""
        self.cwd = cwd

    def until(self, text: str, seconds: float = 120) -> None:
        """Read what it says until a text stands there."""
        assert self.process.stderr is not None
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            line = self.process.stderr.readline()
            assert line or self.process.poll() is None, f"it ended before it said {text!r}:\n{self.seen}"
            assert time.monotonic() < deadline, f"it did not say {text!r} in time:\n{self.seen}"
            self.seen += line

    def until_rows(self, number: int, table: str, seconds: float = 120) -> None:
        """Wait until a table of the session has so many rows."""

        def rows() -> int:
            return sum(path.read_bytes().count(b"\n") - 1 for path in (self.cwd / "out").glob(f"*/{table}"))

        until(lambda: rows() >= number, seconds, meanwhile=self.check)

    def check(self) -> None:
        """Fail if it has ended."""
        assert self.process.poll() is None, self.end()

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def end(self, seconds: float = 150) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, self.seen + err

    def summary(self, status: int, seconds: float = 150) -> dict[str, Any]:
        """Wait for the end, see that the exit status is right, and give the printed summary."""
        code, out, err = self.end(seconds)
        assert code == status, err
        summary: dict[str, Any] = json.loads(out)
        assert json.loads((Path(summary["folder"]) / "summary.json").read_text()) == summary
        if status == 0:
            from posestream.stream.session.verify import verify_session

            assert verify_session(Path(summary["folder"]))["problems"] == []
        return summary


def free_endpoint() -> str:
    """Give an address below those that systems hand out to connections, one of which could take it in between."""
    while True:
        port = random.randrange(10_000, 30_000)  # noqa: S311
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return f"tcp://127.0.0.1:{port}"


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


def in_terminal(
    columns: int,
    arguments: list[str],
    cwd: Path,
    react: Callable[[str, subprocess.Popen[bytes]], None] = lambda _shown, _process: None,
) -> tuple[int, list[str]]:
    """Run posestream in a terminal of so many columns; gives its exit status and all lines that ever stood there.

    `react` is called with all that was shown so far whenever something was.
    """
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in {"COLUMNS", "LINES"}}
    process = subprocess.Popen(
        [POSESTREAM, *arguments],
        cwd=cwd,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment | {"TERM": "xterm"},
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65_536)
        except OSError:  # Linux says so where the last one has closed the terminal
            break
        if not part:
            break
        shown += part
        react(shown.decode(errors="replace"), process)
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    return process.wait(60), re.split(r"[\r\n]+", text)
