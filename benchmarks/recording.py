"""What recording costs: python benchmarks/recording.py CLIP [--rounds N] [--seconds S].

First table: our recorder (queue, encoder, mp4 written in fragments, frame table) against the `ffmpeg` program on the
same raw grey frames with the same settings, in alternating order: ours from memory through the recorder's queue,
ffmpeg from a raw file in the page cache, or through a pipe (whose writing side is counted too). By the clock, and by
processor time, which other programs on the machine disturb less. POSIX only.

Second table: the share of one core that capture thread, recorder and publisher take at 640x480 and 100 frames a
second, by the CPU times of a process that runs nothing else, with a subscriber in another process. The camera is
frames in memory that are copied into the buffer; the last row is that camera alone.
"""

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import zmq
from numpy.typing import NDArray
from report import markdown

from posestream.acquisition.camera import CameraFormat, CameraSettings, Capture
from posestream.acquisition.capture import CaptureThread
from posestream.acquisition.recorder import Recorder
from posestream.acquisition.stamps import Stamped
from posestream.stream.subscribers import FrameSubscriber
from posestream.stream.wire.clock import monotonic_ns
from posestream.stream.wire.endpoints import local_endpoint
from posestream.stream.wire.messages import StreamInfo
from posestream.stream.wire.settings import RecordingSettings
from posestream.stream.wire.sockets import Publisher

RATE_HZ = 100.0
SETTINGS = RecordingSettings(codec="libx264", preset="superfast", crf=23.0, threads=1, queue_bytes=2**32, queue_s=3600)


class PicturesCamera:
    """Frames in memory, over and over, at a rate."""

    Settings = CameraSettings

    def __init__(self, pictures: NDArray[np.uint8]) -> None:
        self._pictures, self._number, self._start_ns = pictures, 0, 0

    def open(self) -> CameraFormat:
        """Give the format of the pictures."""
        return format_of(self._pictures)

    def start(self) -> None:
        """Begin."""
        self._start_ns = monotonic_ns()

    def read(self, out: NDArray[np.uint8], timeout_s: float) -> Capture | None:  # noqa: ARG002
        """Copy the next picture when it is due."""
        due_ns = self._start_ns + round(self._number * 1e9 / RATE_HZ)
        time.sleep(max(0, due_ns - monotonic_ns()) / 1e9)
        np.copyto(out, self._pictures[self._number % len(self._pictures)])
        self._number += 1
        return Capture(captured_ns=due_ns, device_id=self._number)

    def stop(self) -> None:
        """Nothing to let go of."""


def format_of(pictures: NDArray[np.uint8]) -> CameraFormat:
    """Describe the pictures, which are (frames, height, width, 1)."""
    return CameraFormat(height=pictures.shape[1], width=pictures.shape[2], pixel_format="gray8", rate_hz=RATE_HZ)


def read_clip(path: str) -> NDArray[np.uint8]:
    """Decode all frames of a video as grey: (frames, height, width, 1) uint8."""
    with av.open(path) as container:
        frames = [np.asarray(frame.to_ndarray(format="gray"), np.uint8) for frame in container.decode(video=0)]
    return np.stack(frames)[..., None]


def record_ours(pictures: NDArray[np.uint8], folder: Path) -> None:
    """Record all pictures with our recorder."""
    recorder = Recorder(folder, SETTINGS, format_of(pictures))
    for number in range(len(pictures)):
        at_ns = round(number * 1e9 / RATE_HZ)
        capture = Capture(captured_ns=at_ns, device_id=number)
        recorder.put(Stamped(number, capture, number, at_ns, at_ns, range(0), "", ""), pictures[number])
    recorder.close()
    assert recorder.error is None


def record_ffmpeg(ffmpeg: str, raw: Path, pictures: NDArray[np.uint8], target: Path, piped: bool) -> None:
    """Record all pictures with the ffmpeg program."""
    size = f"{pictures.shape[2]}x{pictures.shape[1]}"
    source = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", size, "-r", f"{RATE_HZ:g}", "-i", "-" if piped else str(raw)]
    rate = [
        "-preset",
        "superfast",
        "-crf",
        "23",
        "-aq-mode",
        "0",
        "-tune",
        "zerolatency",
        "-bf",
        "0",
        "-g",
        f"{RATE_HZ:g}",
    ]
    command = [ffmpeg, "-v", "error", "-y", *source, "-c:v", "libx264", "-pix_fmt", "gray", *rate, "-threads", "1"]
    with subprocess.Popen([*command, str(target)], stdin=subprocess.PIPE if piped else subprocess.DEVNULL) as running:
        if running.stdin is not None:
            for number in range(len(pictures)):
                running.stdin.write(pictures[number].data)
            running.stdin.close()
    assert running.returncode == 0


