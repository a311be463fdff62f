"""`posestream doctor`: what this machine can do, why not, and what to do about it."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage
from typing import Literal

import msgspec
import psutil

from posestream.stream.commands.cameras import list_cameras, show_cameras
from posestream.stream.rig import Rig, RigError, check_cameras
from posestream.stream.run.outlook import expected_poses
from posestream.stream.run.rig_jobs import camera_job, inference_job
from posestream.stream.wire.details import MeasuredNetwork
from posestream.stream.wire.messages import StreamInfo

__all__ = ["Finding", "examine"]

HARDWARE = {
    "h264_nvenc": "an NVIDIA GPU with its driver",
    "h264_qsv": "an Intel GPU with its driver",
    "h264_videotoolbox": "macOS",
    "h264_amf": "an AMD GPU with its driver",
    "h264_mf": "Windows",
    "h264_v4l2m2m": "a board with a video encoder (Video4Linux)",
}
"""H.264 encoders beside libx264, and what they need."""
SIDE = 256
"""Pixels of the test picture's sides; hardware encoders refuse very small ones."""
WRITE_BYTES = 128 * 2**20
SLOW_DISK_MB_S = 20.0
"""MB/s; the compressed video of a large camera takes a few."""
TRIAL_S = 300.0
LOOK_S = 60.0
BUSY_S = 0.5
BUSY_PERCENT = 25.0
"""Share of the processor that others use, from which times measured here say little."""
LATE_MS = 2.0
RMEM_BYTES = 10 * 2**20
"""What GigE Vision wants in its socket: frames come as a burst of packets."""
USBFS_MB = 256
JUMBO_MTU = 8000


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    part: str
    """System, encoder, camera, engine, poses, network, disk or clock."""
    level: Literal["ok", "note", "problem"]
    """A note is worth knowing; a problem keeps posestream from its work."""
    text: str
    advice: str = ""
    """What to do."""


def examine(output: Path, rig: Rig | None, rig_folder: Path) -> Iterator[Finding]:
    """Look at everything, one thing after the other.

    Parameters
    ----------
    output
        Folder that sessions go to.
    rig
        A rig whose encoders, cameras and network are tried, too.
    rig_folder
        Folder from which its relative paths are taken.
    """
    yield from _system()
    yield from _encoders(rig)
    yield from _cameras()
    streams: list[StreamInfo] = []
    if rig is not None:
        yield from look_at_cameras(rig, rig_folder, streams)
    yield from look_at_load()
    yield from _engines(rig, rig_folder, streams)
    yield from _buffers()
    yield from _disk(output)
    yield from _clock()


def _system() -> Iterator[Finding]:
    memory = psutil.virtual_memory()
    text = (
        f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores, "
        f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB memory free"
    )
    yield Finding("system", "ok", text)
    if memory.available < 2 * 2**30:
        yield Finding("system", "note", "under 2 GiB of memory are free", "close other programs before an experiment")
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    if governor.exists() and (word := governor.read_text().strip()) == "powersave":
        advice = "for steady latencies: sudo cpupower frequency-set -g performance"
        yield Finding("system", "note", f"the processor's governor is {word}", advice)


def look_at_load() -> Iterator[Finding]:
    """Say where other programs would spoil what is timed next."""
    percent = psutil.cpu_percent(interval=BUSY_S)
    if percent > BUSY_PERCENT:
        text = f"other programs use {percent:.0f} % of the processor, so the speeds below come out too low"
        yield Finding("system", "note", text, "close them and run doctor again")


