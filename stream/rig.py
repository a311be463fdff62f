"""The rig file: which cameras, what to record, which network, where to publish. TOML, checked before all else."""

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pydantic
from msgspec import Meta
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from posestream.stream.subscribers import DEFAULT_ENDPOINT
from posestream.stream.table_errors import explain_errors
from posestream.stream.tables import AsTable, Table, read_table
from posestream.stream.toml_errors import explain_toml
from posestream.stream.wire.endpoints import EndpointError, check_endpoint
from posestream.stream.wire.errors import InputError
from posestream.stream.wire.settings import (
    CropWindowSettings,
    InferenceSettings,
    MaskSettings,
    RegionSettings,
    VideoSettings,
    ViewSettings,
)
from posestream.stream.wire.wording import as_toml, near

__all__ = [
    "CameraTable",
    "InferenceTable",
    "MaskTable",
    "NetworkTable",
    "RecordingTable",
    "RegionTable",
    "Rig",
    "RigError",
    "SessionTable",
    "ViewTable",
    "check_camera_name",
    "check_cameras",
    "check_model",
    "load_rig",
    "parse_rig",
]

HIGHEST_CRF = {"libx264": 51, "libx264rgb": 51, "libx265": 51, "_nvenc": 51, "libsvtav1": 63, "libaom-av1": 63}
"""By encoder, or how its name ends; of nvenc it is `cq`. FFmpeg itself cuts what is above, or fails."""
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,47}")
TAKEN = frozenset({"before-recovery", "events", "keys", "logs", "manifest", "reserve", "session", "summary"})
"""What stands in a session's folder beside the cameras' folders."""
DEVICES = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]")
"""Names that Windows has for devices, whatever the case; no file can have them."""


class RigError(InputError):
    """A rig file that can't be used; the text names the key, the value and what would do."""


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError("a name is 1 to 48 letters, digits, - or _, and does not begin with -")
    return value


def check_camera_name(value: str) -> str:
    """Give a camera's name back, which is that of a folder, too.

    Raises
    ------
    ValueError
        Where no camera can have it.
    """
    _name(value)
    if value.casefold() in TAKEN:
        raise ValueError("a camera can't have this name: the session folder has a file or folder of that name")
    if DEVICES.fullmatch(value.casefold()):
        raise ValueError("a camera can't have this name: on Windows it is a device, and no folder can have it")
    return value


def _address(value: str) -> str:
    try:
        # Whether it needs keys is seen when it is bound, by the process that binds it.
        check_endpoint(value, bind=False, keys=None)
    except EndpointError as error:
        raise ValueError(str(error)) from error
    if re.match(r"tcp://(\*|0\.0\.0\.0|\[::\]):", value):
        raise ValueError("write the machine's own address, which others can connect to")
    return value


Name = Annotated[str, AfterValidator(_name)]
CameraName = Annotated[str, AfterValidator(check_camera_name)]
Address = Annotated[str, AfterValidator(_address)]
MiB = Annotated[int, Field(ge=1, le=2**20)]
Cpus = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class SessionTable(Table):
    """`[session]`: where the session folder goes and when the run ends."""

    name: Name = "session"
    """Part of the session folder's name."""
    output: str = "recordings"
    """Folder of the session folders; relative to the folder in which the command runs."""
    seconds: Annotated[float, Field(gt=0)] | None = None
    """Seconds after which the run ends by itself."""
    min_free_gib: Annotated[float, Field(ge=0)] = 1.0
    """GiB that must be free on the output's disk for a run to start."""
    stop_free_gib: Annotated[float, Field(ge=0)] = 0.5
    """GiB below which a run is ended while its files can be closed; there is a warning at twice that, or when the disk
    has space for less than ten minutes more. Each camera's process looks at the disk that it writes to."""


class RecordingTable(VideoSettings, frozen=True, kw_only=True):
    """`[recording]`, and `[cameras.NAME.recording]` for what one camera has otherwise."""

    enabled: bool = True
    """Whether to record video; the frame table is written in any case."""
    queue_mib: Annotated[int, Meta(ge=1, le=2**20)] = 512
    """MiB of raw frames that may wait for the encoder before frames are lost to the video."""


