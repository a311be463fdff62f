"""Asks more of a run than it can give and sees whether the counts add up: python benchmarks/overload.py MODEL.

Each case runs the simulated arena with recording, disturbs it, and holds the frame table, the summary, the events and
the last status against each other: frames that the device numbered = recorded + lost, by cause, in all of them, and
`verify` proves the session. Readers of the stream count their own losses. The resident memory of every process is
sampled all the while; it must stay under what it was before the disturbance, plus the queues that the rig allows, plus
a slack. The status is 1 where any case is not good. Linux; the cases of the disk need root (they mount a small tmpfs
and a loop device, and freeze that one's file system), and are left out without.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import zmq
from report import markdown

from posestream.inference.live.receiver import QUEUE_BYTES as RECEIVER_QUEUE_BYTES
from posestream.stream.disk.notes import Note
from posestream.stream.session.verify import verify_session
from posestream.stream.wire.messages import Frame, MessageDecoder
from posestream.stream.wire.sockets import subscriber

RECORD_MIB, PUBLISH_MIB, INFER_MIB = 12, 4, 16
SLACK_MIB = 48
"""What the allocator, FFmpeg and Python may take beyond the queues."""
SETTLE_S = 1.5
HEIGHT, WIDTH, RATE_HZ = 240, 320, 100
FRAME_BYTES = HEIGHT * WIDTH
RIG = """
[session]
name = "overload"
output = {output}
min_free_gib = 0.001
stop_free_gib = 0.0  # the disk is to become full
[cameras.top]
backend = "synthetic"
endpoint = "tcp://127.0.0.1:{port}"
width = {width}
height = {height}
rate_hz = {rate}.0
buffers = 1000
publish_queue_mib = {publish}
{camera}
[recording]
queue_mib = {record}
{recording}
[network]
poses = "tcp://127.0.0.1:{poses}"
{inference}
"""


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Give an ordinary folder."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name) / "out"


@dataclass
class Case:
    """A disturbance."""

    name: str
    disturb: "Callable[[Running], None]" = lambda _: None
    camera: str = ""
    recording: str = ""
    infers: bool = False
    readers: int = 0
    """Readers whose queues the camera may fill."""
    seconds: float = 4.0
    """How long it runs after the disturbance began."""
    place: "Callable[[], contextlib.AbstractContextManager[Path]]" = folder
    """Where the session goes."""
    loses: tuple[str, ...] = ()
    """States that must be among the rows: a case that disturbs nothing shows nothing."""
    status: tuple[int, ...] = (0,)
    """Exit statuses that are right."""


class Running:
    """A run under way, and the memory of its processes."""

    def __init__(self, case: Case, model: Path, work: Path, output: Path) -> None:
        self.port, self.output = random.randrange(20_000, 30_000), output  # noqa: S311
        rig = RIG.format(
            output=json.dumps(str(output)),
            port=self.port,
            poses=self.port + 1,
            width=WIDTH,
            height=HEIGHT,
            rate=RATE_HZ,
            publish=PUBLISH_MIB,
            record=RECORD_MIB,
            camera=case.camera,
            recording=case.recording,
            inference=f"[inference]\nmodel = {json.dumps(str(model))}\nqueue_mib = {INFER_MIB}" if case.infers else "",
        )
        (work / "rig.toml").write_text(rig)
        self._log = work / "run.log"
        command = [str(Path(sys.executable).with_name("posestream")), "run", str(work / "rig.toml"), "--json"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=work, stdout=subprocess.PIPE, stderr=log, text=True)
        self.memory: dict[str, list[float]] = {}
        self.readers: list[Reader] = []
        self._stopping = threading.Event()
        self._sampler = threading.Thread(target=self._sample)

    def until_recording(self) -> None:
        """Wait until frames are recorded, and a while longer, so that all memory that it needs anyway is taken."""
        while not any(path.read_bytes().count(b"\n") > 1 for path in self.output.glob("*/top/frames.csv")):
            if self.process.poll() is not None:
                raise SystemExit(f"the run ended before it began:\n{self._log.read_text()}")
            time.sleep(0.02)
        time.sleep(SETTLE_S)
        self._sampler.start()
        time.sleep(0.2)

    def processes(self) -> dict[str, psutil.Process]:
        """Its processes by role."""
        modules = {
            "posestream.acquisition": "camera",
            "posestream.inference": "inference",
            "posestream.stream": "poses",
        }
        supervisor = psutil.Process(self.process.pid)
        return {"supervisor": supervisor} | {modules[child.cmdline()[2]]: child for child in supervisor.children()}

    def _sample(self) -> None:
        processes = self.processes()
        # Once the camera has ended the results are written, which is another matter.
        while not self._stopping.wait(0.05) and _runs(processes["camera"]):
            for role, process in processes.items():
                with contextlib.suppress(psutil.NoSuchProcess):
                    self.memory.setdefault(role, []).append(process.memory_info().rss / 2**20)

    def end(self) -> tuple[int, dict[str, Any]]:
        """End it, and give its status and summary."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        out, _ = self.process.communicate(timeout=120)
        self._stopping.set()
        if self._sampler.is_alive():
            self._sampler.join()
        if not out:
            raise SystemExit(f"the run gave no summary:\n{self._log.read_text()}")
        return self.process.returncode, json.loads(out)


