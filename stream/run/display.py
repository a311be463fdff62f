"""What a person sees in the terminal: a live status, events as they happen, and the result."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TextIO, cast

from msgspec import UnsetType
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from posestream.stream.disk.tables import LOST_STATES, PoseState
from posestream.stream.run.fitting import Part, fit_line, terminal_width, wrap
from posestream.stream.run.outcome import RunView
from posestream.stream.session.session_record import known
from posestream.stream.session.summary_record import CameraSummary, PoseSummary, RateSummary, SummaryRecord
from posestream.stream.wire.counters import (
    CameraCounters,
    InferenceCounters,
    StreamCounters,
    WindowCounters,
    WorkProgress,
)
from posestream.stream.wire.messages import Event
from posestream.stream.wire.wording import quoted

if TYPE_CHECKING:
    from posestream.stream.offline.analyze import AnalysisResult
    from posestream.stream.offline.backfill import BackfillResult

__all__ = ["TerminalDisplay", "print_analysis", "print_backfill", "print_summary"]

PLAIN_S = 5.0
"""Seconds between status lines where the output is no terminal."""
BAR = 60
"""Most characters of a progress bar."""
TITLE = 24
"""Characters of the first column of a run's result."""
NARROW = 64
"""Characters below which that column stands above the second."""
WAITING_MS = 500
"""Age of the oldest frame that waits for the encoder, from which it is shown."""
STYLES = {"info": "dim", "warning": "yellow", "error": "bold red"}
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
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def phase(self, text: str) -> None:
        """Say what is being done now."""
        if not self._quiet:
            self._print(text)

    def notice(self, text: str) -> None:
        """Say what must be said, however quiet."""
        self._print(text)

    def event(self, event: Event) -> None:
        """Show something that happened."""
        if not self._quiet or event.level != "info":
            self._print(f"{event.level}: {event.text}", STYLES[event.level])

    def problem(self, text: str) -> None:
        """Show what went wrong."""
        self._print(f"problem: {text}", STYLES["error"])

    def running(self, view: RunView) -> None:
        """Show where the run stands."""
        self._show(status_lines(view, self._width))

    def progress(self, work: Mapping[str, WorkProgress]) -> None:
        """Show where a backfill, an analysis or a check stands, in a terminal with a bar below."""
        if work:
            done, total = sum(one.done for one in work.values()), sum(one.total for one in work.values())
            bar = [ProgressBar(total, done, min(BAR, self._console.width - 1))] if total else []
            self._show([fit_line(progress_parts(work), self._width)], bar)

    @property
    def _width(self) -> int | None:
        return self._console.width - 1 if self._console.is_terminal else None

    def _print(self, text: str, style: str | None = None) -> None:
        self._console.print(wrap(text, self._width), style=style, markup=False)

    def _show(self, lines: list[str], below: Sequence[ProgressBar] = ()) -> None:
        if self._console.is_terminal and not self._quiet:
            if self._live is None:
                self._live = Live("", console=self._console, refresh_per_second=8, transient=True)
                self._live.start()
            self._live.update(Group(Text("\n".join(lines), no_wrap=True, overflow="crop"), *below))
        elif not self._quiet and time.monotonic() - self._shown >= PLAIN_S:
            self._shown = time.monotonic()
            self._console.print(" | ".join(lines), markup=False)


def progress_parts(work: Mapping[str, WorkProgress]) -> list[Part]:
    """Say where work on frames stands: of the whole, done and to do, frames a second, time left."""
    parts = []
    for name, one in work.items():
        left = f", {timedelta(seconds=round(one.left_s))} left" if one.done < one.total and one.left_s else ""
        counts = f"{one.done} of {one.total}" if one.total else f"{one.done}"  # a container may say nothing
        percent = f"{one.done / one.total:.0%}" if one.total else counts
        forms = (
            f"{name}: {counts} {one.unit}, {one.per_second:.1f}/s{left}",
            f"{name}: {counts} {one.unit}{left}",
            f"{counts}{left}",
            percent,
        )
        parts.append(Part(1, forms))
    return parts


def status_lines(view: RunView, width: int | None) -> list[str]:
    """Say where a run stands: on one line where that has the width for it, else with a line for each camera.

    What matters least is left out first; the time, the age of the poses, losses and the space on the disk go last.
    """
    cameras = {name: _camera_parts(view, name) for name in view.cameras}
    head, tail = _head_parts(view), _tail_parts(view, view.inference)
    whole = fit_line([*head, *(_joined(parts) for parts in cameras.values()), *tail], None)
    if width is None or len(whole) <= width:
        return [whole]
    return [fit_line([*head, *tail], width), *(fit_line(parts, width) for parts in cameras.values())]


