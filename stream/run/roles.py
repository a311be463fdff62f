"""The table of roles: every kind of process of a run is a row. The supervisor does for each what its row says.

A new role is a row here and a module, which serves a `posestream.stream.wire.process.Role`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from posestream.stream.rig import Rig
from posestream.stream.run.rig_jobs import camera_job, inference_job
from posestream.stream.session.record import Session
from posestream.stream.wire.control import Armed
from posestream.stream.wire.counters import (
    BackfillCounters,
    CameraCounters,
    InferenceCounters,
    PoseRecorderCounters,
    ProcessCounters,
)
from posestream.stream.wire.jobs import BackfillJob, CameraJob, InferenceJob, Job, PoseRecorderJob
from posestream.stream.wire.messages import StreamInfo

__all__ = ["ROLES", "Briefing", "Death", "Place", "RoleRow", "row_of", "streams_of"]

OPEN_S = 120.0
"""Seconds in which cameras must have opened."""
ARM_S = 300.0
"""Seconds in which any other process must be ready."""


class Death(Enum):
    """What it means for the run when a process of a role fails or dies. It is a problem in the summary in any case."""

    ENDS_RUN = "ends the run"
    REPORTED = "is reported"
    """The recording continues."""


@dataclass(frozen=True)
class Place:
    """A process that a rig asks for."""

    name: str = ""
    """Its name, of a role of which a run may have several."""
    remote: bool = False
    """Whether somebody starts it by hand on another machine."""
    plugin: str = ""
    """Whose code may be at fault where it hangs, or ends without a word: `its backend "x"`."""


@dataclass(frozen=True)
class Briefing:
    """What a job is made of."""

    rig: Rig
    rig_folder: Path
    """Folder from which its relative paths are taken."""
    session: Session
    armed: Mapping[str, Armed]
    """What the processes of the roles that the row needs said when they were armed: by `camera:NAME`, or by role."""


@dataclass(frozen=True, kw_only=True)
class RoleRow:
    """A role. Rows stand in the order in which their processes are armed."""

    name: str
    """Name of its processes on the wire; followed by `:NAME` where a run may have several."""
    module: str
    """What `python -m` runs."""
    title: str
    """What people call a process; `{name}` is its name."""
    places: Callable[[Rig], Sequence[Place]]
    """Gives the processes that a rig asks for."""
    job: Callable[[Briefing, Place], Job]
    """Makes the job of one of them."""
    needs: tuple[str, ...] = ()
    """Roles above whose answers the job is made of."""
    arming: str = ""
    """What is said when they are about to be armed."""
    arm_s: float = ARM_S
    """Seconds in which each must be armed."""
    begins: int = 0
    """Place in the order in which roles begin: who reads is there before who sends."""
    groups: Callable[[Rig], list[list[str]]] | None = None
    """Gives names in groups that begin one after the other; none: all at once."""
    ends: int = 0
    """Place in the order in which roles end: that of the data."""
    ended_by: tuple[str, ...] = ()
    """Roles in whose streams it hears the end, upon which it ends by itself; none: it is told at once."""
    read_by: str = ""
    """Role without which nobody records what it makes, so that it need not finish."""
    end_reason: str = "the run ends: {ended}"
    """What it is told where it must be told."""
    finishing: str = ""
    """What is said while it finishes by itself."""
    counters: type[ProcessCounters] = ProcessCounters
    """What its processes count."""
    death: Death = Death.ENDS_RUN
    carries: bool = False
    """Whether the run ends when all its processes have ended."""
    afterwards: bool = False
    """Whether it comes after the run, when the session is closed, and takes no part in the run's order."""
    skipped: str = ""
    """What is said where a person skipped the rest of it, of one that comes afterwards; `{folder}` is the session's."""
    by_hand: str = ""
    """`module:Class` that `posestream join` runs on another machine; empty: it can't join."""

    @property
    def named(self) -> bool:
        """Whether its processes have names, for a run may have several."""
        return "{name}" in self.title


def streams_of(armed: Mapping[str, Armed]) -> dict[str, StreamInfo]:
    """Give by camera what it publishes, of answers by process."""
    cameras = {role.partition(":")[2]: said.stream for role, said in armed.items() if role.startswith("camera:")}
    return {name: stream for name, stream in cameras.items() if stream is not None}


def _cameras(rig: Rig) -> list[Place]:
    return [Place(name, table.remote, f'its backend "{table.backend}"') for name, table in rig.cameras.items()]


def _camera_job(briefing: Briefing, place: Place) -> CameraJob:
    session = briefing.session
    folder = session.remote_folder(place.name) if place.remote else session.camera_folder(place.name)
    return camera_job(briefing.rig, place.name, briefing.rig_folder, session.id, str(folder))


def _inference(rig: Rig) -> list[Place]:
    table = rig.inference
    return [Place("", table.remote, f'its engine "{table.engine}"')] if table is not None else []


def _inference_job(briefing: Briefing, _place: Place) -> InferenceJob:
    streams = streams_of(briefing.armed).values()
    return inference_job(briefing.rig, briefing.rig_folder, briefing.session.id, streams)


def _pose_recorder(rig: Rig) -> list[Place]:
    return [Place()] if rig.inference is not None else []


def _pose_job(briefing: Briefing, _place: Place) -> PoseRecorderJob:
    return PoseRecorderJob(
        session=briefing.session.id,
        endpoint=briefing.armed["inference"].endpoint or "",
        folders={name: str(briefing.session.camera_folder(name)) for name in briefing.rig.cameras},
    )


def _backfill(rig: Rig) -> list[Place]:
    return [Place()] if rig.inference is not None and rig.inference.backfill else []


def _backfill_job(briefing: Briefing, _place: Place) -> BackfillJob:
    return BackfillJob(folder=str(briefing.session.folder))


ROLES = (
    RoleRow(
        name="camera",
        module="posestream.acquisition",
        title="camera {name}",
        places=_cameras,
        job=_camera_job,
        arming="opening cameras",
        arm_s=OPEN_S,
        begins=3,
        groups=Rig.start_order,
        ends=1,
        counters=CameraCounters,
        carries=True,
        by_hand="posestream.acquisition.process:CameraRole",
    ),
    RoleRow(
        name="inference",
        module="posestream.inference",
        title="inference",
        places=_inference,
        job=_inference_job,
        needs=("camera",),
        arming="loading the network and warming it up",
        begins=2,
        ends=2,
        ended_by=("camera",),
        read_by="poses",
        end_reason="the cameras ended",
        finishing="finishing the frames that are on their way (Ctrl-C skips them)",
        counters=InferenceCounters,
        by_hand="posestream.inference.live.process:InferenceRole",
    ),
    RoleRow(
        name="poses",
        module="posestream.stream",
        title="the pose recorder",
        places=_pose_recorder,
        job=_pose_job,
        needs=("inference",),
        begins=1,
        ends=3,
        ended_by=("inference",),
        end_reason="the pose stream ended",
        counters=PoseRecorderCounters,
    ),
    RoleRow(
        name="backfill",
        module="posestream.stream.offline.backfill_process",
        title="the backfill",
        places=_backfill,
        job=_backfill_job,
        arming="backfilling the frames that got no live pose (Ctrl-C skips the rest)",
        end_reason="interrupted",
        counters=BackfillCounters,
        death=Death.REPORTED,
        afterwards=True,
        skipped="the rest was skipped; it goes on with: posestream backfill {folder}",
    ),
)


def row_of(role: str) -> RoleRow:
    """Give the row of a process, `camera:NAME` or a role's name; raises KeyError where there is none."""
    return {row.name: row for row in ROLES}[role.partition(":")[0]]
