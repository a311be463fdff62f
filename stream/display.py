"""What a person sees in the terminal: a live status line, events as they happen, and the result."""

import time
from typing import Any, Literal

from rich.console import Console
from rich.live import Live
from rich.table import Table

from posestream.stream.wire.messages import Event

__all__ = ["TerminalDisplay", "print_summary"]

PLAIN_S = 5.0
"""Seconds between status lines where the output is no terminal."""
STYLES = {"info": "dim", "warning": "yellow", "error": "bold red"}
LOSSES = ("lost_camera", "lost_queue")


class TerminalDisplay:
    """Shows a run on stderr, so that stdout stays free for results.

    Parameters
    ----------
    quiet
        Show nothing but warnings and errors.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
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

    def running(self, view: dict[str, Any]) -> None:
        """Show where the run stands."""
        if self._live is not None:
            self._live.update(status_line(view))
        elif not self._quiet and time.monotonic() - self._shown >= PLAIN_S:
            self._shown = time.monotonic()
            self._console.print(status_line(view), markup=False)


def status_line(view: dict[str, Any]) -> str:
    """Say in one line where a run stands: time, frames a second, losses by cause, poses and their age, disk left."""
    asked = f"/{view['asked_s']:g}" if view["asked_s"] is not None else ""
    parts = [f"{view['seconds']:.0f}{asked} s"]
    poses = view["inference"] or {}
    for name, values in view["cameras"].items():
        losses = ", ".join(f"{values[key]} {key.replace('_', '-')}" for key in LOSSES if values.get(key))
        part = f"{name}: {values.get('rows_recorded', 0)} frames at {values.get('rate_hz', 0):.1f}/s, {losses or 'none lost'}"
        if poses:
            own = poses.get(name, {})
            skipped = sum(count for key, count in own.items() if key.startswith("skipped_"))
            part += f", {own.get('poses', 0)} poses, {skipped} skipped"
        parts.append(part)
    whole = poses.get("", {})
    if "age_p50_ms" in whole:
        parts.append(f"poses {whole['age_p50_ms']:.0f} ms old (99 %: {whole['age_p99_ms']:.0f})")
    parts.append(f"{view['free_bytes'] / 2**30:.0f} GiB left")
    return " | ".join(parts)


def print_summary(summary: dict[str, Any], to: Literal["stdout", "stderr"] = "stdout") -> None:
    """Print a run's result as tables."""
    console = Console(stderr=to == "stderr", highlight=False)
    table = Table(title=f"{summary['seconds']:.1f} s, ended: {summary['ended']}", title_justify="left")
    for heading in (
        "camera",
        "frames",
        "recorded",
        "lost",
        "frames/s",
        "video",
        "poses",
        "skipped",
        "to subscriber p50 / p99 ms",
    ):
        table.add_column(heading, justify="left" if heading == "camera" else "right", overflow="fold")
    for name, camera in summary["cameras"].items():
        frames, poses, video = camera.get("frames", {}), camera.get("poses"), camera.get("video")
        latency = camera.get("latency_ms", {}).get("exposure_to_subscriber")
        lost = sum(frames.get(state, 0) for state in ("lost-camera", "lost-queue", "encoder-error"))
        rate = camera.get("rate_hz", {}).get("measured")
        table.add_row(
            name,
            str(frames.get("captured", "-")),
            str(frames.get("recorded", "-")),
            str(lost),
            f"{rate:.2f}" if rate else "-",
            f"{video['bytes'] / 2**20:.1f} MiB, {video['compression']:g}:1" if video and video["compression"] else "-",
            str(poses["recorded"]) if poses else "-",
            ", ".join(f"{count} {cause}" for cause, count in poses["skipped"].items()) or "0" if poses else "-",
            f"{latency['p50']:.1f} / {latency['p99']:.1f}" if latency else "-",
        )
    console.print(table)
    for problem in summary["problems"]:
        console.print(problem, style="bold red", markup=False)
    console.print(f"session: {summary['folder']}", markup=False, soft_wrap=True)
