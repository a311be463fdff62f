"""`python -m posestream.acquisition.look`: open the camera of a job, say what it will publish, and close it.

The job comes as JSON on stdin, the answer goes as JSON to stdout. A process of its own: a vendor's library that hangs
or crashes takes nothing else with it.
"""

import sys

import msgspec

from posestream.acquisition.camera import CameraError
from posestream.acquisition.guarded import backend_guard
from posestream.acquisition.process import make_camera, stream_info
from posestream.stream.wire.jobs import CameraJob
from posestream.stream.wire.messages import StreamInfo
from posestream.stream.wire.plugins import PluginError

__all__ = ["Look", "look", "main"]


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at a camera came to."""

    stream: StreamInfo | None = None
    """What it will publish; none where it can't be opened."""
    rate_asked_hz: float | None = None
    """Frames a second that it should give; none where it goes at the rate of inference, or has none."""
    description: str = ""
    """What was opened, for people."""
    error: str = ""
    """Why it can't be opened; empty where it can."""


def look(job: CameraJob) -> Look:
    """Open a camera and close it again."""
    try:
        camera = make_camera(job, backend_guard(job.backend))
        try:
            found = camera.open()
        finally:
            camera.stop()
    except (CameraError, PluginError) as error:
        return Look(error=str(error))
    return Look(stream=stream_info(job.camera, found), rate_asked_hz=found.rate_asked_hz, description=found.description)


def main() -> None:
    """Print what the camera of the job on stdin will publish."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=CameraJob)
    sys.stdout.buffer.write(msgspec.json.encode(look(job)))


if __name__ == "__main__":
    main()
