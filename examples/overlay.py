"""Draws a session's poses onto frames of its video: python examples/overlay.py SESSION/CAMERA OUT.png [FRAMES]."""

import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd


def main() -> None:
    """Write one picture with the frames side by side, two to a row."""
    folder, out = Path(sys.argv[1]), sys.argv[2]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 4
    table = pd.read_hdf(next(folder.glob("video*.h5")))
    poses = table.to_numpy().reshape(len(table), -1, 3)
    posed = np.flatnonzero(~np.isnan(poses[:, 0, 0]))
    chosen = set(posed[np.linspace(0, len(posed) - 1, count).astype(int)].tolist())
    tiles = []
    with av.open(str(next(folder.glob("video.m*")))) as video:
        for number, frame in enumerate(video.decode(video=0)):
            if number not in chosen:
                continue
            picture = cv2.resize(frame.to_ndarray(format="bgr24"), None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
            for x, y, likelihood in poses[number]:
                at = (round(2 * x), round(2 * y))
                cv2.circle(picture, at, 7, (0, 0, 255), 2, cv2.LINE_AA)
                cv2.putText(picture, f"{likelihood:.2f}", (at[0] + 12, at[1] - 8), 0, 0.6, (0, 0, 255), 1, cv2.LINE_AA)
            tiles.append(picture)
    rows = [np.hstack(tiles[first : first + 2]) for first in range(0, len(tiles) - 1, 2)]
    cv2.imwrite(out, np.vstack(rows))


main()