def _encoders(rig: Rig | None) -> Iterator[Finding]:
    import av

    from posestream.acquisition.camera import CameraFormat
    from posestream.acquisition.encoder import EncoderError, VideoWriter
    from posestream.stream.run.rig_jobs import recording_settings
    from posestream.stream.wire.settings import RecordingSettings

    picture = CameraFormat(height=SIDE, width=SIDE, pixel_format="rgb24", rate_hz=30.0)
    asked = {name: rig.recording_of(name) for name in rig.cameras} if rig is not None else {}
    for name, table in asked.items():
        settings = recording_settings(table)
        try:
            VideoWriter(None, settings, picture)
            yield Finding("encoder", "ok", f"camera {name}: {settings.codec} opens with the rig's settings")
        except EncoderError as error:
            yield Finding("encoder", "problem", f"camera {name}: {error}", "libx264 is always there")
    opened, refused = [], []
    for codec in ("libx264", *HARDWARE):
        taken = "nv12" if codec == "h264_qsv" else "yuv420p"
        try:
            VideoWriter(None, RecordingSettings(codec=codec, preset=None, crf=None, pixel_format=taken), picture)
            opened.append(codec)
        except EncoderError:
            refused.append(f"{codec} (needs {HARDWARE.get(codec, 'PyAV with libx264')})")
    versions = f"FFmpeg {av.ffmpeg_version_info}, PyAV {av.__version__}"
    if opened:
        yield Finding("encoder", "ok", f"{versions}: {', '.join(opened)}")
    else:
        yield Finding("encoder", "problem", f"{versions}: no encoder opens", "install PyAV again: pip install -U av")
    if refused:
        yield Finding("encoder", "note", f"not on this machine: {', '.join(refused)}")


def look_at_cameras(rig: Rig, rig_folder: Path, streams: list[StreamInfo]) -> Iterator[Finding]:
    """Open the cameras of the rig for a moment; what they will publish is added to `streams`."""
    try:
        check_cameras(rig)
    except RigError as error:
        yield Finding("camera", "problem", str(error))
        return
    for name, table in rig.cameras.items():
        if table.remote:
            yield Finding("camera", "note", f"camera {name}: on another machine; run doctor there")
            continue
        job = camera_job(rig, name, rig_folder, "doctor", "")
        try:
            found = msgspec.json.decode(_ask("posestream.acquisition.look", msgspec.json.encode(job), LOOK_S))
        except _NoAnswerError as error:
            yield Finding("camera", "problem", f"camera {name}: {error}")
            continue
        if found["error"]:
            yield Finding("camera", "problem", f"camera {name}: {found['error']}")
            continue
        info = msgspec.convert(found["stream"] | {"rate_hz": found["rate_asked_hz"]}, StreamInfo)
        streams.append(info)
        rate = f" at {info.rate_hz:g} frames/s" if info.rate_hz else ""
        text = f"camera {name}: {found['description']}, {info.width}x{info.height} {info.pixel_format}{rate}"
        yield Finding("camera", "ok", text)


class _NoAnswerError(Exception):
    """A process that was to try something did not say how it went; the text is for people."""


