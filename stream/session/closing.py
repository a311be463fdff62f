"""Closes a camera's folder, at the end of a run and whenever poses have come later: pose states, DeepLabCut's files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from posestream.stream.disk.tables import FrameState, PoseState
from posestream.stream.session.deeplabcut_files import Analysis, write_deeplabcut_files
from posestream.stream.session.pose_states import COLUMN, write_pose_states
from posestream.stream.session.session_record import SessionRecord
from posestream.stream.session.tables import pose_states, read_backfilled, read_frames, read_poses, recorded_poses
from posestream.stream.wire.messages import StreamInfo

__all__ = ["CameraTables", "close_camera", "read_camera"]


@dataclass(frozen=True, eq=False)
class CameraTables:
    """The tables of a camera's folder, and what they say together."""

    frames: pd.DataFrame
    """`frames.csv`, with the pose states as the tables of poses have it."""
    poses: pd.DataFrame | None
    """`poses.csv`; none where poses were not asked for."""
    backfilled: pd.DataFrame | None
    """`backfilled.csv`, where there is one."""
    told: bool
    """Whether `frames.csv` on disk has these pose states."""

    @property
    def pose_states(self) -> dict[str, int]:
        """Rows of `frames.csv` by pose state."""
        counts = self.frames[COLUMN].value_counts()
        return {state.value: int(counts.get(state.value, 0)) for state in PoseState}

    @property
    def recorded(self) -> pd.DataFrame:
        """Rows of the frames that are in the video, in its order."""
        return self.frames[self.frames["state"] == FrameState.RECORDED.value]

    @property
    def without_pose(self) -> NDArray[np.int64]:
        """Frames of the video that have no pose, by their place in it."""
        return np.flatnonzero(self.recorded[COLUMN] == PoseState.NONE.value)


def read_camera(folder: Path, *, inferred: bool) -> CameraTables:
    """Read the tables of a camera's folder.

    Parameters
    ----------
    folder
        The camera's folder.
    inferred
        Whether poses were asked for.

    Raises
    ------
    OSError, ValueError
        Where a table can't be read.
    """
    frames = read_frames(folder)
    poses, backfilled = (read_poses(folder), read_backfilled(folder)) if inferred else (None, None)
    states = pose_states(frames["seq"], poses, backfilled)
    told = COLUMN in frames and frames[COLUMN].equals(states)
    return CameraTables(frames.assign(**{COLUMN: states}), poses, backfilled, told)


def close_camera(folder: Path, tables: CameraTables, session: SessionRecord) -> list[str]:
    """Write DeepLabCut's files and the pose states; each file is replaced as a whole.

    Parameters
    ----------
    folder
        The camera's folder.
    tables
        Its tables.
    session
        The session's record.

    Returns
    -------
    list of str
        DeepLabCut's files, from the session's folder; none where there is no video or no network.

    Raises
    ------
    OSError, ValueError
        Where a file can't be written.
    """
    files: list[str] = []
    camera = session.cameras[folder.name]
    if session.inference is not None and tables.poses is not None and camera.video is not None:
        values = recorded_poses(tables.frames, tables.poses, tables.backfilled)
        analysis = _analysis(tables.frames, camera.stream, session.batch_size)
        written = write_deeplabcut_files(folder / camera.video, session.inference.model, values, analysis)
        files = [f"{folder.name}/{path.name}" for path in written]
    if not tables.told:
        write_pose_states(folder, tables.frames[COLUMN])
    return files


def _analysis(frames: pd.DataFrame, info: StreamInfo, batch_size: int) -> Analysis:
    walls = frames["wall_ns"].dropna().to_numpy(np.float64) / 1e9
    return Analysis(
        start_s=float(walls[0]) if len(walls) else 0.0,
        stop_s=float(walls[-1]) if len(walls) else 0.0,
        rate_hz=info.rate_hz or 0.0,
        height=info.height,
        width=info.width,
        batch_size=batch_size,
    )
