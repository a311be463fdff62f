"""The processes of a run, by role, and what they said."""

from collections.abc import Iterable, Iterator, Sequence

from posestream.stream.rig import Rig
from posestream.stream.run.children import Child
from posestream.stream.run.roles import RoleRow, streams_of
from posestream.stream.wire.control import Armed
from posestream.stream.wire.counters import CameraCounters, InferenceCounters, PoseRecorderCounters
from posestream.stream.wire.messages import StreamInfo

__all__ = ["Crew"]


class Crew:
    """The processes that a rig asks for; those of roles that come afterwards are added when their time comes.

    Parameters
    ----------
    rig
        The rig.
    roles
        The table of roles.
    """

    def __init__(self, rig: Rig, roles: Sequence[RoleRow]) -> None:
        self._rig = rig
        self.rows = tuple(row for row in roles if not row.afterwards)
        """Roles of the run itself, in the order of the table."""
        self.later = tuple(row for row in roles if row.afterwards)
        """Roles that come after it."""
        self.children: list[Child] = []
        for row in self.rows:
            self.add(row)

    def add(self, row: RoleRow) -> list[Child]:
        """Take in the processes of a role that the rig asks for; gives them."""
        made = [
            Child(
                f"{row.name}:{place.name}" if place.name else row.name,
                remote=place.remote,
                row=row,
                plugin=place.plugin,
            )
            for place in row.places(self._rig)
        ]
        self.children += made
        return made

    def __iter__(self) -> Iterator[Child]:
        return iter(self.children)

    def of(self, *roles: str) -> list[Child]:
        """Give the processes of some roles."""
        return [child for child in self.children if child.row.name in roles]

    def groups(self, row: RoleRow) -> list[list[Child]]:
        """Give a role's processes in groups that begin one after the other."""
        named = {child.name: child for child in self.of(row.name)}
        groups = [list(named)] if row.groups is None else row.groups(self._rig)
        return [[named[name] for name in group] for group in groups if group]

    @property
    def cameras(self) -> dict[str, Child]:
        """The cameras by name."""
        return {child.name: child for child in self.of("camera")}

    @property
    def inference(self) -> Child | None:
        """The process of inference, where the rig has one."""
        return next(iter(self.of("inference")), None)

    def armed(self, roles: Iterable[str]) -> dict[str, Armed]:
        """Give what the processes of some roles said when they were armed, by process."""
        return {child.role: child.armed for child in self.of(*roles) if child.armed is not None}

    @property
    def streams(self) -> dict[str, StreamInfo]:
        """What each camera publishes."""
        return streams_of(self.armed(["camera"]))

    @property
    def inference_armed(self) -> Armed | None:
        """What inference said when it was armed."""
        return self.armed(["inference"]).get("inference")

    @property
    def pose_endpoint(self) -> str | None:
        """Where poses are published."""
        armed = self.inference_armed
        return armed.endpoint if armed is not None else None

    @property
    def sent(self) -> dict[str, int]:
        """Frames that each camera has published: all that it delivered."""
        return {name: c.captured if c is not None else 0 for name, c in self.camera_counters.items()}

    @property
    def camera_counters(self) -> dict[str, CameraCounters | None]:
        """Last counters of each camera; none of one that has not told any."""
        cameras = self.cameras.items()
        return {n: c.counters if isinstance(c.counters, CameraCounters) else None for n, c in cameras}

    @property
    def inference_counters(self) -> InferenceCounters | None:
        """Last counters of inference."""
        told = self.inference.counters if self.inference is not None else None
        return told if isinstance(told, InferenceCounters) else None

    @property
    def pose_counters(self) -> PoseRecorderCounters | None:
        """Last counters of the pose recorder."""
        told = (child.counters for child in self.of("poses"))
        return next((one for one in told if isinstance(one, PoseRecorderCounters)), None)
