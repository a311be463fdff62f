"""Runs for long and sees whether memory grows and frames are lost: python benchmarks/soak.py MODEL [options].

The simulated arena is recorded, published to a reader in another process, and tracked in `freshest`. The resident
memory of every process is sampled once a second; its slope is that of a straight line through the samples after the
first tenth of the run. At the end `verify` proves the session. Two hours' worth of frames at 100 a second, sped up:

    python benchmarks/soak.py MODEL --frames 720000 --rate 500 --size 160x120

A set-up in which nothing should be lost, ten minutes: --frames 60000 --rate 100 --size 640x480. The status is 1 where
a frame was lost, the session could not be proved, or memory grew by more than `--allow` MiB per 100,000 frames.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from report import markdown

from posestream.stream.session.verify import verify_session
from posestream.stream.subscribers import FrameSubscriber

LEAST_GROWTH_MIB = 4.0
"""Growth that is not looked at, for in a short run it is the allocator's alone."""
RIG = """
[session]
name = "soak"
output = {output}
min_free_gib = 0.5
[cameras.top]
backend = "synthetic"
endpoint = "tcp://127.0.0.1:{port}"
width = {width}
height = {height}
rate_hz = {rate}
frames = {frames}
buffers = {buffers}
[recording]
preset = "{preset}"
container = "{container}"
[inference]
model = {model}
mode = "freshest"
{threads}
[network]
poses = "tcp://127.0.0.1:{poses}"
"""
MODULES = {
    "posestream.acquisition": "camera",
    "posestream.inference": "inference",
    "posestream.stream": "pose recorder",
}


def read_frames(port: int, frame_bytes: int) -> None:
    """Read every frame and print how many came and how many did not: the reader, in its own process."""
    with FrameSubscriber(f"tcp://127.0.0.1:{port}", frame_bytes=frame_bytes) as frames:
        for _ in frames:
            pass
        print(json.dumps({"received": frames.received, "lost": frames.lost.total()}))


def processes(supervisor: int, reader: int) -> dict[str, psutil.Process]:
    """Give the processes by what they do."""
    found = psutil.Process(supervisor)
    children = {MODULES[child.cmdline()[2]]: child for child in found.children()}
    return {"supervisor": found, "reader": psutil.Process(reader)} | children


