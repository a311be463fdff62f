"""Holds a camera's backend, which may be a plug-in, to its contract: whatever it does has its name."""

from typing import Any

from posestream.acquisition.camera import Camera, CameraError, CameraFormat, Capture, EndOfStream, Pixels
from posestream.stream.wire.plugins import Guard, PluginError

__all__ = ["GuardedCamera", "backend_guard"]


def backend_guard(backend: str) -> Guard:
    """Make the guard of a backend; it lets pass what cameras may raise."""
    return Guard(f'its backend "{backend}"', (CameraError, EndOfStream))


class GuardedCamera:
    """A camera whose faults have its backend's name: see `posestream.acquisition.camera.Camera`.

    Every method raises `PluginError` where the backend raises what it must not, or gives something else.

    Parameters
    ----------
    camera
        The backend's camera.
    guard
        Through which it is called.
    """

    def __init__(self, camera: Camera, guard: Guard) -> None:
        self._camera, self._guard = camera, guard
        self.Settings: type[Any] = camera.Settings

    def open(self) -> CameraFormat:
        """As the backend's."""
        found = self._guard.call("open", self._camera.open)
        if not isinstance(found, CameraFormat):
            raise PluginError(f"{self._guard.name} gave a {type(found).__name__} in open, not a CameraFormat")
        return found

    def start(self) -> None:
        """As the backend's."""
        self._guard.call("start", self._camera.start)

    def read(self, out: Pixels, timeout_s: float) -> Capture | None:
        """As the backend's."""
        capture = self._guard.call("read", self._camera.read, out, timeout_s)
        if capture is not None:
            self._check(capture)
        return capture

    def _check(self, capture: Capture) -> None:
        if not isinstance(capture, Capture):
            raise PluginError(f"{self._guard.name} gave a {type(capture).__name__} in read, not a Capture or None")
        for name in ("captured_ns", "device_id", "device_time", "presentation_ns"):
            value = getattr(capture, name)
            if type(value) is not int and (value is not None or name == "captured_ns"):  # not numpy's, not a float
                raise PluginError(f"{self._guard.name} gave {name} = {value!r} in read, not an int")

    def stop(self) -> None:
        """As the backend's."""
        self._guard.call("stop", self._camera.stop)
