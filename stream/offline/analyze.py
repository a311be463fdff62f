"""`posestream analyze`: the poses of videos, in DeepLabCut's files.

Poses are kept in a partial file as they come, and DeepLabCut's files are written from it when the video has ended. So
whatever ends this on the way, the next call resumes after the last complete batch.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

import msgspec

from posestream.inference.errors import ModelError, VideoError
from posestream.inference.formats.models import load_model
from posestream.inference.offline.analysis import video_poses
from posestream.inference.offline.video_reader import VideoReader
from posestream.inference.windows.crop_window import CropWindowSettings
from posestream.inference.windows.crop_window_run import CropWindowRun
from posestream.inference.windows.framing import Framing
from posestream.stream.disk.lock import InUseError, file_lock, refuse_live, session_lock
from posestream.stream.offline.partial_poses import PartialPoses, is_of
from posestream.stream.offline.progress import Progress
from posestream.stream.session.deeplabcut_files import Analysis, write_deeplabcut_files
from posestream.stream.session.manifest import ManifestError, compare, read_manifest, renew_entries
from posestream.stream.session.reader import NoSessionError, load_session
from posestream.stream.wire.details import ModelDetails

if TYPE_CHECKING:
    from posestream.inference.engine import Engine
    from posestream.inference.formats.bundle import ModelBundle

from posestream.stream.wire.errors import InputError

__all__ = ["Analyses", "AnalysisResult", "AnalyzeError", "AnalyzeSettings", "find_videos"]

VIDEO_ENDINGS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv")
"""What is taken for a video in a folder; a file that is named may have any ending."""
SYNC_S = 1.0
RESULTS = (".h5", ".csv", "_meta.pickle", ".partial")
"""Endings of what an analysis leaves."""


class AnalyzeError(InputError):
    """What was asked for can't be done, and nothing was changed; the text is for people."""


@dataclass(frozen=True, kw_only=True)
class AnalyzeSettings:
    """How videos are analysed."""

    model: Path
    output: Path | None = None
    """Folder of the results; by default each video's own."""
    batch_size: int = 8
    framing: Framing = field(default_factory=Framing)
    crop_window: CropWindowSettings | None = None
    """How a crop window follows the animal; by default the network sees whole frames."""
    overwrite: bool = False
    """Whether a video that has results is analysed again."""
    engine: str = "auto"
    precision: str = "auto"
    """Engine and precision, as `posestream.inference.engines.open_engine` takes them."""
    threads: int | None = None
    """Cores that the engine may use."""


def find_videos(given: Sequence[Path], output: Path | None) -> list[Path]:
    """Give the videos that paths stand for: files, and folders with videos in them.

    Raises
    ------
    AnalyzeError
        A path is absent, a folder has no video, or two videos would have the same results.
    """
    videos: list[Path] = []
    for path in given:
        if path.is_dir():
            inside = [file for file in sorted(path.iterdir()) if file.suffix.lower() in VIDEO_ENDINGS]
            # what DeepLabCut made of a video to look at is not one to analyse
            found = [file for file in inside if file.is_file() and not file.stem.endswith("_labeled")]
            if not found:
                raise AnalyzeError(f"{path} has no video in it ({', '.join(VIDEO_ENDINGS)})")
            videos += found
        elif path.exists():
            videos.append(path)
        else:
            raise AnalyzeError(f"no such video: {path}")
    places: dict[str, Path] = {}
    for video in videos:
        place = os.path.normcase((output or video.parent).resolve() / video.stem)
        other = places.setdefault(place, video)
        if not other.samefile(video):
            raise AnalyzeError(
                f"{other} and {video} would have the same results, as these are called by the video's name; "
                "rename one, or analyse them into different folders (--output)"
            )
    return list(places.values())


class VideoResult(TypedDict, total=False):
    """What became of a video."""

    video: str
    state: Literal["done", "skipped", "failed", "stopped"]
    """`skipped`: it had results."""
    problem: str
    """What went wrong; empty where nothing did."""
    frames: int
    """Frames that have their pose."""
    resumed: int
    """Those of them that had it before this call."""
    frames_per_second: float
    """In this call, of a video that is done."""
    files: list[str]
    """DeepLabCut's files."""
    follow: dict[str, int]
    """How often the window was enough: `posestream.stream.wire.counters.WindowCounters`."""


class AnalysisResult(TypedDict):
    """What became of some videos, as `posestream analyze --json` prints it."""

    model: str
    """Name of the network."""
    engine: str | None
    """None where no video needed it, as for `precision`."""
    precision: str | None
    videos: list[VideoResult]
    problems: list[str]
    """A sentence each."""
    stopped: bool
    """Whether somebody ended it early."""


