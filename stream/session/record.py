"""The session folder: what was asked for, what it was asked of, and how it ended."""

import contextlib
import itertools
import os
import platform
import uuid
from datetime import datetime
from pathlib import Path, PurePosixPath
from shutil import disk_usage
from typing import Literal

import msgspec

from posestream.stream.disk.durable import sync_folder
from posestream.stream.disk.writer_locks import SUPERVISOR, HeldFile, writer_lock
from posestream.stream.rig import Rig
from posestream.stream.session.json_files import write_record
from posestream.stream.session.reader import SESSION_FILE, load_session
from posestream.stream.session.session_record import (
    CameraRecord,
    ClockAnchor,
    InferenceRecord,
    MachineRecord,
    RigRecord,
    SessionRecord,
    known,
)
from posestream.stream.wire.clock import clock_name, monotonic_ns, wall_offset_ns
from posestream.stream.wire.errors import InputError
from posestream.stream.wire.sensor import SensorPatch
from posestream.stream.wire.versions import package_version

__all__ = ["OutputError", "Session", "check_output", "remote_folder", "sensor_patches"]

SESSION_FORMAT: Literal[1] = 1
MANIFEST_FORMAT = 1
"""Of the `manifest.json` that closing a session writes; older sessions have none."""
PACKAGES = ("posestream", "av", "keras", "numpy", "opencv-python-headless", "openvino", "pyzmq", "tensorflow")


class OutputError(InputError):
    """A folder that can't be written to, or a disk that is too full; the text is for people."""


def check_output(output: Path, min_free_gib: float) -> None:
    """Make the output folder, and see that it can be written to and has the space asked for.

    Raises
    ------
    OutputError
        Where not.
    """
    probe = output / f".posestream-{uuid.uuid4().hex[:8]}"
    try:
        output.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(f"output folder {output} can't be written to: {error.strerror}") from error
    free_gib = disk_usage(output).free / 2**30
    if free_gib < min_free_gib:
        raise OutputError(
            f"{output} has {free_gib:.1f} GiB free, less than the {min_free_gib:g} that session.min_free_gib asks for; "
            "make room or choose another session.output"
        )


def sensor_patches(session: Path, camera: str) -> tuple[SensorPatch, ...]:
    """Read from a session's folder where the pixels of a camera's frames lie on its sensor.

    `posestream.stream.wire.sensor.to_sensor` takes the coordinates in `poses.csv` there.

    Raises
    ------
    NoSessionError
        Where it is no session.
    KeyError
        Where the session has no such camera.
    """
    return load_session(session).cameras[camera].stream.sensor


def remote_folder(session: Path, camera: str) -> PurePosixPath:
    """Folder of a session's camera on another machine, from where its process runs there."""
    return PurePosixPath("recordings", session.name, camera)


def _versions() -> dict[str, str]:
    found = {package: package_version(package) for package in PACKAGES}
    return {"python": platform.python_version()} | {package: number for package, number in found.items() if number}


class Session:
    """A session: its id from the beginning, its folder once it is claimed, and files in it once everybody is armed.

    Parameters
    ----------
    rig
        The rig as run.
    output
        Folder of the session folders.
    """

    def __init__(self, rig: Rig, output: Path) -> None:
        self.id = uuid.uuid4().hex
        self._output, self._name = output.absolute(), rig.session.name
        self._folder: Path | None = None
        self._rig = rig.model_dump()
        self._record: SessionRecord | None = None
        self._lock: HeldFile | None = None

    @property
    def record(self) -> SessionRecord:
        """What `session.json` says, once it is made."""
        if self._record is None:
            raise RuntimeError("the session has not begun")
        return self._record

    @property
    def folder(self) -> Path:
        """The session's folder, once it is claimed."""
        if self._folder is None:
            raise RuntimeError("the session has no folder yet")
        return self._folder

    def claim(self) -> None:
        """Make the folder, under a name that no other run has, however many start at once on whatever machines.

        Raises
        ------
        OutputError
            Where it can't be made.
        """
        name = f"{datetime.now().astimezone():%Y-%m-%dT%H-%M-%S}_{self._name}"
        for number in itertools.count(1):
            folder = self._output / (name if number == 1 else f"{name}-{number}")
            try:
                folder.mkdir()
            except FileExistsError:  # making a folder is what systems do for one alone, on network drives, too
                continue
            except OSError as error:
                raise OutputError(f"{folder} can't be made: {error.strerror}") from error
            self._folder = folder
            return

    def let_go(self) -> None:
        """Remove the folder where nothing was recorded."""
        if self._folder is not None:
            with contextlib.suppress(OSError):  # there is something in it
                self._folder.rmdir()

    def camera_folder(self, camera: str) -> Path:
        """Folder of a camera's files."""
        return self.folder / camera

    def remote_folder(self, camera: str) -> PurePosixPath:
        """Folder of a camera on another machine, from where its process runs there."""
        return remote_folder(self.folder, camera)

    def begin(self, cameras: dict[str, CameraRecord], inference: InferenceRecord | None) -> None:
        """Make `session.json`, with what the processes said when they were armed.

        From here on the session is locked, until `release`.

        Parameters
        ----------
        cameras
            What each camera's process said.
        inference
            What inference said; none where no network runs.

        Raises
        ------
        OSError
            Where that fails.
        """
        self._lock = writer_lock(self.folder, SUPERVISOR)
        sync_folder(self.folder.parent)
        self._save(
            SessionRecord(
                format=SESSION_FORMAT,
                id=self.id,
                state="recording",
                rig=msgspec.convert(self._rig, RigRecord),
                versions=_versions(),
                machine=MachineRecord(
                    name=platform.node(),
                    system=platform.platform(),
                    processor=platform.processor() or platform.machine(),
                    cores=os.cpu_count(),
                ),
                clock_anchors=[_clock_anchor()],
                manifest=MANIFEST_FORMAT,
                cameras=cameras,
                inference=inference,
            )
        )

    def end(self, ended: str, problems: list[str]) -> None:
        """Say in `session.json` that the session is complete, and how it ended.

        Parameters
        ----------
        ended
            What ended the run.
        problems
            What went wrong, a sentence each.

        Raises
        ------
        OSError
            Where that fails.
        """
        record = self.record
        anchors = [*known(record.clock_anchors, []), _clock_anchor()]
        self._save(
            msgspec.structs.replace(record, state="complete", clock_anchors=anchors, ended=ended, problems=problems)
        )

    def release(self) -> None:
        """Say that the supervisor writes to it no more; safe to call twice."""
        if self._lock is not None:
            self._lock.release()

    def _save(self, record: SessionRecord) -> None:
        # What a backend, an engine or a lab's own table of the rig has set is not ours to name, and stays.
        write_record(self.folder / SESSION_FILE, record, over={"rig": self._rig})
        self._record = record


def _clock_anchor() -> ClockAnchor:
    now_ns = monotonic_ns()
    return ClockAnchor(clock=clock_name(), monotonic_ns=now_ns, wall_ns=now_ns + wall_offset_ns())
