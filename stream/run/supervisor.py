"""The supervisor: starts the processes, lets the run begin when all are armed, and ends it in order.

The order of the end is that of the data: cameras stop and close their videos, inference finishes the frames that are
on their way, the pose recorder writes the last pose; then DeepLabCut's files and the summary are written.
"""

import contextlib
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from shutil import disk_usage, rmtree
from typing import Any, Protocol

import msgspec
import zmq

from posestream.stream.disk.reserve import DiskReserve
from posestream.stream.disk.tables import LineWriter
from posestream.stream.offline.progress import reading
from posestream.stream.rig import Rig, RigError, check_cameras, check_model
from posestream.stream.run.children import Child, refusal, turned_away
from posestream.stream.run.frame_watch import FrameWatch
from posestream.stream.run.outlook import expected_poses
from posestream.stream.run.rig_jobs import camera_job, inference_job
from posestream.stream.run.start_logs import keep_start_logs
from posestream.stream.session.events import EVENTS
from posestream.stream.session.record import OutputError, Session, check_output, write_json
from posestream.stream.wire.control import Command, Configure, ControlServer, Join, Notice, Start, Stop, Values
from posestream.stream.wire.deaths import ThreadDeaths
from posestream.stream.wire.errors import WRONG_USE, UserError
from posestream.stream.wire.interrupts import interrupts
from posestream.stream.wire.jobs import BackfillJob, CameraJob, Job, PoseRecorderJob
from posestream.stream.wire.keys import Keys, KeysError, load_keys, stop_authenticator
from posestream.stream.wire.messages import Event, StreamInfo
from posestream.stream.wire.priority import CpusError, check_cpus
from posestream.stream.wire.sockets import (
    EndpointError,
    check_endpoint,
    check_reachable,
    local_endpoint,
    remove_leftovers,
)

__all__ = ["Display", "NothingRecordedError", "Outcome", "StartError", "Supervisor", "WrongUseError"]

TICK_S = 0.05
SHOW_S = 0.25
ARM_S = 300.0
OPEN_S = 120.0
"""Seconds in which cameras must have opened."""
START_S = 30.0
"""Seconds in which a camera that follows another must be waiting for its signal."""
CLOSE_S = 30.0
"""Seconds without progress after which a process that should end is killed, and the report says so."""
RESERVE_BYTES = 4 * 2**20
"""Held back on the disk for the events, the summary and DeepLabCut's files."""
SYNC_S = 1.0
TEXT_LIMIT = 1_900


class StartError(UserError):
    """A run that did not start; the text is for people.

    Parameters
    ----------
    text
        What is wrong.
    place
        Where it broke, for developers.
    """

    def __init__(self, text: str, place: str = "") -> None:
        super().__init__(text)
        self.place = place
        self.log: Path | None = None  # of the process that failed, or the folder of all; none where nothing was printed


class WrongUseError(StartError):
    """What was asked for can't be done; nothing was recorded. The text is for people."""

    exit_status = WRONG_USE


class NothingRecordedError(StartError):
    """Something broke, or somebody interrupted, before anything was recorded. The text is for people."""


class Display(Protocol):
    """Who shows a person how the run goes."""

    def phase(self, text: str) -> None:
        """Say what is being done now."""

    def event(self, event: Event) -> None:
        """Show something that happened."""

    def problem(self, text: str) -> None:
        """Show what went wrong, at once."""

    def running(self, view: dict[str, Any]) -> None:
        """Show where the run stands; called a few times a second."""

    def progress(self, values: Values) -> None:
        """Show where the backfill stands; called a few times a second."""


class Outcome:
    """How a run ended."""

    def __init__(self, folder: Path, summary: dict[str, Any], failed: list[Child]) -> None:
        self.folder, self.summary = folder, summary
        self.places = {child.title: child.place for child in failed if child.place}
        """Where each process that failed broke, for developers."""
        logs = [folder / "logs" / child.log_name for child in failed if child.log_name]
        self.logs = [log for log in logs if log.exists()]
        """What each of them printed."""

    @property
    def status(self) -> int:
        """Exit status: 0 as asked, 1 something failed or was lost."""
        return int(self.summary["exit_status"])


