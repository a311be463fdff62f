"""The demo: a synthetic mouse, recorded and tracked with the network that another package ships."""

from importlib.util import find_spec
from pathlib import Path

from posestream.stream.rig import Rig, parse_rig

__all__ = ["demo_model", "demo_rig"]

FOLDER = Path(".cache/lmtracker")
"""Where the README's command puts the package lmtracker; relative to where the demo runs."""
PACKAGE = "apollo_dlc_model_light"
"""The part of lmtracker that holds the network, where lmtracker is installed as any other package."""


def demo_model() -> Path | None:
    """Find the train folder of the network that the package lmtracker ships; none where it is not there.

    The package is not imported: its code is not needed, and needs more than this project installs.
    """
    spec = find_spec(PACKAGE)
    installed = [Path(place) for place in spec.submodule_search_locations or []] if spec is not None else []
    for place in (FOLDER, *installed):
        for config in sorted(place.glob("**/train/pose_cfg.yaml")):
            return config.parent
    return None


def demo_rig(model: Path) -> Rig:
    """Give the rig of the demo: the arena at 320x240 and 30 frames a second, the freshest frame tracked."""
    return parse_rig(
        {
            "session": {"name": "demo"},
            "cameras": {"arena": {"backend": "synthetic", "width": 320, "height": 240, "rate_hz": 30.0}},
            "inference": {"model": str(model.absolute()), "mode": "freshest"},
        },
        "of the demo",
    )
