"""Networks that come with the package, and how a model's name is told from its path."""

from pathlib import Path

__all__ = ["bundled_networks", "find_model", "is_bundled"]

FOLDER = Path(__file__).parents[1] / "networks"


def bundled_networks() -> tuple[str, ...]:
    """Names of the networks that come with the package."""
    return tuple(sorted(path.parent.name for path in FOLDER.glob("*/model.json")))


def is_bundled(folder: Path | None) -> bool:
    """Say whether a bundle's folder is that of a network that comes with the package."""
    return folder is not None and folder.parent == FOLDER


def find_model(model: str | Path, folder: Path | None = None) -> Path:
    """Say where a model lies.

    Parameters
    ----------
    model
        A path, or the name of a network that comes with the package. What lies at the path goes before a network of
        its name.
    folder
        What a path is relative to; the present folder where not given.

    Returns
    -------
    Path
        Absolute. Whether there is a model is for `load_model` to say.
    """
    path = ((folder or Path()) / Path(model).expanduser()).absolute()
    if not path.exists() and str(model) in bundled_networks():
        return FOLDER / str(model)
    return path
