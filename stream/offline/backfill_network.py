"""Chooses the network of a backfill: the one that gave the live poses, unless somebody names another."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from posestream.inference.formats.bundled import bundled_networks, find_model
from posestream.stream.session.session_record import InferenceRecord, RigInference, SessionRecord, known
from posestream.stream.wire.errors import InputError

if TYPE_CHECKING:
    from posestream.inference.engine import Engine

__all__ = ["BackfillError", "BackfillNetwork", "open_network"]


class BackfillError(InputError):
    """What was asked for can't be done, and nothing was changed; the text is for people."""


@dataclass(frozen=True, kw_only=True)
class BackfillNetwork:
    """What `session.json` says of the network that a backfill uses."""

    model: str
    """Its name."""
    model_path: str
    model_sha256: str
    engine: str


def open_network(
    folder: Path, session: SessionRecord, named: Path | None, begun: list[str]
) -> tuple["Engine", BackfillNetwork]:
    """Open the engine with the network of a backfill.

    Parameters
    ----------
    folder
        The session's folder, for messages.
    session
        Its record.
    named
        The network that somebody named; the session's own by default.
    begun
        Cameras that have backfilled poses already.

    Raises
    ------
    BackfillError
        Where there is no network, it can't be read, or it is another than that of the poses that are there.
    """
    from posestream.inference.engines import open_engine
    from posestream.inference.errors import ModelError
    from posestream.inference.formats.models import load_model

    inference, rig = session.inference, session.rig.inference
    if inference is None or rig is None:
        raise BackfillError(f"{folder} was recorded without a network")
    path = named or _recorded_model(inference, rig)
    try:
        bundle = load_model(path)
        digest = bundle.digest()
        if named is None and known(inference.model_sha256, digest) != digest:
            raise BackfillError(
                f"{path} is not the network that it was when the session was recorded; "
                f"to backfill with it all the same, name it: --model {path}"
            )
        _check(session, inference, path, digest, bundle.spec.bodyparts, begun)
        engine = open_engine(bundle, *_engine_of(inference, rig, digest))
    except ModelError as error:
        raise BackfillError(str(error)) from error
    network = BackfillNetwork(
        model=bundle.spec.name, model_path=str(path.absolute()), model_sha256=digest, engine=engine.name
    )
    return engine, network


def _check(
    session: SessionRecord,
    inference: InferenceRecord,
    path: Path,
    digest: str,
    bodyparts: tuple[str, ...],
    begun: list[str],
) -> None:
    """See that a network's poses go with those that are there."""
    if bodyparts != inference.model.bodyparts:
        raise BackfillError(
            f"{path} finds {', '.join(bodyparts)}; the session's poses are of {', '.join(inference.model.bodyparts)}"
        )
    before = known(session.backfill, None)
    if begun and before is not None and known(before.model_sha256, digest) != digest:
        raise BackfillError(
            f"{path} is not the network that {begun[0]}/backfilled.csv was begun with "
            f"({known(before.model_path, None)}); go on with that one, or remove backfilled.csv to begin again"
        )


def _engine_of(inference: InferenceRecord, rig: RigInference, digest: str) -> tuple[str, str]:
    """Engine and precision: the session's own for its network; for another one what its rig asked for."""
    if known(inference.model_sha256, digest) == digest:
        return known(inference.engine, "auto"), known(inference.precision, "auto")
    return rig.engine, rig.precision


def _recorded_model(inference: InferenceRecord, rig: RigInference) -> Path:
    if rig.model in bundled_networks():
        return find_model(rig.model)
    written = inference.model_path or rig.model
    # On Windows, to look at a path on another machine is to log on there.
    if written.startswith(("//", "\\\\")):
        raise BackfillError(f"the session's model {written} is on another machine; name one with --model")
    path = Path(written)
    if not path.is_absolute():
        raise BackfillError(f"session.json does not say in which folder its model {path} is; name it with --model")
    if not path.exists() and not path.with_name(f"{path.name}.index").exists():
        raise BackfillError(f"the session's model {path} is not here; name it with --model")
    return path
