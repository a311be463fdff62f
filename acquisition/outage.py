"""A camera that was lost during a run, until it delivers again or has been away for too long."""

import time

from posestream.acquisition.camera import Camera, CameraError, CameraFormat

__all__ = ["Outage"]

RETRY_S = 0.5
"""Seconds between two attempts to open a camera that is away."""


class Outage:
    """Looks for a camera that was lost.

    Parameters
    ----------
    camera
        The camera, as it was when `read` failed.
    was
        What it delivered.
    error
        What `read` said.
    reconnect_s
        Seconds to go on looking.

    Raises
    ------
    CameraError
        The same error, where nobody is to look, or such a camera can't come back.
    """

    def __init__(self, camera: Camera, was: CameraFormat, error: CameraError, reconnect_s: float) -> None:
        if reconnect_s <= 0 or not was.reconnects:
            raise error
        self._camera, self._was, self._reconnect_s = camera, was, reconnect_s
        self._error, self._open = error, False
        self._deadline = time.monotonic() + reconnect_s
        self._next = time.monotonic()
        camera.stop()

    def lost_again(self, error: CameraError) -> None:
        """Take note that the camera failed once more before it had delivered anything."""
        self._error, self._open = error, False
        self._camera.stop()

    def find(self) -> CameraFormat | None:
        """Try to open and start the camera, if it is time to.

        Returns
        -------
        CameraFormat or None
            None while it is away, or where it was found before.

        Raises
        ------
        CameraError
            Where it has been away for too long, or came back as another.
        """
        now = time.monotonic()
        if self._open or now < self._next:
            return None
        self._next = now + RETRY_S
        try:
            found = self._camera.open()
            if self._same(found):
                self._camera.start()
                self._open = True
                return found
        except CameraError as error:
            self._error = error
            self._camera.stop()
            if now >= self._deadline:
                raise CameraError(
                    f"{error}; it did not come back within the {self._reconnect_s:g} s of reconnect_s"
                ) from error
            return None
        raise CameraError(f"the camera came back with frames of {_text(found)}, they were {_text(self._was)} before")

    @property
    def open(self) -> bool:
        """Whether the camera has been opened again; it need not have delivered yet."""
        return self._open

    def _same(self, found: CameraFormat) -> bool:
        was = self._was
        return (found.shape, found.pixel_format, found.bits) == (was.shape, was.pixel_format, was.bits)


def _text(camera: CameraFormat) -> str:
    return f"{camera.width}x{camera.height} {camera.pixel_format}, {camera.bits} bits"
