import msgspec
import numpy as np
import pandas as pd

from posestream.stream.session.truth import pose_error


def poses(**columns: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"frame_seq": [3, 4, 9], **columns})


def test_the_error_is_taken_where_both_know_a_frame() -> None:
    truth = pd.DataFrame(
        {"seq": [2, 3, 4], "snout_x": [0.0, 10.0, 20.0], "snout_y": [0.0, 10.0, 20.0], "tail_x": [1.0, 1.0, 1.0]}
    )
    found = pose_error(
        poses(snout_x=[13.0, 20.0, 0.0], snout_y=[14.0, 20.0, 0.0], snout_likelihood=[0.5, 1.0, 0.0]), truth
    )
    assert msgspec.to_builtins(found) == {
        "poses": 2,
        "rmse_px": 3.54,  # the root of (25 + 0) / 2
        "median_px": 2.5,
        "likelihood": 0.75,
        "parts": {"snout": 3.54},
    }


def test_what_the_frame_does_not_show_is_not_compared() -> None:
    found = pose_error(
        poses(
            snout_x=[13.0, 20.0, 0.0],
            snout_y=[14.0, 20.0, 0.0],
            snout_likelihood=[0.5, 1.0, 0.0],
            ear_x=[1.0] * 3,
            ear_y=[1.0] * 3,
            ear_likelihood=[0.1] * 3,
        ),
        pd.DataFrame(
            {
                "seq": [3, 4, 9],
                "snout_x": [10.0, np.nan, np.nan],
                "snout_y": [10.0, np.nan, np.nan],
                "ear_x": [np.nan] * 3,
                "ear_y": [np.nan] * 3,
            }
        ),
    )
    assert msgspec.to_builtins(found) == {
        "poses": 1,
        "rmse_px": 5.0,
        "median_px": 5.0,
        "likelihood": 0.5,
        "parts": {"snout": 5.0},
    }


def test_a_network_of_other_body_parts_has_no_error() -> None:
    truth = pd.DataFrame({"seq": [3], "snout_x": [1.0], "snout_y": [1.0]})
    assert pose_error(poses(paw_x=[1.0] * 3, paw_y=[1.0] * 3, paw_likelihood=[1.0] * 3), truth) is None
    assert pose_error(poses(snout_x=[1.0] * 3, snout_y=[1.0] * 3, snout_likelihood=[1.0] * 3)[:0], truth) is None