def _head_parts(view: RunView) -> list[Part]:
    asked = f"/{view.asked_s:g}" if view.asked_s is not None else ""
    return [Part(10, (f"{view.seconds:.0f}{asked} s",))]


def _tail_parts(view: RunView, inference: InferenceCounters | None) -> list[Part]:
    parts = []
    if inference is not None and inference.age_p50_ms is not None:
        median, high = inference.age_p50_ms, inference.age_p99_ms or 0.0
        forms = (f"poses {median:.0f} ms old (99 %: {high:.0f})", f"poses {median:.0f} ms old", f"{median:.0f} ms")
        parts.append(Part(8, forms))
    if view.malformed:
        parts.append(Part(3, (f"{view.malformed} malformed messages dropped", f"{view.malformed} malformed", "")))
    if view.refused:
        parts.append(Part(4, (f"{view.refused} connections refused", f"{view.refused} refused", "")))
    free = f"{view.free_bytes / 2**30:.0f} GiB"
    return [*parts, Part(9, (f"{free} left", free))]


def _camera_parts(view: RunView, name: str) -> list[Part]:
    """Say how one camera does, as parts of a line of its own."""
    camera = view.cameras[name] or CameraCounters()
    frames, rate, lost = camera.rows_recorded, camera.rate_hz or 0, camera.losses
    parts = [
        Part(9, (f"{name}: {frames} frames at {rate:.1f}/s", f"{name}: {frames}, {rate:.1f}/s", f"{name}: {frames}"))
    ]
    if lost:
        each = ", ".join(f"{count} {loss}" for loss, count in lost.items())
        parts.append(Part(10, (each, f"{sum(lost.values())} lost")))
    else:
        parts.append(Part(1, ("none lost", "")))
    if camera.waiting_ms > WAITING_MS:
        behind = f"{camera.waiting_ms / 1e3:.1f} s behind"
        parts.append(Part(8, (f"encoder {behind}", behind)))
    if name in view.deaf:
        parts.append(Part(10, ("INFERENCE RECEIVES NO FRAMES", "INFERENCE: NO FRAMES")))
    if view.inference is not None:
        own = view.inference.cameras.get(name, StreamCounters())
        skipped = sum(own.skipped.values())
        parts.append(Part(5, (f"{own.poses} poses, {skipped} skipped", f"{own.poses} poses", "")))
    return parts


def _joined(parts: list[Part]) -> Part:
    return Part(0, (", ".join(part.forms[0] for part in parts),))


def print_summary(summary: SummaryRecord) -> None:
    """Print a run's result on stdout."""
    console = Console(highlight=False, soft_wrap=True)
    width = terminal_width(sys.stdout)
    console.print(f"{summary.seconds or 0:.1f} s, ended: {summary.ended}", markup=False)
    for name, camera in summary.cameras.items():
        console.print(f"camera {name}", style="bold", markup=False)
        for title, text in _camera_rows(camera):
            console.print(summary_row(title, text, width), markup=False)
    for problem in summary.problems:
        console.print(wrap(f"problem: {problem}", width), style="bold red", markup=False)
    console.print(f"session: {known(summary.folder, '')}", markup=False)


def summary_row(title: str, text: str, width: int | None) -> str:
    """Give a row of two columns, the second broken between words where the terminal is narrow."""
    if width is not None and width < NARROW:
        return wrap(f"  {title}\n{text}", width, 4)
    return wrap(f"  {title:<{TITLE}}{text}", width, TITLE + 2, hanging=True)


def print_backfill(result: "BackfillResult") -> None:
    """Print a backfill's result on stdout."""
    console, width = Console(highlight=False, soft_wrap=True), terminal_width(sys.stdout)
    if not result["backfilled"] and not result["without_pose"]:
        console.print("nothing to do: every frame of the video has a pose", markup=False)
    for name, camera in result["cameras"].items():
        done, missing = camera["backfilled"], camera["without_pose"]
        if done or missing:
            console.print(f"camera {name}: {done} frames backfilled, {missing} without a pose", markup=False)
    for problem in result["problems"]:
        console.print(wrap(f"problem: {problem}", width), style="bold red", markup=False)
    if result["stopped"] and result["without_pose"]:
        console.print(f"stopped; to resume: posestream backfill {quoted(result['folder'])}", markup=False)


