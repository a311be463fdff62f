import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from posestream.inference.errors import ModelError
from posestream.inference.training.labels import read_labels, split_frames

TABLE = Path("labeled-data/m1/CollectedData_me.csv")


def test_reads_places_and_keeps_missing_ones_missing(project) -> None:
    labels = read_labels(project)
    assert labels.bodyparts == ("snout", "leftear", "rightear")
    assert [frame.name for frame in labels.frames] == ["m1/img0.png", "m1/img1.png", "m1/img2.png"]
    assert np.isnan(labels.frames[1].keypoints[1]).all()
    assert np.isfinite(labels.frames[1].keypoints[[0, 2]]).all()
    x, y = labels.frames[0].keypoints[0]
    assert labels.frames[0].read()[round(y), round(x)].tolist() == [255, 0, 0]  # RGB


def test_h5_and_csv_say_the_same(project) -> None:
    from_csv = read_labels(project)
    table = project / TABLE
    frame = pd.read_csv(table, header=[0, 1, 2], index_col=0)
    for three_columns in (False, True):
        if three_columns:
            frame.index = pd.MultiIndex.from_tuples([tuple(path.split("/")) for path in frame.index])
        frame.to_hdf(table.with_suffix(".h5"), key="df_with_missing", mode="w")
        text = table.read_text()
        table.unlink()
        from_h5 = read_labels(project)
        table.write_text(text)
        for one, other in zip(from_csv.frames, from_h5.frames, strict=True):
            assert one.name == other.name
            np.testing.assert_array_equal(one.keypoints, other.keypoints)


def test_picture_in_three_columns_and_from_windows(project) -> None:
    expected = read_labels(project)
    table = project / TABLE
    lines = table.read_text().splitlines()
    three = [line.replace(",", ",,,", 1) for line in lines[:3]] + [line.replace("/", ",") for line in lines[3:]]
    windows = lines[:3] + [line.replace("/", "\\") for line in lines[3:]]
    for changed in (three, windows):
        table.write_text("\n".join(changed))
        for one, other in zip(expected.frames, read_labels(project).frames, strict=True):
            assert one.name == other.name
            np.testing.assert_array_equal(one.keypoints, other.keypoints)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("bodyparts,", "parts,", "line 2"),
        ("coords,x,y", "coords,x,x", "line 3"),
        ("img1.png,", "img1.png,a,", "line 5"),
        ("img2.png", "img9.png", "line 6"),
        ("snout", "nose", "nose"),
        ("bodyparts,", "individuals,", "several animals"),
    ],
)
def test_damaged_csv_is_named_with_its_line(project, old, new, said) -> None:
    table = project / TABLE
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(ModelError, match=said):
        read_labels(project)


def test_a_word_in_the_place_of_a_number(project) -> None:
    table = project / TABLE
    lines = table.read_text().splitlines()
    lines[3] = lines[3].rpartition(",")[0] + ",far"
    table.write_text("\n".join(lines))
    with pytest.raises(ModelError, match=r"line 4: .*far"):
        read_labels(project)


def test_several_animals_are_refused(project) -> None:
    config = project / "config.yaml"
    config.write_text(config.read_text().replace("multianimalproject:", "multianimalproject: true"))
    with pytest.raises(ModelError, match="several animals"):
        read_labels(project)


def test_no_labels(project) -> None:
    (project / TABLE).unlink()
    with pytest.raises(ModelError, match="no labels"):
        read_labels(project)


def test_every_frame_is_held_back_in_one_fold() -> None:
    held = [split_frames(11, folds=4, fold=fold, seed=3)[1] for fold in (1, 2, 3, 4)]
    assert sorted(number for fold in held for number in fold) == list(range(11))
    kept, back = split_frames(11, holdout=0.2, seed=3)
    assert len(back) == 3
    assert sorted(kept + back) == list(range(11))
    with pytest.raises(ModelError, match="fold 5"):
        split_frames(11, folds=4, fold=5)


def test_the_open_field(openfield_clip) -> None:
    labels = read_labels(openfield_clip.parent.parent)
    assert labels.bodyparts == ("snout", "leftear", "rightear", "tailbase")
    assert len(labels.frames) == 93
    np.testing.assert_array_equal(labels.frames[0].keypoints[0], [21.521, 265.428])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
@pytest.mark.timeout(60)
def test_a_pipe_that_nobody_writes_to_is_no_file(project) -> None:
    for name in (TABLE, TABLE.with_suffix(".h5"), "config.yaml"):
        path = project / name
        content = path.read_bytes() if path.exists() else None
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        if path.suffix == ".h5":
            (project / TABLE).unlink()
        with pytest.raises(ModelError, match="file"):
            read_labels(project)
        path.unlink()
        if content is not None:
            path.write_bytes(content)