def _ask(module: str, given: bytes, timeout_s: float) -> bytes:
    """Run a module in a process of its own, and give what it prints."""
    command = [sys.executable, "-m", module]
    try:
        return subprocess.run(command, input=given, capture_output=True, timeout=timeout_s, check=True).stdout
    except subprocess.TimeoutExpired:
        raise _NoAnswerError(f"no answer within {timeout_s:g} s") from None
    except subprocess.CalledProcessError as error:
        last = (error.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        raise _NoAnswerError(f"the process that tried it ended with status {error.returncode}: {last}") from None


def _engines(rig: Rig | None, rig_folder: Path, streams: list[StreamInfo]) -> Iterator[Finding]:
    table = rig.inference if rig is not None else None
    given = b""
    if rig is not None and table is not None and not table.remote:
        given = msgspec.json.encode(inference_job(rig, rig_folder, "doctor", streams))
    try:
        found = json.loads(_ask("posestream.inference.live.trial", given, TRIAL_S))
    except _NoAnswerError as error:
        yield Finding("engine", "problem", f"the engines: {error}")
        return
    if found["error"]:
        yield Finding("engine", "problem", found["error"])
    for trial in found["trials"]:
        on = f" on {trial['device']}" if trial["device"] else ""
        name = f"{trial['engine']} {trial['precision']}{on}"
        if trial["error"]:  # one that is not for this machine or model is nothing to mend, unless there is no other
            yield Finding("engine", "problem" if trial["engine"] == "auto" else "note", f"{name}: {trial['error']}")
            continue
        speed = f"{trial['frames_per_second']:.1f} frames/s of 320x240, one at a time, with {found['model']}"
        if trial["chosen"]:
            yield Finding("engine", "ok", f"auto takes {name} ({trial['chosen']})")
        else:
            yield Finding("engine", "ok", f"{name}: {speed}")
    if found["details"] and table is not None:
        outlook = expected_poses(msgspec.convert(found["details"], MeasuredNetwork), streams, table)
        yield Finding("poses", "note" if outlook.advice else "ok", outlook.text, outlook.advice)


def _cameras() -> Iterator[Finding]:
    for found in list_cameras():
        level: Literal["ok", "note"] = "note" if found["error"] else "ok"
        for line in show_cameras([found]):
            yield Finding("camera", level, line)


def _buffers() -> Iterator[Finding]:
    for name, stats in sorted(psutil.net_if_stats().items()):
        if not stats.isup or stats.mtu >= 65_535 or stats.speed < 1000:
            continue
        text = f"{name}: {stats.speed / 1000:g} Gbit/s, packets of {stats.mtu} bytes"
        if stats.mtu < JUMBO_MTU:
            advice = "for a GigE camera on this port, set its MTU to 9000 (jumbo frames), at the camera, too"
            yield Finding("network", "note", text, advice)
        else:
            yield Finding("network", "ok", text)
    rmem = Path("/proc/sys/net/core/rmem_max")
    if rmem.exists():
        size = int(rmem.read_text())
        text = f"sockets may hold {size / 2**20:.1f} MiB of received packets"
        if size < RMEM_BYTES:
            advice = f"for GigE cameras: sudo sysctl -w net.core.rmem_max={RMEM_BYTES}"
            yield Finding("network", "note", text, advice)
        else:
            yield Finding("network", "ok", text)
    usbfs = Path("/sys/module/usbcore/parameters/usbfs_memory_mb")
    if usbfs.exists():
        size = int(usbfs.read_text())
        text = f"USB cameras share {size or 'any number of'} MB of buffers"
        if 0 < size < USBFS_MB:
            advice = f"for USB3 Vision cameras: echo 1000 | sudo tee {usbfs}"
            yield Finding("network", "note", text, advice)
        else:
            yield Finding("network", "ok", text)


def _disk(output: Path) -> Iterator[Finding]:
    folder = next(place for place in (output.absolute(), *output.absolute().parents) if place.is_dir())
    probe = folder / f".posestream-{os.getpid()}"
    block = os.urandom(2**20)
    try:
        free = disk_usage(folder).free
        if free < 4 * WRITE_BYTES:
            yield Finding("disk", "problem", f"{folder} has {free / 2**30:.1f} GiB free", "make room")
            return
        began = time.perf_counter()
        with probe.open("wb", buffering=0) as file:
            for _ in range(WRITE_BYTES // len(block)):
                file.write(block)
            os.fsync(file.fileno())
        speed = WRITE_BYTES / 1e6 / (time.perf_counter() - began)
    except OSError as error:
        yield Finding("disk", "problem", f"{folder} can't be written to: {error.strerror}", "choose another folder")
        return
    finally:
        probe.unlink(missing_ok=True)
    text = f"{folder}: {free / 2**30:.0f} GiB free, written at {speed:.0f} MB/s"
    if speed < SLOW_DISK_MB_S:
        yield Finding("disk", "note", text, "record to a local SSD")
    else:
        yield Finding("disk", "ok", text)


def _clock() -> Iterator[Finding]:
    late = []
    for _ in range(50):
        began = time.perf_counter()
        time.sleep(0.001)
        late.append((time.perf_counter() - began) * 1e3 - 1.0)
    worst = sorted(late)[-3]
    step_ns = time.get_clock_info("monotonic").resolution * 1e9
    text = f"steps of {step_ns:.0f} ns; woken {worst:.2f} ms late at worst when asked for 1 ms"
    advice = "other programs keep the processor; close them before an experiment" if worst > LATE_MS else ""
    yield Finding("clock", "note" if advice else "ok", text, advice)
