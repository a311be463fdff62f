"""What the witness films: cameras, containers, encoders and devices that misbehave, and how each run can end."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["CASES", "ENDS", "Case", "rig_text"]

ENDS = (
    "itself",
    "hangup",
    "camera",
    "supervisor",
    "all",
    "all, then recover",
    "closing: camera",
    "closing: supervisor",
    "closing: all",
)
"""By itself (Ctrl-C, a closed terminal), or by a kill of a process or of all, recording, closing, or recovering."""
WITH_POSES = ("itself", "inference", "poses", "camera", "supervisor", "inference + poses", "all", "closing: all")
NO_KILL = ("itself",)


@dataclass(frozen=True)
class Case:
    """A rig."""

    name: str
    cameras: tuple[dict[str, Any], ...]
    """Settings of each camera, `recording` among them."""
    ends: tuple[str, ...] = ENDS
    recording: dict[str, Any] = field(default_factory=dict)
    model: str = ""
    """The network; empty: none."""
    sound: bool = True
    """Whether a run that ends by itself loses nothing."""
    runs_s: tuple[float, float] = (0.8, 2.5)
    """The least and the most seconds from the first frame to the kill."""
    clock_back: bool = False

    @property
    def names(self) -> list[str]:
        """Names of the cameras."""
        return [f"cam{number}" for number in range(len(self.cameras))]


SMALL = {"width": 320, "height": 240, "rate_hz": 200.0, "noise": 20}
LARGE = {"width": 640, "height": 480, "rate_hz": 100.0, "noise": 12}
MKV = {"container": "mkv"}
SLOW = {"preset": "slower", "threads": 1, "queue_mib": 24}
"""With noise, far slower than the cameras: frames wait."""
LATE = {"late": [20, 41, 60, 120], "ids": True}
REPEATED = {"repeated": [15, 33, 90], "dropped": [50, 51, 70]}
SUSPENDED = {"suspend_at": [30, 80], "suspend_ms": 120}

CASES = (
    Case("mp4 320x240 at 200 Hz", (SMALL,)),
    Case("mkv 640x480 at 100 Hz", (LARGE,), recording=MKV),
    Case("slow encoder 320x240 at 200 Hz", (SMALL | {"noise": 63},), recording=SLOW, sound=False),
    Case("slow encoder 640x480 at 100 Hz, mkv", (LARGE | {"noise": 63},), recording=SLOW | MKV, sound=False),
    Case("medium encoder 640x480 at 100 Hz", (LARGE | {"noise": 40},), recording={"preset": "medium"}, sound=False),
    Case(
        "three cameras, mp4 and mkv, one slow",
        (
            SMALL | {"rate_hz": 100.0},
            SMALL | {"rate_hz": 60.0, "colour": True, "recording": MKV},
            SMALL | {"rate_hz": 100.0, "noise": 63, "recording": SLOW},
        ),
        sound=False,
    ),
    Case("late ids", (SMALL | LATE,)),
    Case("late ids, slow encoder", (SMALL | LATE | {"noise": 63},), recording=SLOW, sound=False),
    Case("repeated and dropped ids", (SMALL | REPEATED,), sound=False),
    Case("suspended 120 ms, no clock, mkv", (SMALL | SUSPENDED | {"clock": False},), recording=MKV),
    Case("captures 0.4 ms apart, mkv", (SMALL | {"close": [10, 11, 50, 90]},), recording=MKV),
    Case("clock set back", (SMALL | {"back_at": [60]},), clock_back=True),
    Case("no ids, no clock", (SMALL | {"ids": False, "clock": False},)),
    Case("no ids, slow encoder, mkv", (SMALL | {"ids": False, "noise": 63},), recording=SLOW | MKV, sound=False),
    Case(
        "poses 320x240 at 50 Hz", (SMALL | {"rate_hz": 50.0},), WITH_POSES, model="openfield-mouse", runs_s=(1.5, 4.0)
    ),
    Case(
        "poses, two cameras, mkv, late ids",
        (SMALL | LATE | {"rate_hz": 50.0}, SMALL | {"rate_hz": 50.0}),
        WITH_POSES,
        recording=MKV,
        model="openfield-mouse",
        runs_s=(1.5, 4.0),
    ),
    Case(
        "waits for a trigger",
        (SMALL | {"quiet_at": [100], "quiet_s": 13.0, "timeout_s": 60.0},),
        NO_KILL,
        runs_s=(7.0, 8.0),
    ),
)


def rig_text(case: Case, poses: str) -> str:
    """Give the rig file of a case.

    Parameters
    ----------
    case
        The case.
    poses
        Where poses are published.
    """
    lines = ["[session]", 'name = "witness"', 'output = "out"', "min_free_gib = 0.1", "stop_free_gib = 0.05"]
    lines += ["[network]", f'poses = "{poses}"', *_table("recording", case.recording)]
    if case.model:
        lines += _table("inference", {"model": case.model})
    for number, (name, options) in enumerate(zip(case.names, case.cameras, strict=True)):
        settings: dict[str, Any] = {"backend": "numbered", "log": f"{name}.log", "camera": number, **options}
        recording = settings.pop("recording", {})
        lines += _table(f"cameras.{name}", settings) + _table(f"cameras.{name}.recording", recording)
    return "\n".join(lines) + "\n"


def _table(name: str, settings: dict[str, Any]) -> list[str]:
    return [f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in settings.items())] if settings else []


def _toml(value: Any) -> str:
    return str(value) if isinstance(value, Path) else json.dumps(value)