def soak(model: Path, given: argparse.Namespace) -> tuple[list[dict[str, Any]], list[str], dict[str, Any]]:
    """Run; gives a row for each process, what is wrong, and the run's summary."""
    width, height = map(int, given.size.split("x"))
    with tempfile.TemporaryDirectory(dir=given.output) as name:
        work, port = Path(name), random.randrange(20_000, 30_000)  # noqa: S311
        rig = RIG.format(
            output=json.dumps(str(work / "out")),
            port=port,
            poses=port + 1,
            width=width,
            height=height,
            rate=float(given.rate),
            frames=given.frames,
            buffers=given.buffers,
            preset=given.preset,
            container=given.container,
            model=json.dumps(str(model.absolute())),
            threads=f"threads = {given.threads}" if given.threads else "",
        )
        (work / "rig.toml").write_text(rig)
        program = str(Path(sys.executable).with_name("posestream"))
        reader_command = [sys.executable, __file__, "--read", str(port), str(width * height)]
        with (work / "run.log").open("wb") as log:
            run = subprocess.Popen(
                [program, "run", "rig.toml", "--json"], cwd=work, stdout=subprocess.PIPE, stderr=log, text=True
            )
            reader = subprocess.Popen(reader_command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            samples = _watch(run, reader, work, given.frames)
            out, _ = run.communicate()
            if not out:
                raise SystemExit(f"the run gave no summary:\n{(work / 'run.log').read_text()}")
            read = json.loads(reader.communicate(timeout=60)[0])
        finally:
            for process in (run, reader):
                process.kill()
        summary = json.loads(out)
        began = time.monotonic()
        problems = summary["problems"] + verify_session(Path(summary["folder"]))["problems"]
        summary |= {"verify_s": time.monotonic() - began, "read": read}
    rows, growing = _rows(samples, given.allow)
    return rows, problems + growing, summary


def _watch(
    run: "subprocess.Popen[str]", reader: "subprocess.Popen[str]", work: Path, frames: int
) -> dict[str, list[tuple[int, float, float]]]:
    """Sample frames recorded, resident MiB and processor seconds of each process until the camera has ended."""
    tables = work / "out"
    while not list(tables.glob("*/top/frames.csv")):
        if run.poll() is not None:
            raise SystemExit(f"the run ended before it began:\n{(work / 'run.log').read_text()}")
        time.sleep(0.1)
    [table] = tables.glob("*/top/frames.csv")
    found, size, rows = processes(run.pid, reader.pid), 0, 0
    samples: dict[str, list[tuple[int, float, float]]] = {role: [] for role in found}
    while rows < frames:
        time.sleep(1.0)
        with table.open("rb") as file:  # only what is new: the table is long at the end
            file.seek(size)
            new = file.read()
        size, rows = size + len(new), rows + new.count(b"\n")
        try:
            if found["camera"].status() == psutil.STATUS_ZOMBIE:
                break
            for role, process in found.items():
                if process.status() != psutil.STATUS_ZOMBIE:  # the reader may be the first to end
                    used = process.cpu_times()
                    samples[role].append((rows, process.memory_info().rss / 2**20, used.user + used.system))
        except psutil.NoSuchProcess:
            break
    return samples


def _rows(samples: dict[str, list[tuple[int, float, float]]], allow: float) -> tuple[list[dict[str, Any]], list[str]]:
    rows, growing = [], []
    for role, taken in samples.items():
        frames, mib, seconds = np.array(taken).T
        late = frames > frames[-1] / 10
        slope = float(np.polyfit(frames[late], mib[late], 1)[0]) * 100_000
        grew = slope * (frames[-1] - frames[late][0]) / 100_000
        if slope > allow and grew > LEAST_GROWTH_MIB:
            growing.append(f"{role} grew by {slope:.2f} MiB per 100,000 frames")
        rows.append(
            {
                "process": role,
                "MiB at a tenth": round(float(mib[late][0]), 1),
                "MiB at the end": round(float(mib[-1]), 1),
                "most MiB": round(float(mib.max()), 1),
                "MiB per 100,000 frames": round(slope, 2),
                "cores": round(float(seconds[-1] - seconds[0]) / max(1, len(taken) - 1), 2),
            }
        )
    return rows, growing


def arguments() -> argparse.ArgumentParser:
    """Give the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--frames", type=int, default=720_000)
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--size", default="160x120")
    parser.add_argument("--buffers", type=int, default=100, help="frames that the device keeps for a late reader")
    parser.add_argument("--preset", default="superfast")
    parser.add_argument("--container", default="mp4", choices=["mp4", "mkv"])
    parser.add_argument("--threads", type=int, default=0, help="threads of the network; 0: its own choice")
    parser.add_argument("--allow", type=float, default=1.0, help="MiB per 100,000 frames that memory may grow by")
    parser.add_argument("--output", type=Path, help="folder for the session, which is removed again")
    parser.add_argument("--read", type=int, nargs=2, help=argparse.SUPPRESS)
    return parser


def main() -> None:
    """Print a row for each process, and what came of the frames."""
    given = arguments().parse_args()
    if given.read:
        read_frames(*given.read)
        return
    rows, problems, summary = soak(given.model, given)
    camera = summary["cameras"]["top"]
    print(markdown(rows))
    counters, latency = camera["counters"], camera["latency_ms"]["exposure_to_subscriber"]
    print(
        f"\n{given.size} at {given.rate:g}/s ({camera['rate_hz']['measured']} measured), {summary['seconds']:.0f} s: "
        f"{camera['frames']['captured']} captured, {camera['frames']['recorded']} recorded, "
        f"{counters['lost_camera']} lost by the camera, {counters['lost_queue']} by the queue (at most "
        f"{counters['longest_queue']} waited), {camera['poses']['recorded']} poses "
        f"(p50 {latency['p50']} ms, p99 {latency['p99']} ms), reader {summary['read']}, "
        f"video {camera['video']['bytes'] / 2**20:.0f} MiB, verified in {summary['verify_s']:.0f} s: "
        f"{'; '.join(problems) or 'proved'}"
    )
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
