"""How many poses a second to expect of a rig here, from what was measured, and what to change."""

from collections.abc import Collection
from dataclasses import dataclass

from posestream.stream.rig import InferenceTable
from posestream.stream.wire.details import MeasuredNetwork
from posestream.stream.wire.messages import StreamInfo

__all__ = ["Outlook", "expected_poses"]

TIGHT = 0.8
"""Share of the time in which the network works, from which other work on the machine makes it skip frames."""


@dataclass(frozen=True)
class Outlook:
    """What to expect."""

    text: str
    """A sentence."""
    advice: str
    """What to change where the network will not keep up; empty where it will."""
    poses_per_second: dict[str, float]
    """By camera."""
    load: float | None
    """Share of the time in which the network works; above 1 it can't keep up. None where a camera has no rate."""


def expected_poses(network: MeasuredNetwork, streams: Collection[StreamInfo], table: InferenceTable) -> Outlook:
    """Say how many poses a second to expect.

    Parameters
    ----------
    network
        The network, timed on frames like those that will come.
    streams
        What the cameras publish.
    table
        `[inference]` of the rig.
    """
    frame_s = {name: expected.frame_ms / 1e3 for name, expected in network.expected.items()}
    rates = {info.camera: info.rate_hz for info in streams}
    known = {name: rate for name, rate in rates.items() if rate}
    load = sum(rate * frame_s[name] for name, rate in known.items()) if len(known) == len(rates) else None
    if load is None:
        each = {name: 1 / seconds / len(frame_s) for name, seconds in frame_s.items()}
    else:
        each = {name: rate / max(1.0, load) for name, rate in known.items()}
    possible = len(frame_s) / sum(frame_s.values())
    text = f"expect about {_number(sum(each.values()))} poses/s: {network.name} takes up to {_number(possible)} "
    text += f"frames/s here ({_how(network, streams)})"
    if load is not None:
        text += f", the camera{'s' if len(rates) > 1 else ''} give{'' if len(rates) > 1 else 's'} "
        text += f"{_number(sum(known.values()))}"
    if load is None or load <= TIGHT:
        return Outlook(text, "", each, load)
    verdict = f"about {1 / load:.0%} of the frames get a live pose" if load > 1 else "that is tight"
    return Outlook(text, f"{verdict}; for more: {_changes(network, table)}", each, load)


def _how(network: MeasuredNetwork, streams: Collection[StreamInfo]) -> str:
    sizes = ", ".join(dict.fromkeys(f"{info.width}x{info.height}" for info in streams))
    expected = list(network.expected.values())
    batch, window = max(one.batch_size for one in expected), expected[0].window
    batches = "one frame at a time" if batch == 1 else f"batches of {batch}"
    windowed = f", windows of {window[0]}x{window[1]}" if window else ""
    return f"{network.engine} {network.precision}, {sizes}{windowed}, {batches}"


def _changes(network: MeasuredNetwork, table: InferenceTable) -> str:
    ways = ["a smaller frame (view or binning)"]
    ways.append(
        "smaller sides in [inference.window]" if table.window else "[inference.window], which follows the animal"
    )
    if network.precision != "int8":
        ways.append('precision = "int8" (posestream model optimize)')
    if table.mode == "every-frame":
        ways.append('mode = "freshest", so that poses stay fresh')
    ways.append("a smaller network")
    after = "" if table.backfill else "; backfill = true adds the missing poses after the run"
    return f"{', '.join(ways[:-1])} or {ways[-1]}{after}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"