class Analyses:
    """An analysis of some videos, one after the other.

    Parameters
    ----------
    videos
        As `find_videos` gives them.
    settings
        How.
    show
        Called after every batch.
    tell
        Called with what is being done now.
    """

    def __init__(
        self,
        videos: Sequence[Path],
        settings: AnalyzeSettings,
        *,
        show: Callable[[Progress], None] = lambda _: None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._videos, self._settings = videos, settings
        self._show, self._tell = show, tell
        self._stopping = threading.Event()
        self._opened: Engine | None = None
        self._loading = False

    @property
    def loading(self) -> bool:
        """Whether the network is being loaded or compiled, and no pose waits to be kept."""
        return self._loading

    def stop(self) -> None:
        """End early, after the batch that the engine is at; what was computed is kept.

        As the handler of a signal it ends the loading of a network, too, by raising `KeyboardInterrupt` in the main
        thread; `run` takes that for an end like any other.
        """
        again = self._stopping.is_set()
        self._stopping.set()
        if self._loading and not again and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt

    def run(self) -> AnalysisResult:
        """Analyse the videos; one that can't be read does not keep the others from it.

        Returns
        -------
        AnalysisResult
            As JSON has it.

        Raises
        ------
        AnalyzeError
            The folder for the results can't be made.
        ModelError
            The model can't be read.
        """
        try:
            self._loading = True
            bundle = load_model(self._settings.model)
            self._loading = False
            if self._settings.output is not None:
                self._settings.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AnalyzeError(f"{error.filename}: {error.strerror}") from error
        except KeyboardInterrupt:
            raise AnalyzeError("interrupted while the network was loading; nothing was computed") from None
        done = [self._try(number, video, bundle) for number, video in enumerate(self._videos, start=1)]
        return {
            "model": bundle.spec.name,
            "engine": self._opened.name if self._opened is not None else None,
            "precision": self._opened.precision if self._opened is not None else None,
            "videos": done,
            "problems": [video["problem"] for video in done if video.get("problem")],
            "stopped": any(video["state"] == "stopped" for video in done),
        }

    def _try(self, number: int, video: Path, bundle: "ModelBundle") -> VideoResult:
        """Analyse one video; gives what became of it."""
        about: VideoResult = {"video": str(video), "frames": 0, "files": [], "problem": ""}
        if self._stopping.is_set():
            return about | {"state": "stopped"}
        base = (self._settings.output or video.parent) / f"{video.stem}{bundle.spec.scorer}"
        table, partial = (base.with_name(f"{base.name}{ending}") for ending in (".h5", ".partial"))
        session = video.resolve().parent.parent
        try:
            _check_session(video)
            refuse_live(session)
            if table.exists() and not self._settings.overwrite and not self._cut_off(partial, video, bundle):
                return about | {"state": "skipped", "files": [str(table)]}
            lock = partial.with_name(f"{partial.name}.lock")
            with file_lock(lock, f"{video} is being analysed by another posestream"), VideoReader(video) as reader:
                name = video.name if len(self._videos) == 1 else f"{video.name} ({number} of {len(self._videos)})"
                inside = base.parent.resolve().is_relative_to(session) and (session / "session.json").exists()
                with _under_manifest(session if inside else None, video, base) as odd:
                    done = self._analyse(name, video, reader, partial, bundle)
                return about | done | {"problem": "; ".join(filter(None, (*odd, done["problem"])))}
        except (VideoError, ModelError, InUseError, ManifestError, NoSessionError) as error:
            problem = str(error) if str(video) in str(error) else f"{video}: {error}"
        except OSError as error:
            problem = f"{video} can't be analysed: {error}"
        except KeyboardInterrupt:
            if not self._stopping.is_set():
                raise
            return about | {"state": "stopped"}
        finally:
            self._loading = False
        return about | {"state": "failed", "problem": problem}

    def _cut_off(self, partial: Path, video: Path, bundle: "ModelBundle") -> bool:
        """Whether the results that are there were about to be replaced by these."""
        return partial.exists() and is_of(partial, self._origin(video, bundle))

    def _origin(self, video: Path, bundle: "ModelBundle") -> dict[str, object]:
        """All that the poses depend on; a partial file of others is not gone on with.

        Engine and precision are as they were asked for: what `auto` takes is remembered.
        """
        stat = video.stat()
        return {
            "posestream_partial": 1,
            "video": {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns},
            "model_sha256": bundle.digest(),
            "engine": self._settings.engine,
            "precision": self._settings.precision,
            "bodyparts": list(bundle.spec.bodyparts),
            "framing": msgspec.to_builtins(self._settings.framing),
            "follow": msgspec.to_builtins(self._settings.crop_window),
        }

    def _engine(self, bundle: "ModelBundle") -> "Engine":
        """Give the engine, which is opened when the first video needs it."""
        if self._opened is None:
            from posestream.inference.engines import open_engine

            self._loading = True
            self._tell("loading the network")
            asked = self._settings
            self._opened = open_engine(bundle, asked.engine, asked.precision, asked.threads)
        return self._opened

    def _analyse(
        self, name: str, video: Path, reader: VideoReader, partial: Path, bundle: "ModelBundle"
    ) -> VideoResult:
        size = self._settings.framing.size(reader.width, reader.height)  # refused before anything is begun
        engine, start_s, batch_size = self._engine(bundle), time.time(), self._settings.batch_size
        crop_window = self._settings.crop_window
        windows = None if crop_window is None else CropWindowRun(engine, crop_window, *size, batch_size)
        poses = PartialPoses(
            partial,
            self._origin(video, bundle),
            width=3 * len(bundle.spec.bodyparts),
            batch_size=batch_size,
        )
        try:
            if poses.kept:
                self._tell(f"{name}: resuming after {poses.kept} frames")
            if poses.replaces:
                self._tell(
                    f"{name}: starting again, as the poses kept so far are of another video, network or settings"
                )
            began = time.monotonic()
            whole = self._estimate(name, reader, engine, poses, windows)
            seconds = time.monotonic() - began
        finally:
            poses.close()
            if not poses.frames:
                partial.unlink()
        about: VideoResult = {"problem": reader.problem, "frames": poses.frames, "resumed": poses.kept}
        if windows is not None:
            about["follow"] = asdict(windows.counts)
        if not whole:
            return about | {"state": "stopped"}
        analysis = Analysis(
            start_s=start_s,
            stop_s=time.time(),
            rate_hz=reader.rate_hz,
            height=reader.height,
            width=reader.width,
            batch_size=batch_size,
        )
        place, model = partial.with_name(video.name), msgspec.convert(msgspec.to_builtins(bundle.spec), ModelDetails)
        files = write_deeplabcut_files(place, model, poses.read(), analysis)
        partial.unlink()
        rate = (poses.frames - poses.kept) / seconds
        return about | {"state": "done", "frames_per_second": rate, "files": [str(file) for file in files]}

    def _estimate(
        self, name: str, reader: VideoReader, engine: "Engine", poses: PartialPoses, windows: CropWindowRun | None
    ) -> bool:
        """Append the poses that are missing; gives whether the video came to its end."""
        work = video_poses(
            engine, reader, self._settings.batch_size, self._settings.framing, first=poses.kept, windows=windows
        )
        began = synced = time.monotonic()
        with contextlib.closing(work):
            for values in work:
                self._loading = False  # the first batch waits until the network is compiled for it
                poses.append(values)
                now = time.monotonic()
                missing = max(reader.expected - poses.kept, 0)
                self._show(Progress(name, poses.frames - poses.kept, missing, now - began, before=poses.kept))
                if now - synced > SYNC_S:
                    poses.sync()
                    synced = now
                if self._stopping.is_set():
                    return False
        return True


def _check_session(video: Path) -> None:
    """Where a video lies in a session, see that this can be opened: its results are not to be written elsewhere."""
    for session in {place.parent.parent for place in (video.absolute(), video.resolve())}:
        if (session / "session.json").exists():
            load_session(session)


@contextlib.contextmanager
def _under_manifest(session: Path | None, video: Path, base: Path) -> Iterator[list[str]]:
    """Renew a session's manifest for the results that the block writes; gives what was not as it says, a sentence each.

    Parameters
    ----------
    session
        The session's folder; none where the results lie in no session.
    video
        The video.
    base
        Where the results lie, without their endings.
    """
    manifest = read_manifest(session) if session is not None else None
    if session is None or manifest is None:
        yield []
        return
    results = [base.with_name(f"{base.name}{ending}").resolve() for ending in RESULTS]
    names = [path.relative_to(session).as_posix() for path in (video.resolve(), *results)]
    found = compare(session, manifest, only=names)
    try:
        yield found.without(names[1:]).sentences()
    finally:
        with session_lock(session):
            renew_entries(session, results, "analyze", found.all)