class Supervisor:
    """Runs a rig once.

    Parameters
    ----------
    rig
        The rig.
    rig_folder
        Folder from which its relative paths are taken.
    output
        Folder of the session folders.
    display
        Who shows how it goes.
    """

    def __init__(self, rig: Rig, rig_folder: Path, output: Path, display: Display) -> None:
        self._rig, self._rig_folder, self._output, self._display = rig, rig_folder.absolute(), output, display
        self._session = Session(rig, output)
        self._cameras = {name: Child(f"camera:{name}", remote=table.remote) for name, table in rig.cameras.items()}
        self._inference = Child("inference", remote=rig.inference.remote) if rig.inference is not None else None
        self._poses = Child("poses", remote=False) if rig.inference is not None else None
        self._children = [*self._cameras.values(), *filter(None, (self._inference, self._poses))]
        self._interrupts = 0
        self._events: list[Event] = []
        self._problems: list[str] = []
        self._reported: set[str] = set()  # roles whose end is among the problems
        self._event_log: LineWriter | None = None
        self._reserve: DiskReserve | None = None
        self._synced = 0.0
        self._watch: FrameWatch | None = None
        self._gone = False  # the session folder
        for name, child in self._cameras.items():
            child.plugin = f'its backend "{rig.cameras[name].backend}"'
        if rig.inference is not None and self._inference is not None:
            self._inference.plugin = f'its engine "{rig.inference.engine}"'

    def run(self) -> Outcome:
        """Run until the end.

        Raises
        ------
        WrongUseError
            Where the rig asks for what can't be; nothing was recorded.
        NothingRecordedError
            Where something broke before anything was recorded.
        """
        try:
            check_cameras(self._rig)
            self._check_cpus()
            check_output(self._output, self._rig.session.min_free_gib)
            remove_leftovers()
            keys_folder = self._keys_folder()
            keys = load_keys(keys_folder) if keys_folder is not None else None
            self._check_addresses(keys)
            check_model(self._rig, self._rig_folder)
            context: zmq.Context[Any] = zmq.Context()
            control = ControlServer(context, self._rig.network.control or local_endpoint("control"), keys)
        except (RigError, OutputError, KeysError, EndpointError) as error:
            raise WrongUseError(str(error)) from error
        logs = Path(tempfile.mkdtemp(prefix="posestream-"))
        self._control, self._deaths = control, ThreadDeaths()
        self._start: Callable[[Child], None] = lambda child: child.start(control.endpoint, keys_folder, logs)
        try:
            with interrupts(self._interrupt):
                self._claim()
                for child in self._children:
                    self._start(child)
                self._arm()
                return self._record()
        except StartError as error:
            self._call_off(error)
            raise
        finally:
            for child in self._children:
                child.end(0 if child.state in {"starting", "joined", "configured", "armed"} else CLOSE_S)
            self._session.release()
            self._session.let_go()
            control.close()
            stop_authenticator(context)
            context.term()
            self._deaths.close()
            rmtree(logs, ignore_errors=True)

    def _call_off(self, error: StartError) -> None:
        """Keep the logs of a run that did not start, and tell those who wait on other machines."""
        folder = keep_start_logs(self._children)
        named = [child.log_name for child in self._children if child.trouble]
        if folder is not None:
            error.log = folder / named[0] if named and named[0] else folder
        for child in self._children:
            if child.remote and not child.over:
                self._send(child, Stop(reason=str(error)[:TEXT_LIMIT]))

    def _check_addresses(self, keys: Keys | None) -> None:
        rig = self._rig
        far = rig.inference is not None and rig.inference.remote
        for name, camera in rig.cameras.items():
            if camera.endpoint is not None:
                check_endpoint(camera.endpoint, bind=True, keys=keys)
                if camera.remote or far:
                    check_reachable(camera.endpoint)
            elif camera.remote or far:
                raise WrongUseError(f"cameras.{name}.endpoint: missing; inference on another machine needs an address")
        check_endpoint(rig.network.poses, bind=True, keys=keys)
        if far:
            check_reachable(rig.network.poses)
        remote = [child.title for child in self._children if child.remote]
        if remote and rig.network.control is None:
            raise WrongUseError(f"network.control: missing; {', '.join(remote)} joins from another machine")

    def _check_cpus(self) -> None:
        """See that this machine has the cores of the processes that are started here."""
        tables = {f"cameras.{name}": table for name, table in self._rig.cameras.items()}
        for key, table in (tables | {"inference": self._rig.inference}).items():
            if table is not None and table.cpus is not None and not table.remote:
                try:
                    check_cpus(table.cpus)
                except CpusError as error:
                    raise WrongUseError(f"{key}.{error}") from error

    def _keys_folder(self) -> Path | None:
        keys = self._rig.network.keys
        return self._rig_folder / Path(keys).expanduser() if keys is not None else None

    def _claim(self) -> None:
        try:
            self._session.claim()
        except OutputError as error:
            raise WrongUseError(str(error)) from error

    def _interrupt(self) -> None:
        self._interrupts += 1

    # Before the start: everybody joins, is configured and arms; whatever is wrong is said now.

    def _arm(self) -> None:
        self._display.phase("opening cameras")
        for child in self._cameras.values():
            self._configure(child, self._camera_job(child))
        self._until_armed(list(self._cameras.values()), OPEN_S)
        if self._inference is not None and self._poses is not None:
            self._display.phase("loading the network and warming it up")
            job = inference_job(self._rig, self._rig_folder, self._session.id, self._streams().values())
            self._configure(self._inference, job)
            self._until_armed([self._inference], ARM_S)
            self._configure(self._poses, self._pose_job())
            self._until_armed([self._poses], ARM_S)

    def _configure(self, child: Child, job: Job) -> None:
        if child.remote and child.state == "starting":
            keys = " --keys FOLDER" if self._rig.network.keys is not None else ""
            command = f"posestream join {child.role} {self._control.endpoint}{keys}"
            self._display.phase(f"waiting for {child.title}; on its machine run: {command}")
        self._wait(
            lambda: child.state != "starting", None if child.remote else ARM_S, lambda: f"{child.title} did not start"
        )
        self._send(child, Configure(job=job))
        child.state = "configured" if child.state == "joined" else child.state

    def _until_armed(self, children: list[Child], timeout_s: float) -> None:
        def late() -> str:
            return ", ".join(f"{child.title} is not ready{_at(child)}" for child in children if child.state != "armed")

        self._wait(lambda: all(child.state == "armed" for child in children), timeout_s, late)

    def _wait(self, ready: Callable[[], bool], timeout_s: float | None, late: Callable[[], str]) -> None:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not ready():
            self._tick()
            for child in self._children:
                if child.failure is not None:
                    kind = WrongUseError if child.failure.kind == "usage" else NothingRecordedError
                    text = child.failure.text if kind is WrongUseError else child.trouble
                    raise kind(self._own(child, text), child.place)
                if child.over:
                    how = child.death or "ended"
                    raise NothingRecordedError(f"{child.title} {how}, before the start", child.place)
            if self._interrupts:
                raise NothingRecordedError("interrupted before the start; nothing was recorded")
            if deadline is not None and time.monotonic() > deadline:
                raise NothingRecordedError(f"{late()}, after {timeout_s:g} s")

    @staticmethod
    def _own(child: Child, text: str) -> str:
        """Say whose words these are, where they were said on another machine."""
        return f"{child.title}, on its machine: {text}" if child.remote and not text.startswith(child.title) else text

    def _camera_job(self, child: Child) -> CameraJob:
        name = child.role.partition(":")[2]
        session = self._session
        folder = session.remote_folder(name) if child.remote else session.camera_folder(name)
        return camera_job(self._rig, name, self._rig_folder, session.id, str(folder))

    def _pose_job(self) -> PoseRecorderJob:
        return PoseRecorderJob(
            session=self._session.id,
            endpoint=self._pose_endpoint() or "",
            folders={name: str(self._session.camera_folder(name)) for name in self._cameras},
        )

    def _streams(self) -> dict[str, StreamInfo]:
        armed = {name: child.armed for name, child in self._cameras.items()}
        return {name: said.stream for name, said in armed.items() if said is not None and said.stream is not None}

    def _pose_endpoint(self) -> str | None:
        armed = self._inference.armed if self._inference is not None else None
        return armed.endpoint if armed is not None else None

    # The run.

    def _record(self) -> Outcome:
        session = self._session
        try:
            session.begin(self._details())
            self._reserve = DiskReserve(session.folder, RESERVE_BYTES)
            self._event_log = LineWriter(session.folder / EVENTS)
        except OSError as error:
            raise NothingRecordedError(f"{session.folder} can't be made: {error.strerror}") from error
        for name, info in self._streams().items():
            self._display.phase(
                f"ready: camera {name}, {info.width}x{info.height} {info.pixel_format}, frames at {info.endpoint}"
            )
        if self._pose_endpoint() is not None:
            self._display.phase(f"ready: inference, poses at {self._pose_endpoint()}")
            self._expect()
        started = time.monotonic()
        # Readers first, so that nobody misses the first frame.
        self._begin([child for child in (self._poses, self._inference) if child is not None])
        groups = self._rig.start_order()
        for group in groups:
            self._begin([self._cameras[name] for name in group])
            if group is not groups[-1]:
                self._until_started(group)
        self._display.phase(f"recording to {session.folder}")
        self._watch = FrameWatch() if self._inference is not None else None
        try:
            ended = self._until_end(started)
            self._end(ended)
        finally:
            self._close_log()
        return self._finish(ended, time.monotonic() - started)

    def _expect(self) -> None:
        """Say how many poses to expect, and warn where the network will not keep up with the cameras."""
        armed = self._inference.armed if self._inference is not None else None
        table = self._rig.inference
        if armed is not None and table is not None and "expected" in armed.details:
            outlook = expected_poses(armed.details, self._streams().values(), table)
            self._display.phase(outlook.text)
            if outlook.advice:
                self._display.phase(outlook.advice)

    def _begin(self, children: list[Child]) -> None:
        for child in children:
            self._send(child, Start(poses=self._pose_endpoint()))
            child.state, child.heard_s = "running", time.monotonic()

    def _until_started(self, names: list[str]) -> None:
        """Wait until these cameras wait for their leader's signal; who fails or is silent ends no run here."""
        deadline = time.monotonic() + START_S
        waiting = [(name, self._cameras[name]) for name in names]
        while not self._interrupts:
            waiting = [(n, c) for n, c in waiting if not (c.over or c.failure or c.values.get(n, {}).get("started"))]
            if not waiting:
                return
            if time.monotonic() > deadline:
                titles = ", ".join(child.title for _, child in waiting)
                self._display.problem(f"{titles}: not started in {START_S:g} s; the leader starts without waiting")
                return
            self._tick()

    def _details(self) -> dict[str, Any]:
        cameras = {
            name: {"stream": msgspec.to_builtins(child.armed.stream), **child.armed.details}
            for name, child in self._cameras.items()
            if child.armed is not None
        }
        inference = self._inference.armed if self._inference is not None else None
        return {
            "cameras": cameras,
            "inference": {"poses": inference.endpoint, **inference.details} if inference else None,
        }

    def _until_end(self, started: float) -> str:
        seconds, shown = self._rig.session.seconds, 0.0
        while True:
            self._tick()
            if self._note_deaths() or self._output_is_gone():
                return "failure"
            if self._interrupts:
                return "interrupted"
            if seconds is not None and time.monotonic() - started >= seconds:
                return "seconds"
            if all(child.over for child in self._cameras.values()):
                return "cameras ended"
            if time.monotonic() - shown >= SHOW_S:
                shown = time.monotonic()
                self._display.running(self._view(shown - started))

    def _note_deaths(self) -> bool:
        found = False
        for child in self._children:
            if child.trouble and child.role not in self._reported:
                found = True
                self._reported.add(child.role)
                self._complain(child.trouble)
        if text := self._deaths.take():
            found = True
            self._complain(f"the supervisor: {text}")
        return found

    def _complain(self, text: str) -> None:
        self._problems.append(text)
        self._display.problem(text)

    def _output_is_gone(self) -> bool:
        """See whether somebody has deleted the session folder, or unmounted its disk."""
        folder = self._session.folder
        if self._gone or folder.is_dir():
            return False
        self._gone = True
        self._complain(f"the session folder {folder} is gone: it was deleted or moved, or its disk was unmounted")
        return True

    def _end(self, ended: str) -> None:
        self._display.phase(f"ending ({ended}): closing the videos")
        self._stop(list(self._cameras.values()), f"the run ends: {ended}", at_once=True)
        # Inference ends by itself when every camera has said that it ended and the last frame has come out; the pose
        # recorder when inference has said so. Whoever was killed says nothing, and what nobody records need not come.
        unsaid = any(child.state == "died" for child in self._cameras.values())
        unheard = self._poses is not None and self._poses.over
        self._interrupts = 0
        if self._inference is not None and not self._inference.over:
            self._display.phase("finishing the frames that are on their way (Ctrl-C skips them)")
        self._stop([self._inference], "the cameras ended", at_once=unsaid or unheard)
        unsaid = self._inference is not None and self._inference.state == "died"
        self._stop([self._poses], "the pose stream ended", at_once=unsaid)
        self._note_deaths()

    def _stop(self, children: list[Child | None], reason: str, *, at_once: bool) -> None:
        waiting = [child for child in children if child is not None]
        told = False
        changed, values = time.monotonic(), [child.values for child in waiting]
        while not all(child.over for child in waiting):
            if not told and (at_once or self._interrupts or self._gets_no_end(waiting)):
                told = True
                for child in waiting:
                    self._send(child, Stop(reason=reason, frames=self._sent()))
            self._tick()
            now = [child.values for child in waiting]
            if now != values:
                changed, values = time.monotonic(), now
            if time.monotonic() - changed > CLOSE_S:
                if told:
                    for child in waiting:
                        if not child.over:
                            child.end(0)
                            child.state, child.death = "died", f"did not end within {CLOSE_S:g} s and was killed"
                else:
                    at_once, changed = True, time.monotonic()

    def _gets_no_end(self, waiting: list[Child]) -> bool:
        """Whether inference, which is to end when the cameras say so, hears nothing from one of them."""
        if self._watch is None or self._inference not in waiting or not self._watch.missing:
            return False
        for name, missing in self._watch.missing.items():
            self._complain(f"camera {name}: inference received none of the last {missing} frames")
        self._watch = None
        return True

    def _sent(self) -> dict[str, int]:
        """Frames that each camera has published: all that it delivered."""
        return {name: int(child.values.get(name, {}).get("captured") or 0) for name, child in self._cameras.items()}

    def _listen(self) -> None:
        """See whether inference receives what the cameras send."""
        if self._watch is None or self._inference is None or self._inference.over:
            return
        received = {
            name: int(values.get("received") or 0) + int(values.get("skipped_lost-on-wire") or 0)
            for name, values in self._inference.values.items()
        }
        streams = self._streams()
        for change in self._watch.look(self._sent(), received, self._inference.heard_s):
            self._note(change.event(self._session.id, streams[change.camera]))

    def _finish(self, ended: str, seconds: float) -> Outcome:
        self._display.phase("writing the results")
        from posestream.stream.session.results import write_results

        session = self._session
        self._output_is_gone()
        for child in self._children:
            child.end(CLOSE_S)
            with contextlib.suppress(OSError):  # what the disk refuses here it refuses below, where it is said
                child.keep_log(session.folder / "logs")
        result = write_results(
            session,
            self._rig,
            streams=self._streams(),
            videos={n: c.armed.details.get("video") for n, c in self._cameras.items() if c.armed is not None},
            inference=self._inference.armed.details if self._inference and self._inference.armed else None,
            values={child.role: child.values for child in self._children},
            problems=self._problems,
            turned_away=turned_away({child.role: child.values for child in self._children}, self._control),
            unclean=any(child.state in {"died", "failed"} for child in self._children),
            ended=ended,
            seconds=seconds,
        )
        if self._rig.inference is not None and self._rig.inference.backfill and not self._gone:
            result = self._backfill(result)
        if not self._gone:
            self._write_manifest(result)
        return Outcome(session.folder, result, [child for child in self._children if child.trouble])

    def _backfill(self, result: dict[str, Any]) -> dict[str, Any]:
        """Backfill the session, which is complete and stays so whatever becomes of this; gives its summary."""
        folder, child = self._session.folder, Child("backfill", remote=False)
        self._display.phase("backfilling the frames that got no live pose (Ctrl-C skips the rest)")
        self._children.append(child)
        self._interrupts, told = 0, False
        self._start(child)
        while not child.over:
            self._tick()
            if child.state == "joined":
                self._send(child, Configure(job=BackfillJob(folder=str(folder))))
                child.state = "configured"
            elif child.state == "armed":
                self._send(child, Start(poses=None))
                child.state = "running"
            if self._interrupts and not told and child.identity is not None:
                told = True
                self._send(child, Stop(reason="interrupted"))
            self._display.progress(child.values)
        child.end(CLOSE_S)
        child.keep_log(folder / "logs")
        summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        self._problems = summary["problems"] + summary.get("backfill", {}).get("problems", [])
        self._note_deaths()
        if told:
            self._display.phase(f"the rest was skipped; it goes on with: posestream backfill {folder}")
        if self._problems != result["problems"]:
            summary |= {"problems": self._problems, "exit_status": 1}
            write_json(folder / "summary.json", summary)
        return summary

    def _write_manifest(self, result: dict[str, Any]) -> None:
        """Write last of all what every file is; Ctrl-C skips it."""
        from posestream.stream.session.manifest import write_manifest

        folder, self._interrupts = self._session.folder, 0
        self._display.phase("writing the manifest")
        tell = reading("manifest", self._display.progress)

        def show(done: int, total: int) -> None:
            if self._interrupts:
                raise InterruptedError
            tell(done, total)

        try:
            write_manifest(folder, self._session.id, "run", show)
        except InterruptedError:
            self._display.phase(f"no manifest was written; write it with: posestream recover {folder}")
        except OSError as error:
            result["problems"] = [*result["problems"], f"{folder}: the manifest can't be written: {error.strerror}"]
            result["exit_status"] = 1

    # What every phase does.

    def _tick(self) -> None:
        deadline = time.monotonic() + TICK_S
        while (left_s := deadline - time.monotonic()) > 0 and (received := self._control.receive(left_s)) is not None:
            identity, report = received
            child = next((c for c in self._children if identity == c.identity), None)
            if child is None and isinstance(report, Join):
                waiting = [c for c in self._children if c.role == report.role and c.identity is None]
                child = waiting[0] if waiting and not (waiting[0].remote and refusal(waiting, report)) else None
            if child is None:
                self._control.malformed["stranger"] += 1
                if isinstance(report, Join) and (reason := refusal(self._children, report)):
                    self._control.send(identity, Stop(reason=reason, refused=True))
            elif isinstance(report, Notice):
                self._note(report.event)
            else:
                child.take(identity, report)
        for child in self._children:
            child.look()
        self._listen()
        if time.monotonic() - self._synced > SYNC_S:
            self._synced = time.monotonic()
            with contextlib.suppress(OSError):  # said at the end, when the log is closed
                if self._event_log is not None:
                    self._event_log.sync()

    def _note(self, event: Event) -> None:
        if self._event_log is not None:
            try:
                self._event_log.write(json.dumps(msgspec.to_builtins(event)).encode() + b"\n")
            except OSError:  # what the disk refuses is written with the next event, or at the end
                self._release()
        self._display.event(event)

    def _release(self) -> None:
        if self._reserve is not None:
            self._reserve.release()

    def _close_log(self) -> None:
        self._release()
        log, self._event_log = self._event_log, None
        try:
            if log is not None:
                log.close()
        except OSError as error:
            self._problems.append(f"events.jsonl is not complete: {error.strerror}")

    def _send(self, child: Child, command: Command) -> None:
        if child.identity is not None:
            self._control.send(child.identity, command)

    def _free_bytes(self) -> int:
        try:
            return disk_usage(self._session.folder).free
        except OSError:  # the folder is gone, which is said elsewhere
            return 0

    def _view(self, seconds: float) -> dict[str, Any]:
        values = {child.role: child.values for child in self._children}
        return {
            "seconds": seconds,
            **{name: sum(counts.values()) for name, counts in turned_away(values, self._control).items()},
            "asked_s": self._rig.session.seconds,
            "free_bytes": self._free_bytes(),
            "cameras": {name: child.values.get(name, {}) for name, child in self._cameras.items()},
            "inference": self._inference.values if self._inference is not None else None,
            "deaf": self._watch.deaf if self._watch is not None else [],
            "rates": {name: info.rate_hz for name, info in self._streams().items()},
        }


def _at(child: Child) -> str:
    return f"; it may be {child.plugin} that does not return" if child.plugin else ""