def now() -> NDArray[np.float64]:
    """Seconds of the clock, and of the processor for this process and its children."""
    times = os.times()
    return np.array([times.elapsed, times.user + times.system + times.children_user + times.children_system])


def compare_speed(pictures: NDArray[np.uint8], rounds: int, folder: Path) -> None:
    """Print the first table."""
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        sys.exit("the program ffmpeg is not installed: apt-get install ffmpeg")
    raw, count = folder / "raw.gray", len(pictures)
    raw.write_bytes(pictures.tobytes())
    names = ["posestream", "ffmpeg, file", "ffmpeg, pipe"]
    seconds: dict[str, list[NDArray[np.float64]]] = {name: [] for name in names}
    sizes = {}
    for number in range(rounds):
        for name in names if number % 2 else reversed(names):
            place = folder / f"{name.replace(', ', '-')}-{number}"
            place.mkdir()
            before = now()
            if name == "posestream":
                record_ours(pictures, place)
            else:
                record_ffmpeg(ffmpeg, raw, pictures, place / "video.mp4", name.endswith("pipe"))
            seconds[name].append(now() - before)
            sizes[name] = (place / "video.mp4").stat().st_size
    version = subprocess.run([ffmpeg, "-version"], capture_output=True, check=True, text=True).stdout.split()[2]
    print(f"ffmpeg {version}; {count} frames of {pictures.shape[2]}x{pictures.shape[1]}, {rounds} rounds\n")
    rows = []
    for name in names:
        rates, ratios = count / np.median(seconds[name], 0), np.array(seconds[name]) / np.array(seconds["posestream"])
        by_clock, by_processor = (f"{np.median(r):.2f}x ({r.min():.2f} to {r.max():.2f})" for r in ratios.T)
        row = {
            "recorder": name,
            "bytes": sizes[name],
            "frames/s": f"{rates[0]:.0f}",
            "ours to its, by the clock": by_clock,
        }
        rows.append(row | {"frames/s of processor time": f"{rates[1]:.0f}", "ours to its": by_processor})
    print(markdown(rows))


def run_camera(pictures: NDArray[np.uint8], seconds: float, endpoint: str, record: bool) -> None:
    """Run a camera in this process and print the share of a core that it took."""
    camera, camera_format = PicturesCamera(pictures), format_of(pictures)
    info = StreamInfo(
        camera="top",
        endpoint=endpoint,
        height=camera_format.height,
        width=camera_format.width,
        pixel_format="gray8",
        rate_hz=RATE_HZ,
        truth_names=(),
    )
    context: zmq.Context[Any] = zmq.Context.instance()
    publisher = Publisher(context, endpoint, queue_bytes=64 * 2**20, message_bytes=info.frame_bytes)
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder), SETTINGS if record else None, camera_format)
        capture = CaptureThread(camera, camera_format, publisher, info, "0" * 32, 5.0, 0.0)
        time.sleep(1.0)  # the reader connects
        capture.begin(recorder, None)
        time.sleep(1.0)
        before, cpu = time.perf_counter(), time.process_time()
        time.sleep(seconds)
        share = (time.process_time() - cpu) / (time.perf_counter() - before)
        capture.end()
        recorder.close()
        publisher.close()
    lost = capture.lost_queue + capture.lost_camera + publisher.unsent
    print(json.dumps({"share": share, "frames": capture.captured, "lost": lost}))


def measure_share(clip: str, seconds: float) -> None:
    """Print the second table."""
    print(f"\n640x480 at {RATE_HZ:g} frames/s for {seconds:g} s\n")
    rows = []
    for record, publish in itertools.product((True, False), repeat=2):
        endpoint = local_endpoint("bench")
        command = [sys.executable, __file__, clip, "--seconds", str(seconds), "--camera", endpoint]
        child = subprocess.Popen([*command, *(["--record"] if record else [])], stdout=subprocess.PIPE, text=True)
        received = 0
        if publish:
            with FrameSubscriber(endpoint, timeout_s=60.0) as frames:  # ends when the camera says that it has ended
                received = sum(1 for _ in frames)
        out, _ = child.communicate()
        told = json.loads(out)
        does = [*(["records"] if record else []), *([f"publishes ({received} received)"] if publish else [])]
        row = {"what the process does": " and ".join(does) or "neither", "share of a core": f"{told['share']:.3f}"}
        rows.append(row | {"frames": told["frames"], "lost": told["lost"]})
    print(markdown(rows))


def main() -> None:
    """Print both tables, or be the camera's process of the second."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--camera", help=argparse.SUPPRESS)
    parser.add_argument("--record", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    pictures = read_clip(given.clip)
    if given.camera:
        run_camera(pictures, given.seconds, given.camera, given.record)
        return
    with tempfile.TemporaryDirectory() as folder:
        compare_speed(pictures, given.rounds, Path(folder))
    measure_share(given.clip, given.seconds)


if __name__ == "__main__":
    main()
