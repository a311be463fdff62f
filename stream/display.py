"""What a person sees in the terminal: a live status line, events as they happen, and the result."""

import contextlib
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, TextIO, cast

from rich.console import Console
from rich.live import Live

from posestream.stream.wire.control import Values
from posestream.stream.wire.messages import Event
from posestream.stream.wire.tables import LOST_STATES

__all__ = ["TerminalDisplay", "print_analysis", "print_backfill", "print_summary"]

PLAIN_S = 5.0
"""Seconds between status lines where the output is no terminal."""
BAR = 24
"""Characters of a progress bar."""
STYLES = {"info": "dim", "warning": "yellow", "error": "bold red"}
LOSSES = {"lost_camera": "lost-camera", "lost_queue": "lost-queue", "rows_encoder-error": "encoder-error"}
LATENCIES = {"exposure to subscriber": "exposure_to_subscriber", "of it, inference": "inference"}


class _Unwatched:
    """A stream for people whose terminal may be closed, or whose pipe nobody may read any more.

    Parameters
    ----------
    stream
        Where to write as long as that is possible.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, if there is anybody."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, if there is anybody."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class TerminalDisplay:
    """Shows a run on stderr, so that stdout stays free for results.

    Parameters
    ----------
    quiet
        Show nothing but warnings and errors.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        # A run does not end because nobody watches it any more.
        self._console = Console(file=cast("TextIO", _Unwatched(sys.stderr)), highlight=False, soft_wrap=True)
        self._quiet = quiet
        self._live: Live | None = None
        self._shown = 0.0

    def __enter__(self) -> "TerminalDisplay":
        if self._console.is_terminal and not self._quiet:
            self._live = Live("", console=self._console, refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def phase(self, text: str) -> None:
        """Say what is being done now."""
        if not self._quiet:
            self._console.print(text, markup=False)

    def event(self, event: Event) -> None:
        """Show something that happened."""
        if not self._quiet or event.level != "info":
            self._console.print(f"{event.level}: {event.text}", style=STYLES[event.level], markup=False)

    def problem(self, text: str) -> None:
        """Show what went wrong."""
        self._console.print(f"problem: {text}", style=STYLES["error"], markup=False)

    def running(self, view: dict[str, Any]) -> None:
        """Show where the run stands."""
        if self._live is not None:
            self._live.update(status_line(view))
        elif not self._quiet and time.monotonic() - self._shown >= PLAIN_S:
            self._shown = time.monotonic()
            self._console.print(status_line(view), markup=False)

    def progress(self, values: Values) -> None:
        """Show where a backfill or an analysis stands."""
        if self._live is not None:
            self._live.update(progress_line(values))
        elif not self._quiet and values and time.monotonic() - self._shown >= PLAIN_S:
            self._shown = time.monotonic()
            self._console.print(progress_line(values), markup=False)


def progress_line(values: Values) -> str:
    """Say in one line where work on frames stands: frames done and to do, frames a second, time left."""
    parts = []
    for name, camera in values.items():
        done, total, left_s = (float(camera.get(key) or 0) for key in ("done", "total", "left_s"))
        share = min(BAR, round(BAR * done / total)) if total else BAR
        rate = float(camera.get("per_second") or 0)
        left = f", {timedelta(seconds=round(left_s))} left" if done < total else ""
        bar = "━" * share + "─" * (BAR - share)
        of = f" of {total:.0f}" if total else ""  # a container may say nothing
        parts.append(f"{name}: {bar} {done:.0f}{of} {camera.get('unit', 'frames')}, {rate:.1f}/s{left}")
    return " | ".join(parts)


def status_line(view: dict[str, Any]) -> str:
    """Say in one line where a run stands: time, frames a second, losses by cause, poses and their age, disk left."""
    asked = f"/{view['asked_s']:g}" if view["asked_s"] is not None else ""
    parts = [f"{view['seconds']:.0f}{asked} s"]
    poses = view["inference"] or {}
    for name, values in view["cameras"].items():
        losses = ", ".join(f"{values[key]} {loss}" for key, loss in LOSSES.items() if values.get(key))
        part = f"{name}: {values.get('rows_recorded', 0)} frames at {values.get('rate_hz', 0):.1f}/s"
        part += f", {losses or 'none lost'}"
        if poses:
            own = poses.get(name, {})
            skipped = sum(count for key, count in own.items() if key.startswith("skipped_"))
            part += f", {own.get('poses', 0)} poses, {skipped} skipped"
        if name in view["deaf"]:
            part += ", INFERENCE RECEIVES NO FRAMES"
        parts.append(part)
    whole = poses.get("", {})
    if "age_p50_ms" in whole:
        parts.append(f"poses {whole['age_p50_ms']:.0f} ms old (99 %: {whole['age_p99_ms']:.0f})")
    if view["malformed"]:
        parts.append(f"{view['malformed']} malformed messages dropped")
    if view["refused"]:
        parts.append(f"{view['refused']} connections refused")
    parts.append(f"{view['free_bytes'] / 2**30:.0f} GiB left")
    return " | ".join(parts)


def print_summary(summary: dict[str, Any]) -> None:
    """Print a run's result on stdout."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{summary['seconds']:.1f} s, ended: {summary['ended']}", markup=False)
    for name, camera in summary["cameras"].items():
        console.print(f"camera {name}", style="bold", markup=False)
        for title, text in _camera_rows(camera):
            console.print(f"  {title:<24}{text}", markup=False)
    for problem in summary["problems"]:
        console.print(f"problem: {problem}", style="bold red", markup=False)
    console.print(f"session: {summary['folder']}", markup=False)


def print_backfill(result: dict[str, Any]) -> None:
    """Print a backfill's result on stdout."""
    console = Console(highlight=False, soft_wrap=True)
    if not result["backfilled"] and not result["without_pose"]:
        console.print("nothing to do: every frame of the video has a pose", markup=False)
    for name, camera in result["cameras"].items():
        done, missing = camera["backfilled"], camera["without_pose"]
        if done or missing:
            console.print(f"camera {name}: {done} frames backfilled, {missing} without a pose", markup=False)
    for problem in result["problems"]:
        console.print(f"problem: {problem}", style="bold red", markup=False)
    if result["stopped"] and result["without_pose"]:
        console.print(f"stopped; it goes on with: posestream backfill {result['folder']}", markup=False)


def print_analysis(result: dict[str, Any]) -> None:
    """Print on stdout what became of each video."""
    console = Console(highlight=False, soft_wrap=True)
    for video in result["videos"]:
        text = video["state"]
        if video["state"] == "done":
            text = f"{video['frames']} frames, {video['frames_per_second']:.1f} a second"
            text += f" ({video['resumed']} of them before)" if video["resumed"] else ""
        elif video["state"] == "skipped":
            text = f"has been analysed: {video['files'][0]} (--overwrite does it again)"
        elif video["state"] == "stopped":
            text = f"stopped after {video['frames']} frames"
        console.print(f"{video['video']}: {text}", markup=False)
        if follow := video.get("follow"):
            text = f"{follow['windows']} frames by a window, {follow['whole']} whole"
            if follow["checks"]:
                text += f"; of {follow['checks']} checks {follow['disagreed']} found it elsewhere"
            console.print(f"  {text}", markup=False)
        if video["state"] == "done":
            for file in video["files"]:
                console.print(f"  {file}", markup=False)
    for problem in result["problems"]:
        console.print(f"problem: {problem}", style="bold red", markup=False)
    if result["stopped"]:
        console.print("stopped; the same command goes on where it ended", markup=False)


def _camera_rows(camera: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "remote" in camera:
        counters = camera["counters"]
        yield "on another machine", f"{camera['remote']}, {counters.get('rows_recorded', 0)} frames recorded"
        return
    frames, rate = camera.get("frames", {}), camera.get("rate_hz", {})
    lost = ", ".join(f"{frames[state]} {state}" for state in LOST_STATES if frames.get(state))
    measured, asked = rate.get("measured"), rate.get("asked")
    speed = f", {measured:.2f}/s" if measured else ""
    speed += f" (asked {asked:g})" if asked else ""
    captured, recorded = frames.get("captured", 0), frames.get("recorded", 0)
    yield "frames", f"{captured} captured, {recorded} recorded, {lost or 'none lost'}{speed}"
    if video := camera.get("video"):
        compression = f", compressed {video['compression']:g}-fold" if video["compression"] else ""
        yield "video", f"{video['file']}, {video['bytes'] / 2**20:.1f} MiB{compression}"
    if poses := camera.get("poses"):
        skipped = ", ".join(f"{count} skipped ({cause})" for cause, count in poses["skipped"].items())
        backfilled = camera.get("pose_states", {}).get("backfilled")
        later = f"; {backfilled} backfilled" if backfilled else ""
        share = f" ({poses['recorded'] / captured:.1%} of the frames)" if captured else ""
        yield "poses", f"{poses['recorded']} live{share}, {skipped or 'none skipped'}{later}"
    if window := camera.get("window"):
        text = f"{window['windows']} poses by a window, {window['whole']} whole frames"
        if window["checks"]:
            text += f"; of {window['checks']} checks {window['disagreed']} found it elsewhere"
        yield "following window", text
    latency = camera.get("latency_ms", {})
    for title, stage in LATENCIES.items():
        if stage in latency:
            p = latency[stage]
            yield title, f"p50 {p['p50']:.1f}, p90 {p['p90']:.1f}, p99 {p['p99']:.1f}, max {p['max']:.1f} ms"
    if error := camera.get("pose_error"):
        parts = ", ".join(f"{name} {px:.1f}" for name, px in error["parts"].items())
        yield (
            "error to the truth",
            f"RMSE {error['rmse_px']:.1f} px, median {error['median_px']:.1f} px ({parts}), mean likelihood "
            f"{error['likelihood']:.2f}",
        )
    if residual := camera.get("clock", {}).get("residual_ms"):
        drift = camera["clock"]["drift_ppm"]
        rate = f"{drift:+.1f} ppm, " if drift is not None else ""
        yield "device clock", f"{rate}arrivals later by p50 {residual['p50']:.2f}, max {residual['max']:.2f} ms"
    for remark in camera.get("remarks", []):
        yield "remark", remark
    for file in camera.get("files", []):
        yield "file", file