class CameraTable(BaseModel):
    """`[cameras.NAME]`: the backend's settings stand beside these."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    backend: str
    """synthetic, file, opencv, or an installed plugin's."""
    endpoint: Address | None = None
    """Where to publish frames; by default an address of this machine alone."""
    remote: bool = False
    """Whether the camera's process is started by hand, on another machine: `posestream join camera:NAME ADDRESS`."""
    timeout_s: Annotated[float, Field(gt=0)] = 5.0
    """Seconds without a frame after which the camera is said to be silent."""
    reconnect_s: Annotated[float, Field(ge=0)] = 60.0
    """Seconds for which a camera that was lost is looked for before the run ends; 0: it ends at once."""
    publish_queue_mib: MiB = 64
    """MiB of raw frames that may wait for one subscriber."""
    cpus: Cpus | None = None
    """Numbers of the cores that the camera's process is kept to (Linux and Windows); by default the system chooses."""
    recording: dict[str, Any] = {}
    """What this camera has otherwise than `[recording]`."""
    view: Annotated[ViewSettings, AsTable()] | None = None
    """How the recorded frame is made of what the camera delivers; by default it is that."""

    @property
    def leader(self) -> str | None:
        """The camera that gives the signal for this one's frames."""
        trigger = self.options.get("trigger")
        leader = trigger.get("leader") if isinstance(trigger, dict) else None
        return leader if isinstance(leader, str) else None

    @property
    def options(self) -> dict[str, Any]:
        """The backend's own settings."""
        return dict(self.__pydantic_extra__ or {})


class InferenceTable(InferenceSettings, frozen=True, kw_only=True):
    """`[inference]`: the network, and how frames are gathered into batches."""

    model: str
    """A model bundle or what DeepLabCut left, relative to the rig file's folder; or a network that comes with us."""
    queue_mib: Annotated[int, Meta(ge=1, le=2**20)] = 512
    """MiB of raw frames that may wait for the engine in every-frame before the oldest is skipped."""
    backfill: bool = False
    """Whether the frames that got no live pose get one from the video when the run has ended."""
    remote: bool = False
    """Whether the process is started by hand, on another machine: `posestream join inference ADDRESS`."""


MaskTable, RegionTable, ViewTable, WindowTable = MaskSettings, RegionSettings, ViewSettings, CropWindowSettings
"""Their names in programs that made rigs before these settings had one definition."""


class NetworkTable(Table):
    """`[network]`: where to publish poses, and who may connect."""

    poses: Address = DEFAULT_ENDPOINT
    """Where poses are published."""
    control: Address | None = None
    """Where processes on other machines join; by default an address of this machine alone."""
    keys: str | None = None
    """Folder of keys (`posestream keys FOLDER`), which every address beyond this machine needs; relative to the rig."""


class Rig(Table):
    """A whole rig file."""

    session: SessionTable = SessionTable()
    cameras: Annotated[dict[CameraName, CameraTable], Field(min_length=1)]
    recording: Annotated[RecordingTable, AsTable()] = RecordingTable()
    inference: Annotated[InferenceTable, AsTable()] | None = None
    """None: record without poses."""
    network: NetworkTable = NetworkTable()

    def start_order(self) -> list[list[str]]:
        """Give the cameras in groups to start one after the other: a leader after all that follow it."""
        left, groups = list(self.cameras), []
        while left:
            leaders = {self.cameras[name].leader for name in left}
            groups.append([name for name in left if name not in leaders])
            left = [name for name in left if name in leaders]
        return groups

    def recording_of(self, camera: str) -> RecordingTable:
        """Give `[recording]` with what the camera has otherwise."""
        return read_table(RecordingTable, msgspec.to_builtins(self.recording) | self.cameras[camera].recording)


