"""What a pose filter is, and the chain of them that stands between the engine and the publisher."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Protocol

from posestream.inference.pose import FramePose

__all__ = ["FilterChain", "PoseFilter"]


class PoseFilter(Protocol):
    """Filters the poses of one camera; each camera has one of its own.

    It may hold a pose back until later ones have come (a centred median), and may give more poses than it was given.
    Frames that got no pose are not told of: how far apart two poses are is in `frame.captured_ns`.
    """

    def push(self, pose: FramePose) -> Iterable[FramePose]:
        """Take the next pose, in the order of the frames; give those that are ready, oldest first."""

    def flush(self) -> Iterable[FramePose]:
        """Give what was held back, as no more poses come."""


class FilterChain:
    """Filters one behind another, for any number of cameras.

    It gives filtered poses alone. The network's own go out before, at once, whatever a filter holds back.

    Parameters
    ----------
    filters
        What makes a filter for a camera, by name, in order.
    """

    def __init__(self, filters: Mapping[str, Callable[[], PoseFilter]]) -> None:
        self._makers, self._names = tuple(filters.values()), tuple(filters)
        self._cameras: dict[str, list[PoseFilter]] = {}

    def push(self, pose: FramePose) -> Iterator[FramePose]:
        """Give what comes out behind the last filter now that this pose has gone in; nothing without filters."""
        if self._makers:
            if (camera := pose.frame.camera) not in self._cameras:
                self._cameras[camera] = [make() for make in self._makers]
            yield from self._named(_through(self._cameras[camera], [pose]))

    def flush(self) -> Iterator[FramePose]:
        """Give what all filters have held back, camera by camera, as no more poses come."""
        for filters in self._cameras.values():
            for place, one in enumerate(filters):
                yield from self._named(_through(filters[place + 1 :], one.flush()))

    def _named(self, poses: Iterable[FramePose]) -> Iterator[FramePose]:
        return (replace(pose, filters=self._names) for pose in poses)


def _through(filters: Iterable[PoseFilter], poses: Iterable[FramePose]) -> Iterable[FramePose]:
    """Give what comes out of some filters when these poses go in."""
    for one in filters:
        poses = [out for pose in poses for out in one.push(pose)]
    return poses
