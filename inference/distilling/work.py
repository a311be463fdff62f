"""The folder that a distillation works in, `BUNDLE.distilling`: what it was asked for, and what it can go on from.

`asked.json` says what the teacher is asked about, `picked.json` which frames, `N.frames` and `N.answers` hold them
(see `answers.py`), `training.json` says how the student is trained, and `training` holds the trainer's checkpoint.
"""

import contextlib
import shutil
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from posestream.inference.distilling.answers import Answers
from posestream.inference.distilling.picking import Recording
from posestream.inference.errors import ModelError
from posestream.inference.training.plan import TrainingPlan
from posestream.stream.disk.durable import replacing

__all__ = ["Asked", "Chosen", "Work"]

Read = TypeVar("Read")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the teacher's answers depend on."""

    teacher_sha256: str
    videos: dict[str, int]
    """Path and bytes of each."""
    frames: int
    """To learn from, if all goes well."""
    seed: int


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """How a student is trained."""

    size: str
    hours: float
    steps: int
    """As asked for; 0: as many as the hours have time for."""
    labels: str
    """Project whose labels are mixed in; empty: none."""
    plan: TrainingPlan


class Work:
    """See above.

    Parameters
    ----------
    output
        The bundle that is to be made.
    asked
        What is asked for.
    resume
        Whether to go on with what is there.

    Raises
    ------
    ModelError
        The bundle is there already; there is something to go on with, and nobody asked for it; or what is there is of
        something else.
    """

    def __init__(self, output: Path, asked: Asked, *, resume: bool) -> None:
        if output.exists():
            raise ModelError(f"{output} exists already. Name a new folder, or remove it first.")
        self.output, self.folder = output, output.with_name(f"{output.name}.distilling")
        before = self._read("asked.json", Asked)
        if before is not None and not resume:
            raise ModelError(
                f"{self.folder} holds what an earlier distillation left. Go on with it by --resume, or remove that "
                "folder."
            )
        if before is not None and before != asked:
            now, then = msgspec.to_builtins(asked), msgspec.to_builtins(before)
            other = ", ".join(key.replace("_sha256", "") for key in now if now[key] != then[key])
            raise ModelError(
                f"{self.folder} belongs to a distillation that differs in: {other}. Name the same, or remove that "
                "folder."
            )
        self._write("asked.json", asked)

    @property
    def picked(self) -> list[Recording] | None:
        """What was picked; None where nothing was yet."""
        return self._read("picked.json", list[Recording])

    @picked.setter
    def picked(self, recordings: list[Recording]) -> None:
        self._write("picked.json", recordings)

    @property
    def training(self) -> Path:
        """Folder of the trainer."""
        return self.folder / "training"

    @property
    def bundle(self) -> Path:
        """Where the bundle is put together."""
        return self.folder / "bundle"

    def answers(self, number: int, recording: Recording) -> Answers:
        """Open the answers on a video."""
        return Answers(self.folder / f"{number}.frames", Path(recording.path).name, recording.height, recording.width)

    def chosen(self, size: str, hours: float, steps: int, labels: str) -> Chosen | None:
        """Give how the student was to be trained; None where nobody said yet, or said otherwise.

        In the latter case what was trained is removed; the teacher's answers stay.
        """
        found = self._read("training.json", Chosen)
        if found is not None:
            asked = Chosen(size=size, hours=hours, steps=steps, labels=labels, plan=found.plan)
            if found == asked:
                return found
        shutil.rmtree(self.training, ignore_errors=True)
        return None

    def choose(self, chosen: Chosen) -> None:
        """Keep how the student is trained."""
        self._write("training.json", chosen)

    def deliver(self) -> None:
        """Bring the bundle to its place, and remove the folder.

        Raises
        ------
        ModelError
            The place can't be written to.
        """
        try:
            self.bundle.rename(self.output)
        except OSError as error:
            raise ModelError(f"{self.output} cannot be written: {error.strerror or error}.") from error
        with contextlib.suppress(OSError):
            shutil.rmtree(self.folder)

    def _write(self, name: str, content: Any) -> None:
        path = self.folder / name
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(path) as partial:
                partial.write_bytes(msgspec.json.format(msgspec.json.encode(content)) + b"\n")
        except OSError as error:
            raise ModelError(f"{path} cannot be written: {error.strerror or error}.") from error

    def _read(self, name: str, kind: type[Read]) -> Read | None:
        path = self.folder / name
        if not path.is_file():
            return None
        try:
            return msgspec.json.decode(path.read_bytes(), type=kind)
        except (OSError, msgspec.DecodeError) as error:
            raise ModelError(f"{path} cannot be read: {error}. Remove {self.folder} and begin anew.") from error
