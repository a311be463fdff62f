"""How far poses lie from labels, at every scale, in pixels of the picture as it was labelled."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posestream.inference.training.augment import scaled
from posestream.inference.training.labels import LabelledFrame

__all__ = ["FACTORS", "Errors", "evaluate"]

FACTORS = (1.0, 0.5, 0.25)

Poses = NDArray[np.float32]


@dataclass(frozen=True)
class Errors:
    """Distances between poses and labels, whatever the likelihood."""

    factor: float
    """By which the pictures were scaled before the network saw them."""
    labels: int
    """How many labels were compared."""
    rmse_px: float
    """Root of the mean square distance, over all body parts; NaN where there are no labels, as below."""
    median_px: float
    parts: dict[str, float]
    """Root of the mean square distance of each body part, pixels."""
    likelihood: float
    """Mean, where there is a label."""


def evaluate(
    predict: Callable[[NDArray[np.uint8]], Poses],
    bodyparts: Sequence[str],
    frames: Sequence[LabelledFrame],
    factors: Sequence[float] = FACTORS,
) -> list[Errors]:
    """Compare poses with labels.

    Parameters
    ----------
    predict
        From RGB uint8 (B, H, W, 3) to poses (B, K, 3).
    bodyparts
        Names of the K body parts.
    frames
        Labelled frames.
    factors
        Scales, 1 being the picture as it is.
    """
    found = []
    for factor in factors:
        distances = np.full((len(frames), len(bodyparts)), np.nan)
        likelihoods = np.full((len(frames), len(bodyparts)), np.nan)
        for number, frame in enumerate(frames):
            picture = frame.read()
            small, _ = scaled(picture, frame.keypoints, factor)
            pose = predict(small[None])[0].astype(np.float64)
            ratio = np.array([small.shape[1] / picture.shape[1], small.shape[0] / picture.shape[0]])
            places = (pose[:, :2] + 0.5) / ratio - 0.5
            distances[number] = np.hypot(*(places - frame.keypoints).T)
            likelihoods[number] = np.where(np.isfinite(distances[number]), pose[:, 2], np.nan)
        seen = np.isfinite(distances)
        found.append(
            Errors(
                factor=factor,
                labels=int(seen.sum()),
                rmse_px=_rms(distances[seen]),
                median_px=float(np.median(distances[seen])) if seen.any() else float("nan"),
                parts={part: _rms(distances[seen[:, number], number]) for number, part in enumerate(bodyparts)},
                likelihood=float(likelihoods[seen].mean()) if seen.any() else float("nan"),
            )
        )
    return found


def _rms(distances: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(distances**2))) if distances.size else float("nan")