def _runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


class Reader:
    """A reader of frames that does not keep up, and counts what it lost."""

    def __init__(self, port: int, pause_s: float | None) -> None:
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = subscriber(
            self._context, [f"tcp://127.0.0.1:{port}"], queue_bytes=2**20, message_bytes=FRAME_BYTES
        )
        self._pause_s, self._stopping = pause_s, threading.Event()
        self._decoder = MessageDecoder()
        self.seqs: list[int] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        if self._pause_s is not None:
            while not self._stopping.wait(self._pause_s):
                self._take()
        self._stopping.wait()

    def _take(self) -> bool:
        if not self._socket.poll(500):
            return False
        message = self._decoder.decode(self._socket.recv_multipart())
        if isinstance(message, Frame):
            self.seqs.append(message.header.frame_seq)
        return True

    def close(self) -> None:
        """Read what still waits, once the run has ended, and close."""
        self._stopping.set()
        self._thread.join()
        while self._take():
            pass
        self._socket.close(0)
        self._context.term()

    def lost(self, captured: int) -> int:
        """Frames that it did not get from the first that it got to the last that was captured."""
        return captured - self.seqs[0] - len(self.seqs)


# The disturbances.


def _system(program: str, *arguments: str) -> None:
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/sbin:/usr/sbin")
    if found is None:
        raise OSError(f"{program} is not installed")
    subprocess.run([found, *arguments], check=True, capture_output=True)


@contextlib.contextmanager
def mounted(*command: str) -> Iterator[Path]:
    """Mount a file system for as long as it is needed."""
    with tempfile.TemporaryDirectory() as name:
        _system(*command, name)
        try:
            yield Path(name) / "out"
        finally:
            _system("umount", name)


@contextlib.contextmanager
def small_disk() -> Iterator[Path]:
    """Give a file system of 16 MiB."""
    with mounted("mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs") as path:
        yield path


@contextlib.contextmanager
def own_disk() -> Iterator[Path]:
    """Give a file system of its own, ext4 on a loop device, which can be frozen."""
    with tempfile.TemporaryDirectory() as name:
        image = Path(name) / "image"
        with image.open("wb") as file:
            file.truncate(256 * 2**20)
        _system("mkfs.ext4", "-q", "-F", str(image))
        with mounted("mount", "-o", "loop", str(image)) as path:
            yield path


def frozen(run: Running, seconds: float) -> None:
    """Let nothing be written for a while: the kernel holds every writer in its call."""
    place = str(run.output.parent)
    _system("fsfreeze", "-f", place)
    try:
        time.sleep(seconds)
    finally:
        _system("fsfreeze", "-u", place)


def stalled_disk(run: Running) -> None:
    """Let nothing be written for four seconds."""
    frozen(run, 4.0)


def slow_disk(run: Running) -> None:
    """Let writers through for a moment twice a second only."""
    for _ in range(10):
        frozen(run, 0.5)
        time.sleep(0.01)


def deaf(run: Running) -> None:
    """Add a reader that never reads."""
    run.readers.append(Reader(run.port, None))


def slow(run: Running) -> None:
    """Add a reader that reads a frame a second."""
    run.readers.append(Reader(run.port, 1.0))


def paused_inference(run: Running, seconds: float = 10.0) -> None:
    """Suspend the network's process."""
    inference = run.processes()["inference"]
    inference.suspend()
    time.sleep(seconds)
    inference.resume()


def until_full(run: Running) -> None:
    """Wait for the end that a full disk brings."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.process.wait(60)


CASES = {
    "nothing": Case("nothing at all"),
    "full": Case(
        "disk full",
        until_full,
        camera="noise = 20.0",
        recording="crf = 5",
        place=small_disk,
        loses=("encoder-error",),
        status=(1,),
    ),
    "stalled": Case("disk stalled for 4 s", stalled_disk, place=own_disk, loses=("lost-queue",), status=(1,)),
    "throttled": Case("disk writable twice a second only", slow_disk, place=own_disk, status=(0, 1)),
    "deaf": Case("reader that never reads", deaf, readers=1),
    "slow": Case("reader that reads 1 frame a second", slow, readers=1, seconds=6),
    "paused": Case("inference suspended for 10 s", paused_inference, infers=True, readers=1, seconds=12),
    "burst": Case("camera that delivers 2 s at once", camera="stall = [3.0, 2.0]", seconds=5),
    "encoder": Case(
        "encoder that is too slow",
        camera="noise = 60.0",
        recording='preset = "veryslow"\ncrf = 1',
        loses=("lost-queue",),
        status=(1,),
    ),
}
ROOT = ("full", "stalled", "throttled")


def can_mount() -> bool:
    """Whether the cases of the disk can be run here."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    try:
        with small_disk(), own_disk():
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def one_case(key: str, model: Path, seconds: float | None = None) -> dict[str, Any]:
    """Run a case and give its row."""
    case = CASES[key]
    with tempfile.TemporaryDirectory() as name, case.place() as output:
        run = Running(case, model, Path(name), output)
        try:
            run.until_recording()
            began = time.monotonic()
            case.disturb(run)
            time.sleep(max(0.0, (seconds or case.seconds) - (time.monotonic() - began)))
            status, summary = run.end()
        finally:
            run.process.kill()
            for reader in run.readers:
                reader.close()
        return _row(case, run, status, summary)


