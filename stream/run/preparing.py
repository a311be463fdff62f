"""What is seen to before any process of a run is started: that its machine, disk, keys and addresses will do."""

from collections.abc import Iterable
from pathlib import Path

from posestream.stream.rig import Rig, RigError, check_cameras, check_model
from posestream.stream.run.children import Child
from posestream.stream.run.outcome import WrongUseError
from posestream.stream.session.record import OutputError, check_output
from posestream.stream.wire.endpoints import EndpointError, check_endpoint, check_reachable, remove_leftovers
from posestream.stream.wire.keys import Keys, KeysError, load_keys
from posestream.stream.wire.priority import CpusError, check_cpus

__all__ = ["check_start", "keys_folder"]


def check_start(rig: Rig, rig_folder: Path, output: Path, children: Iterable[Child]) -> Keys | None:
    """Check everything that can be checked at once; gives the keys, where the rig names some.

    Raises
    ------
    WrongUseError
        Where the rig asks for what can't be.
    """
    try:
        check_cameras(rig)
        _check_cpus(rig)
        check_output(output, rig.session.min_free_gib)
        remove_leftovers()
        folder = keys_folder(rig, rig_folder)
        keys = load_keys(folder) if folder is not None else None
        _check_addresses(rig, children, keys)
        check_model(rig, rig_folder)
    except (RigError, OutputError, KeysError, EndpointError) as error:
        raise WrongUseError(str(error)) from error
    return keys


def keys_folder(rig: Rig, rig_folder: Path) -> Path | None:
    """Folder of the keys that the rig names."""
    return rig_folder / Path(rig.network.keys).expanduser() if rig.network.keys is not None else None


def _check_cpus(rig: Rig) -> None:
    """See that this machine has the cores of the processes that are started here."""
    tables = {f"cameras.{name}": table for name, table in rig.cameras.items()}
    for key, table in (tables | {"inference": rig.inference}).items():
        if table is not None and table.cpus is not None and not table.remote:
            try:
                check_cpus(table.cpus)
            except CpusError as error:
                raise WrongUseError(f"{key}.{error}") from error


def _check_addresses(rig: Rig, children: Iterable[Child], keys: Keys | None) -> None:
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
    remote = [child.title for child in children if child.remote]
    if remote and rig.network.control is None:
        raise WrongUseError(f"network.control: missing; {', '.join(remote)} joins from another machine")
