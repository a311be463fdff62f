"""Load a model from wherever it lies: a bundle, or straight away what DeepLabCut leaves behind."""

from pathlib import Path

from posestream.inference.bundle import MODEL_FILE, ModelBundle
from posestream.inference.checkpoint import CONFIG_FILE, read_train_folder
from posestream.inference.errors import ModelError

__all__ = ["load_model"]

SUPPORTED = (
    f"A model is a bundle (a folder with {MODEL_FILE}), or a train folder of DeepLabCut's TensorFlow code "
    f"(with {CONFIG_FILE} and snapshot-N.index), or one of its snapshots"
)


def load_model(source: str | Path) -> ModelBundle:
    """Load a model.

    Parameters
    ----------
    source
        A bundle's folder; a DeepLabCut TensorFlow train folder or the folder above it, of which the newest snapshot is
        taken; or one snapshot, `.../train/snapshot-N` with or without `.index`.

    Returns
    -------
    ModelBundle
        The model, weights in float32.

    Raises
    ------
    ModelError
        Nothing is there, or it is damaged, or it is not one of these.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _load_folder(path)
    prefix = path.with_suffix("") if path.suffix == ".index" else path
    if prefix.with_name(f"{prefix.name}.index").is_file():
        return read_train_folder(prefix.parent, prefix.name)
    if not path.exists():
        raise ModelError(f"No such model: {source}. {SUPPORTED}.")
    raise ModelError(f"{source} is not a model that this version can run: it is {_kind_of_file(path)}. {SUPPORTED}.")


def _load_folder(folder: Path) -> ModelBundle:
    if (folder / MODEL_FILE).exists():
        return ModelBundle.load(folder)
    for train in (folder, folder / "train"):
        if (train / CONFIG_FILE).is_file() and any(train.glob("snapshot-*.index")):
            return read_train_folder(train)
    raise ModelError(f"{folder} is not a model that this version can run: {_what_is_in(folder)}. {SUPPORTED}.")


def _kind_of_file(path: Path) -> str:
    kinds = {
        ".pt": "a PyTorch snapshot (.pt), written by DeepLabCut 3",
        ".pth": "a PyTorch file",
        ".pb": "a TensorFlow graph (.pb), exported by DeepLabCut",
        ".pbtxt": "a TensorFlow graph as text (.pbtxt)",
        ".onnx": "an ONNX network",
        ".gz": "an archive; unpack it first",
        ".zip": "an archive; unpack it first",
    }
    return kinds.get(path.suffix, "a file of another kind")


def _what_is_in(folder: Path) -> str:
    """Name what a folder holds that is no model for us, as the end of a sentence."""
    roots = [folder / name for name in ("dlc-models", "dlc-models-pytorch") if (folder / name).is_dir()]
    if roots:
        found = sorted(
            train for root in roots for train in root.glob("*/*/train") if any(train.glob("snapshot-*.index"))
        )
        names = ", ".join(str(train) for train in found[:5]) or "none has a TensorFlow snapshot yet"
        return f"it is a whole DeepLabCut project, so name one of its train folders ({names})"
    for place in (folder, folder / "train"):
        if (place / "pytorch_config.yaml").exists() or any(place.glob("*.pt")):
            return "it holds PyTorch snapshots (.pt), written by DeepLabCut 3"
        if any(place.glob("*.pb")):
            return "it holds a TensorFlow graph (.pb), exported by DeepLabCut"
        if (place / CONFIG_FILE).exists():
            return f"it has {CONFIG_FILE} but no snapshot-N.index"
        if any(place.glob("snapshot-*.index")):
            return f"it has a snapshot but no {CONFIG_FILE}"
    return f"it has neither {MODEL_FILE} nor {CONFIG_FILE}"
