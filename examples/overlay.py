"""Draws a session's poses onto frames of its video: python examples/overlay.py SESSION/CAMERA OUT.png [FRAMES]."""

import sys
from pathlib import Path

import av
import cv2
import numpy as np

from posestream.inference.hdf_tables import read_hdf_table

COLOURS = ((60, 76, 231), (219, 152, 52), (18, 156, 243), (113, 204, 46), (182, 89, 155))
"""Blue, green and red of a body part's circle."""


def main() -> None:
    """Write one picture with the frames side by side, two to a row."""
    folder, out = Path(sys.argv[1]), sys.argv[2]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 4
    table = read_hdf_table(next(folder.glob("video*.h5")))  # pandas.read_hdf runs what a stranger's file says
    parts = list(dict.fromkeys(part for _, part, _ in table.columns))
    poses = table.values.reshape(len(table.values), -1, 3)
    posed = np.flatnonzero(~np.isnan(poses[:, 0, 0]))
    chosen = set(posed[np.linspace(0, len(posed) - 1, count).astype(int)].tolist())
    tiles = []
    with av.open(str(next(folder.glob("video.m*")))) as video:
        for number, frame in enumerate(video.decode(video=0)):
            if number not in chosen:
                continue
            picture = cv2.resize(frame.to_ndarray(format="bgr24"), None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
            for part, (x, y, likelihood) in enumerate(poses[number]):
                colour = COLOURS[part % len(COLOURS)]
                cv2.circle(picture, (round(2 * x), round(2 * y)), 7, colour, 2, cv2.LINE_AA)
                text = f"{parts[part]} {likelihood:.2f}"
                cv2.putText(picture, text, (50, 60 + 22 * part), 0, 0.6, colour, 2, cv2.LINE_AA)
            tiles.append(picture)
    rows = [np.hstack(tiles[first : first + 2]) for first in range(0, len(tiles) - 1, 2)]
    cv2.imwrite(out, np.vstack(rows))


main()
