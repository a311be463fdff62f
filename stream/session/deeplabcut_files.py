"""DeepLabCut's own result files for a recording, so that every tool of its world opens it.

Written as DeepLabCut's `analyze_videos` writes them: a row for every frame of the video, columns (scorer, body part,
coordinate), under the one key `df_with_missing`.
"""

import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from posestream.stream.disk.durable import replacing
from posestream.stream.wire.details import ModelDetails

__all__ = ["Analysis", "write_deeplabcut_files"]

FORMAT_OF_PANDAS = "0.15.2"
"""Version of its tables that every pandas wrote from 2014 on."""


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """What DeepLabCut's `_meta.pickle` says of an analysis."""

    start_s: float
    """Wall clock, seconds since 1970."""
    stop_s: float
    rate_hz: float
    height: int
    width: int
    batch_size: int


def write_deeplabcut_files(
    video: Path, model: ModelDetails, values: NDArray[np.float64], analysis: Analysis
) -> list[Path]:
    """Write `<video><scorer>.h5`, `.csv` and `_meta.pickle` next to a video.

    Parameters
    ----------
    video
        The video that the poses are of.
    model
        The model's specification.
    values
        (frames, K * 3) float64: x, y, likelihood of each body part; NaN where a frame has no pose.
    analysis
        How they came about.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    OSError
        Where they can't be written.
    """
    scorer, bodyparts = model.scorer, list(model.bodyparts)
    columns = pd.MultiIndex.from_product(
        [[scorer], bodyparts, ["x", "y", "likelihood"]], names=["scorer", "bodyparts", "coords"]
    )
    table = pd.DataFrame(values, columns=columns, index=pd.RangeIndex(len(values)).to_numpy())
    stem = video.with_name(video.stem + scorer)
    h5, text, meta = (stem.with_name(stem.name + ending) for ending in (".h5", ".csv", "_meta.pickle"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTables finds body parts' names unnatural
        with replacing(h5) as temporary:
            temporary.write_bytes(_hdf5(table))
    with replacing(text) as temporary:
        table.to_csv(temporary)
    with replacing(meta) as temporary, temporary.open("wb") as file:
        pickle.dump({"data": _meta(model, len(values), analysis)}, file, pickle.HIGHEST_PROTOCOL)
    return [h5, text, meta]


def _hdf5(table: pd.DataFrame) -> bytes:
    """Give the file's bytes: made in memory, so that a full disk is an OSError and not a broken HDF5 library."""
    with pd.HDFStore("in-memory.h5", mode="w", driver="H5FD_CORE", driver_core_backing_store=0) as opened:
        store: Any = opened  # its type does not know get_storer
        store.put("df_with_missing", table, format="table")
        if len(table):  # of an empty table pandas writes nothing
            # pandas from 3.1 on leaves it out, and without it the pandas of DeepLabCut cannot read the file
            store.get_storer("df_with_missing").attrs.pandas_version = FORMAT_OF_PANDAS
        store.flush()
        return bytes(store._handle.get_file_image())  # noqa: SLF001 - PyTables' file, which pandas does not show


def _meta(model: ModelDetails, frames: int, analysis: Analysis) -> dict[str, object]:
    """Metadata as the generation of DeepLabCut that trained the network writes it."""
    source = model.source
    torch = source.kind == "deeplabcut-pytorch"
    height, width = analysis.height, analysis.width
    config = {"pytorch-config": _torch_config(model)} if torch else {"DLC-model-config file": _config(model, analysis)}
    animals = {"individuals": ["individual_1"], "bodyparts": list(model.bodyparts), "unique_bodyparts": []}
    return {
        "start": analysis.start_s,
        "stop": analysis.stop_s,
        "run_duration": analysis.stop_s - analysis.start_s,
        "Scorer": model.scorer,
        **config,
        "fps": analysis.rate_hz,
        "batch_size": analysis.batch_size,
        "frame_dimensions": (width, height) if torch else (height, width),  # each generation in its own order
        "nframes": frames,
        "iteration (active-learning)": source.iteration or 0,
        "training set fraction": source.training_fraction or 0.95,
        "cropping": False,
        "cropping_parameters": [0, width, 0, height],
        **(animals if torch else {}),
    }


def _config(model: ModelDetails, analysis: Analysis) -> dict[str, object]:
    """Give what matters of `pose_cfg.yaml`."""
    bodyparts = list(model.bodyparts)
    return {
        "all_joints": [[index] for index in range(len(bodyparts))],
        "all_joints_names": bodyparts,
        "batch_size": analysis.batch_size,
        "location_refinement": model.location_refinement,
        "locref_stdev": model.locref_stdev,
        "mean_pixel": list(model.mean_pixel),
        "net_type": model.net_type,
        "num_joints": len(bodyparts),
        "stride": float(model.stride),
    }


def _torch_config(model: ModelDetails) -> dict[str, object]:
    """Give what matters of `pytorch_config.yaml`."""
    return {
        "method": "bu",
        "metadata": {
            "bodyparts": list(model.bodyparts),
            "individuals": ["individual_1"],
            "unique_bodyparts": [],
            "with_identity": False,
        },
        "net_type": model.net_type,
    }
