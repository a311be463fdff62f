"""Runs a process of a rig whose supervisor is on another machine."""

from pathlib import Path

from posestream.stream.wire.keys import KeysError, load_keys
from posestream.stream.wire.process import serve
from posestream.stream.wire.sockets import EndpointError, check_endpoint

__all__ = ["JoinError", "join_run"]


class JoinError(Exception):
    """A role or an address that can't be; the text is for people."""


def join_run(role: str, control: str, keys: Path | None) -> int:
    """Run `camera:NAME` or `inference` for the supervisor at an address; gives the exit status.

    Raises
    ------
    JoinError
        Where the role, the address or the keys are not understood.
    """
    try:
        check_endpoint(control, bind=False, keys=None)
        if keys is not None:
            load_keys(keys)
    except (EndpointError, KeysError) as error:
        raise JoinError(str(error)) from error
    kind, _, name = role.partition(":")
    if kind == "camera" and name:
        from posestream.acquisition.process import CameraRole

        return serve(CameraRole(), role, control, keys)
    if role == "inference":
        from posestream.inference.process import InferenceRole

        return serve(InferenceRole(), role, control, keys)
    raise JoinError(f'"{role}" is no role; write camera:NAME, with the name from the rig, or inference')
