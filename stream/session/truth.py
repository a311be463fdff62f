"""How far poses of a simulated camera lie from where it drew the body parts."""

import numpy as np
import pandas as pd

from posestream.stream.session.summary_record import PoseError

__all__ = ["pose_error"]


def pose_error(poses: pd.DataFrame, truth: pd.DataFrame) -> PoseError | None:
    """Compare poses with the truth.

    Parameters
    ----------
    poses
        Rows of `poses.csv`.
    truth
        Rows of `truth.csv`: `seq`, and `<body part>_x` and `_y` in pixels of the recorded frame, NaN where it is not
        in the frame.

    Returns
    -------
    PoseError or None
        None where nothing can be compared.
    """
    names = [column[:-2] for column in truth.columns if column.endswith("_x") and column in poses.columns]
    both = poses.merge(truth, left_on="frame_seq", right_on="seq", suffixes=("", "_true"))
    offsets = [np.stack([both[f"{name}_{axis}"] - both[f"{name}_{axis}_true"] for axis in "xy"]) for name in names]
    squares = np.square(np.array(offsets, float)).sum(axis=1) if names else np.empty((0, 0))  # body parts x poses
    shown = np.isfinite(squares)
    if not shown.any():
        return None
    likelihoods = both[[f"{name}_likelihood" for name in names]].to_numpy().T
    return PoseError(
        poses=int(shown.any(axis=0).sum()),
        rmse_px=round(float(np.sqrt(squares[shown].mean())), 2),
        median_px=round(float(np.median(np.sqrt(squares[shown]))), 2),
        likelihood=round(float(likelihoods[shown].mean()), 3),
        parts={
            name: round(float(np.sqrt(row[seen].mean())), 2)
            for name, row, seen in zip(names, squares, shown, strict=True)
            if seen.any()
        },
    )