def load_rig(path: Path, changes: Iterable[str] = ()) -> Rig:
    """Read a rig file.

    Parameters
    ----------
    path
        The file.
    changes
        `KEY=VALUE` texts that stand above what the file says, such as `session.seconds=10`; a value is TOML, or else
        taken as text.

    Raises
    ------
    RigError
        Where it can't be read, is not TOML, or has a key or value that is not understood.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")  # editors on Windows put a mark at the beginning
        tables = tomllib.loads(text.replace("\r\n", "\n"))
    except OSError as error:
        raise RigError(f"rig file {path} can't be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise RigError(f"rig file {path} is not UTF-8 text (line {line}); save it as UTF-8 in your editor") from error
    except tomllib.TOMLDecodeError as error:
        raise RigError(f"rig file {path} is not TOML: {explain_toml(text, error)}") from error
    for change in changes:
        _change(tables, change)
    return parse_rig(tables, str(path))


def _change(tables: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    *parents, last = key.strip().split(".")
    if not equals or not all((*parents, last)):
        raise RigError(f'"{change}" changes nothing; write KEY=VALUE, such as session.seconds=10')
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    for parent in parents:
        tables = tables.setdefault(parent, {})
        if not isinstance(tables, dict):
            raise RigError(f'"{change}": {parent} is no table')
    tables[last] = value


def parse_rig(tables: dict[str, Any], origin: str) -> Rig:
    """Check a rig.

    Parameters
    ----------
    tables
        As `tomllib` gives it.
    origin
        Where it came from, for messages.

    Raises
    ------
    RigError
        With one line for each key or value that is not understood.
    """
    if problems := list(_odd_characters(tables, "")):
        raise RigError(f"rig {origin}:\n" + "\n".join(f"  {line}" for line in problems))
    try:
        rig = Rig.model_validate(tables)
    except pydantic.ValidationError as error:
        raise RigError(f"rig {origin}:\n" + "\n".join(f"  {line}" for line in explain_errors(error, Rig))) from error
    for camera in rig.cameras:
        try:
            rig.recording_of(camera)
        except pydantic.ValidationError as error:
            problems += explain_errors(error, RecordingTable, f"cameras.{camera}.recording.")
    problems = problems or _wrong_qualities(rig)
    problems += _same_folders(rig) + _wrong_leaders(rig)
    if problems:
        raise RigError(f"rig {origin}:\n" + "\n".join(f"  {line}" for line in problems))
    return rig


def _odd_characters(value: Any, key: str) -> Iterator[str]:
    """Find control characters and what is not Unicode: no name, path or address has them, and systems choke on them."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _odd_characters(str(name), key)
            yield from _odd_characters(inner, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _odd_characters(inner, f"{key}.{index}")
    elif isinstance(value, str):
        for character in value:
            if unicodedata.category(character) in {"Cc", "Cs"}:
                shown = value.encode("unicode_escape", "replace").decode()
                yield f'{key} has the character U+{ord(character):04X} in "{shown}", which no name or path can have'
                break


def _same_folders(rig: Rig) -> list[str]:
    """Find cameras whose folders are one where names do not differ by case: on Windows and macOS."""
    by_name: dict[str, list[str]] = {}
    for name in rig.cameras:
        by_name.setdefault(name.casefold(), []).append(name)
    return [
        f"cameras.{', cameras.'.join(names)}: their names differ by case alone, and Windows and macOS make one folder "
        "of them; choose another name"
        for names in by_name.values()
        if len(names) > 1
    ]


def check_cameras(rig: Rig) -> None:
    """See that the backends of this machine's cameras know every key and value; no device is touched.

    Cameras of other machines are checked there, where their backends are installed.

    Raises
    ------
    RigError
        With a line for each key or value that is not understood, or backend that can't be used here.
    """
    from posestream.acquisition.camera import CameraError, check_camera
    from posestream.acquisition.guarded import backend_guard
    from posestream.stream.wire.plugins import PluginError

    problems = []
    for name, camera in rig.cameras.items():
        if not camera.remote:
            try:
                guard = backend_guard(camera.backend)
                guard.call("its settings", check_camera, name, camera.backend, camera.options, CameraTable.model_fields)
            except PluginError as error:
                problems.append(f"cameras.{name}: {error}")
            except CameraError as error:
                problems += str(error).splitlines()
    if problems:
        raise RigError("the rig's cameras:\n" + "\n".join(f"  {line}" for line in problems))


def check_model(rig: Rig, folder: Path) -> None:
    """See that there is a model where inference on this machine will look for it; it is not read.

    Parameters
    ----------
    rig
        The rig.
    folder
        Folder from which its relative paths are taken.

    Raises
    ------
    RigError
        There is none, or another kind of file or folder.
    """
    if rig.inference is None or rig.inference.remote:
        return
    from posestream.inference.errors import ModelError
    from posestream.inference.formats.bundled import find_model
    from posestream.inference.formats.models import check_source

    try:
        check_source(find_model(rig.inference.model, folder))
    except ModelError as error:
        raise RigError(f"inference.model = {as_toml(rig.inference.model)}: {error}") from error


def _wrong_qualities(rig: Rig) -> list[str]:
    """Name what an encoder would cut to its own range without a word."""
    problems = []
    for name in rig.cameras:
        table = rig.recording_of(name)
        family = next((family for family in HIGHEST_CRF if table.codec.endswith(family)), None)
        if family is not None and table.crf is not None and table.crf > HIGHEST_CRF[family]:
            place = f"cameras.{name}.recording" if "crf" in rig.cameras[name].recording else "recording"
            problems.append(f"{place}.crf = {table.crf:g}: {table.codec} takes 0 to {HIGHEST_CRF[family]}")
    return list(dict.fromkeys(problems))


def _wrong_leaders(rig: Rig) -> list[str]:
    problems = []
    for name, camera in rig.cameras.items():
        key = f"cameras.{name}.trigger.leader = {as_toml(camera.leader)}"
        if camera.leader is not None and camera.leader not in rig.cameras:
            problems.append(f"{key}: there is no such camera{near(camera.leader, rig.cameras)}")
            continue
        passed, leader = {name}, camera.leader
        while leader in rig.cameras and leader not in passed:
            passed.add(leader)
            leader = rig.cameras[leader].leader
        if leader == name:
            problems.append(f"{key}: the cameras wait for each other in a circle")
    return problems
