"""The demo: a synthetic mouse, recorded and tracked with the network of a package that is installed beside this one."""

from importlib.util import find_spec
from pathlib import Path

from posestream.stream.rig import Rig, parse_rig

__all__ = ["demo_model", "demo_rig"]

MODEL_PACKAGE = "apollo_dlc_model_light"  # the folder of lmtracker that holds the network


def demo_model() -> Path | None:
    """Find the train folder of the network that the package lmtracker ships; none where it is not installed.

    The package is not imported: its code is not needed, and needs more than this project installs.
    """
    spec = find_spec(MODEL_PACKAGE)
    for location in (spec.submodule_search_locations or []) if spec is not None else []:
        for config in sorted(Path(location).glob("**/train/pose_cfg.yaml")):
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
