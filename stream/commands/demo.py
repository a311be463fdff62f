"""The demo: a synthetic mouse, recorded and tracked with the network that comes with the package."""

from posestream.stream.rig import Rig, parse_rig

__all__ = ["DEMO_MODEL", "demo_rig"]

DEMO_MODEL = "openfield-mouse"
BUFFERS = 120
"""Frames that the simulated camera holds, four seconds of them: a machine that is busy with other things loses none."""


def demo_rig(model: str = DEMO_MODEL) -> Rig:
    """Give the rig of the demo: the arena at 320x240 and 30 frames a second, the freshest frame tracked."""
    return parse_rig(
        {
            "session": {"name": "demo"},
            "cameras": {
                "arena": {"backend": "synthetic", "width": 320, "height": 240, "rate_hz": 30.0, "buffers": BUFFERS}
            },
            "inference": {"model": model, "mode": "freshest"},
        },
        "of the demo",
    )
