"""The pose of one frame on its way from the engine to the publisher."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posestream.stream.wire.messages import FrameHeader

__all__ = ["FramePose"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FramePose:
    """What is known of one pose; a filter makes others of it with `dataclasses.replace`.

    Stamps are of the monotonic clock of inference's machine, those in `frame` of the camera's.
    """

    frame: FrameHeader
    """Of the frame that it is the pose of, with the time of its exposure."""
    keypoints: NDArray[np.float32]
    """(K, 3): x and y in pixels of the frame, likelihood."""
    received_ns: int
    """When inference had the whole frame."""
    batched_ns: int
    """When the frame's batch was closed."""
    inferred_ns: int
    """When the engine had given the batch's keypoints back."""
    batch_size: int
    """Frames that were inferred together with this one, itself included."""
    filters: tuple[str, ...] = ()
    """Names of the filters that it went through, in order; none: it is the network's own."""