def _row(case: Case, run: Running, status: int, summary: dict[str, Any]) -> dict[str, Any]:
    session, camera = Path(summary["folder"]), summary["cameras"]["top"]
    counters = camera["counters"]
    wrong = [] if status in case.status else [f"status {status}: {summary['problems']}"]
    wrong += verify_session(session)["problems"]
    table = pd.read_csv(session / "top" / "frames.csv", keep_default_na=False)
    rows = Counter(table["state"])
    moved = int((table["note"] == Note.NOT_IN_VIDEO.text()).sum())  # rows that were repaired when the run had ended
    events = Counter[str]()
    for line in (session / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        events[event["name"]] += event["data"].get("count", 0)
    lost = {state: rows[state] for state in sorted(rows) if state != "recorded"}
    frames = camera["frames"]
    same = {
        "summary": {state: frames[state] for state in lost} == lost and frames["recorded"] == rows["recorded"],
        "events": {state: events[state] for state in lost}
        == {s: n - moved * (s == "encoder-error") for s, n in lost.items()},
        "status": counters["captured"] == len(table) - rows["lost-camera"]
        and counters.get("rows_recorded", 0) == rows["recorded"] + moved,
    }
    wrong += [f"{name} does not agree with the table" for name, agrees in same.items() if not agrees]
    wrong += [f"nothing was {state}" for state in case.loses if not rows[state]]
    wrong += _poses(camera) if case.infers else []
    wrong += [
        f"unsent {counters['unsent']}, lost {r.lost(frames['captured'])}"
        for r in run.readers
        if not _heard(r, counters, frames)
    ]
    return {
        "case": case.name,
        "numbered": len(table),
        "recorded": rows["recorded"],
        "lost": ", ".join(f"{number} {state}" for state, number in lost.items()) or "0",
        "unsent": counters["unsent"],
        "reader: got + lost": ", ".join(f"{len(r.seqs)} + {r.lost(frames['captured'])}" for r in run.readers) or "-",
        "poses + skipped": f"{camera['poses']['recorded']} + {sum(camera['poses']['skipped'].values())}"
        if case.infers
        else "-",
        "memory: grew by (allowed) MiB": _memory(case, run, wrong),
        "adds up": "yes" if not wrong else "; ".join(wrong),
    }


def _poses(camera: dict[str, Any]) -> list[str]:
    poses = camera["poses"]
    explained = poses["recorded"] + sum(poses["skipped"].values())
    return [] if explained == camera["frames"]["captured"] else [f"{explained} frames have a pose or a skip record"]


def _heard(reader: Reader, counters: dict[str, Any], frames: dict[str, Any]) -> bool:
    # `unsent` is the least that was lost (docs/decisions/0002); each reader knows all of its own.
    return bool(reader.lost(frames["captured"]) >= counters["unsent"] > 0)


def _memory(case: Case, run: Running, wrong: list[str]) -> str:
    allowed = {
        "camera": RECORD_MIB + case.readers * PUBLISH_MIB,
        "inference": RECEIVER_QUEUE_BYTES / 2**20 + INFER_MIB,
        "poses": 0.0,
        "supervisor": 0.0,
    }
    texts = []
    for role, samples in run.memory.items():
        grew, most = max(samples) - samples[0], allowed[role] + SLACK_MIB
        texts.append(f"{role} {grew:.0f} ({most:.0f})")
        if grew > most:
            wrong.append(f"{role} grew by {grew:.0f} MiB")
    return ", ".join(texts)


def main() -> None:
    """Print a row for each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--only", choices=list(CASES), action="append")
    given = parser.parse_args()
    keys = given.only or list(CASES)
    if not can_mount():
        print(f"left out, for they need root: {', '.join(ROOT)}", file=sys.stderr)
        keys = [key for key in keys if key not in ROOT]
    rows = []
    for key in keys:
        rows.append(one_case(key, given.model.absolute()))
        print(rows[-1], file=sys.stderr, flush=True)
    print(markdown(rows))
    sys.exit(0 if all(row["adds up"] == "yes" for row in rows) else 1)


if __name__ == "__main__":
    main()