def print_analysis(result: "AnalysisResult") -> None:
    """Print on stdout what became of each video."""
    console, width = Console(highlight=False, soft_wrap=True), terminal_width(sys.stdout)
    for video in result["videos"]:
        text: str = video["state"]
        if video["state"] == "done":
            text = f"{video['frames']} frames, {video.get('frames_per_second', 0):.1f} a second"
            text += f" ({video['resumed']} of them before this call)" if video.get("resumed") else ""
        elif video["state"] == "skipped":
            text = f"already analysed: {video['files'][0]} (--overwrite analyses it again)"
        elif video["state"] == "stopped":
            text = f"stopped after {video['frames']} frames" if video["frames"] else "stopped before its first frame"
        console.print(wrap(f"{video['video']}: {text}", width), markup=False)
        if follow := video.get("follow"):
            console.print(f"  {_windows(WindowCounters(**follow))}", markup=False)
        if video["state"] == "done":
            console.print(wrap(f"  {_files(video['files'])}", width, 4), markup=False)
    for problem in result["problems"]:
        console.print(wrap(f"problem: {problem}", width), style="bold red", markup=False)
    if result["stopped"]:
        console.print("stopped; the same command resumes here", markup=False)


def _camera_rows(camera: CameraSummary) -> Iterator[tuple[str, str]]:
    counters = known(camera.counters, None)
    if not isinstance(camera.remote, UnsetType):
        recorded = counters.rows_recorded if counters is not None else 0
        yield "on another machine", f"{camera.remote}, {recorded} frames recorded"
        return
    frames = known(camera.frames, {})
    yield "frames", _frames(frames, known(camera.rate_hz, RateSummary(asked=None, measured=None)))
    if (video := known(camera.video, None)) is not None:
        compression = f", compressed {video.compression:g}-fold" if video.compression else ""
        yield "video", f"{video.file}, {video.bytes / 2**20:.1f} MiB{compression}"
    if (poses := known(camera.poses, None)) is not None:
        yield "poses", _poses(poses, frames.get("captured", 0), known(camera.pose_states, {}))
    if (window := known(camera.window, None)) is not None:
        yield "following window", _windows(window)
    latency = known(camera.latency_ms, {})
    for title, stage in LATENCIES.items():
        if stage in latency:
            p = latency[stage]
            yield title, f"p50 {p['p50']:.1f}, p90 {p['p90']:.1f}, p99 {p['p99']:.1f}, max {p['max']:.1f} ms"
    if (error := known(camera.pose_error, None)) is not None:
        parts = ", ".join(f"{name} {px:.1f}" for name, px in error.parts.items())
        yield (
            "error to the truth",
            f"RMSE {error.rmse_px:.1f} px, median {error.median_px:.1f} px ({parts}), mean likelihood "
            f"{error.likelihood:.2f}",
        )
    if (clock := known(camera.clock, None)) is not None and (residual := clock.residual_ms):
        drift = f"{clock.drift_ppm:+.1f} ppm, " if clock.drift_ppm is not None else ""
        yield "device clock", f"{drift}arrivals later by p50 {residual['p50']:.2f}, max {residual['max']:.2f} ms"
    for remark in known(camera.remarks, []):
        yield "remark", remark
    if files := known(camera.files, []):
        yield "files", _files(files)


def _frames(frames: Mapping[str, int], rate: RateSummary) -> str:
    lost = ", ".join(f"{frames[state]} {state}" for state in LOST_STATES if frames.get(state))
    speed = f", {rate.measured:.2f}/s" if rate.measured else ""
    speed += f" (asked {rate.asked:g})" if rate.asked else ""
    return f"{frames.get('captured', 0)} captured, {frames.get('recorded', 0)} recorded, {lost or 'none lost'}{speed}"


def _poses(poses: PoseSummary, captured: int, states: Mapping[str, int]) -> str:
    skipped = ", ".join(f"{count} skipped ({cause})" for cause, count in poses.skipped.items())
    backfilled = states.get(PoseState.BACKFILLED)
    later = f"; {backfilled} backfilled" if backfilled else ""
    share = f" ({poses.recorded / captured:.1%} of the frames)" if captured else ""
    return f"{poses.recorded} live{share}, {skipped or 'none skipped'}{later}"


def _windows(window: WindowCounters) -> str:
    text = f"{window.windows} poses from windows, {window.whole} from whole frames"
    if window.checks:
        text += f"; {window.disagreed} of {window.checks} checks found the animal elsewhere"
    return text


def _files(files: list[str]) -> str:
    """Name files that begin alike once, with the ends that they have."""
    start = os.path.commonprefix(files)  # noqa: RUF071 - names, not folders, are alike
    return f"{start}{', '.join(file.removeprefix(start) for file in files)}" if len(files) > 1 else files[0]
