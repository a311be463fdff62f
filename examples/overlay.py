"""Draws a session's poses onto frames of its video: python examples/overlay.py SESSION/CAMERA OUT.png [FRAMES]."""

import argparse
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from posestream.stream.disk.video_files import reading_video

COLOURS = ((60, 76, 231), (219, 152, 52), (18, 156, 243), (113, 204, 46), (182, 89, 155))
"""Blue, green and red of a body part's circle."""


def main() -> None:
    """Write one picture with the frames side by side, two to a row."""
    parser = argparse.ArgumentParser(description="Draw a session's poses onto frames of its video.")
    parser.add_argument("folder", metavar="SESSION/CAMERA", type=Path, help="a camera's folder in a session's")
    parser.add_argument("out", metavar="OUT.png", help="the picture to write")
    parser.add_argument("count", metavar="FRAMES", type=int, nargs="?", default=4, help="how many; %(default)s")
    given = parser.parse_args()
    folder, out, count = given.folder, given.out, max(2, given.count)
    tables, videos = sorted(folder.glob("video*.csv")), sorted(folder.glob("video.m*"))
    if not tables or not videos:
        parser.error(f"{folder} has no video with DeepLabCut's files; name the camera's folder in a session")
    table = pd.read_csv(tables[0], header=[0, 1, 2], index_col=0)
    parts = list(dict.fromkeys(table.columns.get_level_values("bodyparts")))
    poses = table.to_numpy().reshape(len(table), -1, 3)
    posed = np.flatnonzero(~np.isnan(poses[:, 0, 0]))
    chosen = set(posed[np.linspace(0, len(posed) - 1, count).astype(int)].tolist())
    tiles = []
    with reading_video(videos[0]) as (video, stream):
        for number, frame in enumerate(video.decode(stream)):
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
