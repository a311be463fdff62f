"""Network families: what differs between kinds of network, one file each.

A family describes its layers once, in terms of `Layers`; Keras, ONNX, the table of tensors and the count of
multiply-adds all come from that one description. A new family is a file here, a row in `FAMILIES`, and its names in
the bundle's schema. Networks that run as the frozen graph that they were exported as (`family: frozen-graph`) have no
layers of ours and are none of these.
"""

from collections.abc import Sequence

from posestream.inference.families.family import Family
from posestream.inference.families.layers import Layers
from posestream.inference.families.leap import Leap
from posestream.inference.families.slim import Slim
from posestream.inference.families.student import Student
from posestream.inference.families.timm import Timm

__all__ = ["FAMILIES", "Family", "Layers", "head_channels"]

FAMILIES: dict[str, Family] = {family.name: family for family in (Slim(), Timm(), Student(), Leap())}
"""By the name that a bundle has for them."""


def head_channels(bodyparts: Sequence[str], *, location_refinement: bool) -> dict[str, int]:
    """Name and channels of each head of a network for these body parts."""
    heads = {"part_pred": len(bodyparts)}
    if location_refinement:
        heads["locref_pred"] = 2 * len(bodyparts)
    return heads
