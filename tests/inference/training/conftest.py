"""A small project as DeepLabCut leaves it, with pictures whose body parts are marked."""

from pathlib import Path

import cv2
import numpy as np
import pytest

BODYPARTS = ("snout", "leftear", "rightear")
CONFIG = "Task: square\nmultianimalproject:\nbodyparts: [snout, leftear, rightear]\n"


def csv_text(rows: list[tuple[str, list[float | None]]]) -> str:
    lines = [
        "scorer" + ",me" * 6,
        "bodyparts" + "".join(f",{part},{part}" for part in BODYPARTS),
        "coords" + ",x,y" * 3,
    ]
    for picture, values in rows:
        lines.append(",".join([picture, *("" if value is None else str(value) for value in values)]))
    return "\n".join(lines) + "\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Three pictures of 96x64; in the second, no left ear is labelled."""
    folder = tmp_path / "square-me-2026-01-01"
    video = folder / "labeled-data" / "m1"
    video.mkdir(parents=True)
    (folder / "config.yaml").write_text(CONFIG)
    rng = np.random.default_rng(0)
    rows: list[tuple[str, list[float | None]]] = []
    for number in range(3):
        picture = rng.integers(0, 60, (64, 96, 3), dtype=np.uint8)
        places = rng.uniform(10, 50, (3, 2)).round(2)
        for (x, y), colour in zip(places, ((0, 0, 255), (0, 255, 0), (255, 0, 0)), strict=True):
            cv2.circle(picture, (round(x), round(y)), 4, colour, -1)
        cv2.imwrite(str(video / f"img{number}.png"), picture)
        values: list[float | None] = [*places.ravel()]
        if number == 1:
            values[2:4] = [None, None]
        rows.append((f"labeled-data/m1/img{number}.png", values))
    (video / "CollectedData_me.csv").write_text(csv_text(rows))
    return folder
