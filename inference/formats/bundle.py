"""The model bundle: a folder with `model.json` and `weights.safetensors`, or `graph.pb` in the place of the latter.

docs/bundle.md describes it for readers and writers of their own. `model.json` holds one object (schema `BundleFile`)::

    {"format": "posestream model", "version": 1,
     "model": {"name": ..., "net_type": "resnet_50", "bodyparts": [...], ...},          see `ModelSpec`
     "weights": {"dtype": "float32", "sha256": ...}}                                    see `WeightsFile`

`weights.safetensors` holds the tensors that `expected_tensors` names. A network of another kind than the ResNets is
kept as the frozen graph that it was exported as (`family: frozen-graph`), cut to what leads from pictures to the maps;
`graph_file.py` says what may be in it. Then `"graph": {"sha256": ...}` stands in the place of `weights`.

Keys with a default may be absent: a bundle written before a key existed means its default.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from posestream.inference.errors import ModelError
from posestream.inference.families import FAMILIES, head_channels
from posestream.inference.families.survey import survey
from posestream.inference.formats.graph_file import check_graph
from posestream.stream.disk.durable import making_folder

__all__ = [
    "GRAPH_FILE",
    "MODEL_FILE",
    "WEIGHTS_FILE",
    "BundleFile",
    "FrozenNetType",
    "GraphFile",
    "ModelBundle",
    "ModelSource",
    "ModelSpec",
    "NetType",
    "WeightsFile",
    "expected_tensors",
]

MODEL_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
GRAPH_FILE = "graph.pb"
VERSION: Literal[1] = 1

FrozenNetType = Literal[
    "mobilenet_v2_1.0",
    "mobilenet_v2_0.75",
    "mobilenet_v2_0.5",
    "mobilenet_v2_0.35",
    "efficientnet-b0",
    "efficientnet-b1",
    "efficientnet-b2",
    "efficientnet-b3",
    "efficientnet-b4",
    "efficientnet-b5",
    "efficientnet-b6",
]
"""Networks that run as the frozen graph that they were exported as."""
NetType = Literal["resnet_50", "resnet_101", "resnet_152", "student_small", "student_medium", "leap", FrozenNetType]
Family = Literal["slim", "timm", "student", "leap", "frozen-graph"]
Norm = Literal["folded", "group", "batch"]
StorageType = Literal["float32", "float16"]

FILE_NAME = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
"""What no name of a file may hold, on one system or another."""

Text = Annotated[str, Meta(min_length=1, max_length=500)]
Label = Annotated[str, Meta(min_length=1, max_length=200)]
Deviation = Annotated[float, Meta(gt=0, lt=1e6)]


class ModelSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a model came from; what is not known is None or empty."""

    kind: Label
    """Program and form, for example `deeplabcut-tensorflow`."""
    folder: str = ""
    """Name of the folder that was read, not its path."""
    snapshot: str = ""
    iterations: int | None = None
    """Training iterations of the snapshot, as DeepLabCut's TensorFlow code counts."""
    epochs: int | None = None
    """Training epochs of the snapshot, as DeepLabCut 3 counts."""
    task: str = ""
    """DeepLabCut's `Task`."""
    date: str = ""
    """DeepLabCut's `date`, for example `Oct30`."""
    shuffle: int | None = None
    training_fraction: float | None = None
    """Share of the labelled frames that the network was trained on, 0 to 1."""
    iteration: int | None = None
    """DeepLabCut's `iteration`, the round of active learning."""


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of a model but its weights.

    Raises
    ------
    ValueError
        Names that are not unique, a scorer that can't be part of a file's name, or a skeleton between body parts that
        the model does not have.
    """

    name: Label
    net_type: NetType
    bodyparts: Annotated[tuple[Label, ...], Meta(min_length=1, max_length=10_000)]
    """Names of the K body parts, in the order of the network's channels."""
    skeleton: tuple[tuple[str, str], ...] = ()
    """Pairs of body parts to draw a line between."""
    stride: Literal[8, 1] = 8
    """Pixels of the picture between neighbouring cells of the maps: 1 in LEAP's network."""
    locref_stdev: Annotated[float, Meta(gt=0, lt=1e6)] = 7.2801
    """Pixels that a location refinement of 1 stands for."""
    location_refinement: bool = True
    """Whether the network has a head for location refinement."""
    mean_pixel: tuple[float, float, float] = (123.68, 116.779, 103.939)
    """Subtracted from every pixel; red, green, blue; 0 to 255. Networks that see in grey have three equal numbers."""
    std_pixel: tuple[Deviation, Deviation, Deviation] = (1.0, 1.0, 1.0)
    """Every pixel is divided by it after that."""
    family: Family = "slim"
    """Kind of network (see `posestream.inference.families`): the ResNet of tf_slim (DeepLabCut's TensorFlow code) or of
    timm (DeepLabCut 3), which differ in where a block strides and dilates, in how the max pool pads, and in the last
    row and column of the maps; a student; LEAP's. Or none of these: a frozen graph."""
    norm: Norm = "folded"
    """Batch norm with the statistics of training, folded into the convolutions (in a frozen graph, part of it); group
    norm (only `timm`); or batch norm with the statistics of the pictures being run (only `frozen-graph`), so that
    pictures must be run one at a time."""
    apply_sigmoid: bool = True
    """Whether the likelihood is the sigmoid of what the head says, or that itself."""
    clip_scores: bool = False
    """Whether the likelihood is clipped to 0 to 1."""
    scorer: Text
    """Name that DeepLabCut gives to this snapshot's predictions; part of its file names."""
    source: ModelSource

    def __post_init__(self) -> None:
        if FILE_NAME.search(self.scorer):
            raise ValueError(f"the scorer {self.scorer[:100]!a} can't be part of the name of a file")
        if len(set(self.bodyparts)) != len(self.bodyparts):
            raise ValueError("body parts appear twice")
        known = FAMILIES.get(self.family)
        if self.net_type not in (known.strides if known else get_args(FrozenNetType)):
            raise ValueError(f"a {self.net_type} is not of the family {self.family}")
        if self.norm not in (known.norms if known else ("folded", "batch")):
            raise ValueError(f"the family {self.family} has no {self.norm} norm")
        if self.stride != (known.strides[self.net_type] if known else 8):
            raise ValueError(f"a {self.net_type} has no stride of {self.stride}")
        if known and known.channels == 1 and (len(set(self.mean_pixel)) > 1 or len(set(self.std_pixel)) > 1):
            raise ValueError(f"a {self.net_type} sees in grey, but mean_pixel or std_pixel differ by colour")
        strangers = {part for pair in self.skeleton for part in pair} - set(self.bodyparts)
        if strangers:
            raise ValueError(f"the skeleton names body parts that the model lacks: {', '.join(sorted(strangers))}")


class WeightsFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `weights.safetensors` must be."""

    dtype: StorageType
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    """Of the file's bytes: a flipped bit is found before it is a wrong pose."""


class GraphFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `graph.pb` must be."""

    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class BundleFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Schema of `model.json`.

    Raises
    ------
    ValueError
        A frozen graph has weights, or another network has none.
    """

    format: Literal["posestream model"]
    version: Literal[1]
    model: ModelSpec
    weights: WeightsFile | None = None
    graph: GraphFile | None = None

    def __post_init__(self) -> None:
        frozen = self.model.family == "frozen-graph"
        if (self.graph is not None) != frozen or (self.weights is None) != frozen:
            raise ValueError(f"a {self.model.net_type} ({self.model.family}) has the other one of weights and graph")


def expected_tensors(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that a model with this specification has.

    Returns
    -------
    dict[str, tuple[int, ...]]
        In the order of the layers, for example `conv1/kernel` and `conv1/bias`, ... `part_pred/...` and, with location
        refinement, `locref_pred/...`. With group norm, `gamma` and `beta` stand in the place of `bias`, but in the
        heads. A frozen graph has none.
    """
    if spec.family not in FAMILIES:
        return {}
    heads = head_channels(spec.bodyparts, location_refinement=spec.location_refinement)
    return survey(FAMILIES[spec.family], spec.net_type, spec.norm, heads).tensors


def check_weights(spec: ModelSpec, weights: Mapping[str, NDArray[np.floating]], where: str) -> None:
    """Refuse weights that are not exactly those of `expected_tensors`, or that are not finite."""
    expected = expected_tensors(spec)
    missing = [name for name in expected if name not in weights]
    strange = [name for name in weights if name not in expected]
    if missing or strange:
        names = ", ".join((missing or strange)[:3])
        what = f"{len(missing)} tensors are missing" if missing else f"{len(strange)} tensors do not belong there"
        raise ModelError(f"{where}: {what} (such as {names}) for a {spec.net_type}. Import the model again.")
    for name, shape in expected.items():
        if weights[name].shape != shape:
            raise ModelError(
                f"{where}: {name} has the shape {weights[name].shape}, but a {spec.net_type} with "
                f"{len(spec.bodyparts)} body parts needs {shape}. Import the model again."
            )
        if not np.isfinite(weights[name]).all():
            raise ModelError(f"{where}: {name} holds numbers that are not finite. Import another snapshot.")


@dataclass(frozen=True, eq=False)
class ModelBundle:
    """A model in memory.

    Attributes
    ----------
    spec : ModelSpec
        All but the weights.
    weights : dict[str, NDArray[np.float32]]
        The tensors that `expected_tensors` names, float32, batch norm folded in.
    graph : bytes
        Of a frozen graph: the graph, as TensorFlow's protocol buffer `GraphDef`; else empty.
    folder : Path or None
        Where it was loaded from; None for a model in memory alone.
    """

    spec: ModelSpec
    weights: dict[str, NDArray[np.float32]]
    graph: bytes = b""
    folder: Path | None = None

    def digest(self) -> str:
        """SHA-256 of all that a pose depends on: the weights and how pictures and maps are read, not names or origin.

        So it is the same for a train folder, wherever it lies, and for the float32 bundle that was made of it. It is
        taken once: what is in a bundle stays as it is.
        """
        return self._digest

    @cached_property
    def _digest(self) -> str:
        free = {"name", "skeleton", "scorer", "source"}
        spec = {name: value for name, value in msgspec.to_builtins(self.spec).items() if name not in free}
        digest = hashlib.sha256(msgspec.json.encode(spec, order="sorted"))
        for name in sorted(self.weights):
            digest.update(name.encode() + b"\0")
            digest.update(np.ascontiguousarray(self.weights[name], np.dtype("<f4")).data)
        digest.update(self.graph)
        return digest.hexdigest()

    def save(self, folder: Path, dtype: StorageType = "float32") -> None:
        """Write the bundle; the folder appears complete or not at all.

        Parameters
        ----------
        folder
            The folder to create.
        dtype
            How weights are stored. float16 halves the file and moves a pose by some hundredths of a pixel.

        Raises
        ------
        ModelError
            The folder exists, cannot be written, or the weights do not fit the specification or the dtype.
        """
        if folder.exists():
            raise ModelError(f"{folder} exists already. Name a new folder, or remove it first.")
        payload = self._payload(dtype)
        digest = hashlib.sha256(payload).hexdigest()
        description = BundleFile(
            format="posestream model",
            version=VERSION,
            model=self.spec,
            weights=None if self.graph else WeightsFile(dtype=dtype, sha256=digest),
            graph=GraphFile(sha256=digest) if self.graph else None,
        )
        text = msgspec.json.format(msgspec.json.encode(description), indent=2)

        try:
            with making_folder(folder) as partial:
                (partial / (GRAPH_FILE if self.graph else WEIGHTS_FILE)).write_bytes(payload)
                (partial / MODEL_FILE).write_bytes(text + b"\n")
        except OSError as error:
            raise ModelError(f"{folder} cannot be written: {error.strerror or error}.") from error

    def _payload(self, dtype: StorageType) -> bytes:
        """Bytes of the file with the weights, or the graph."""
        check_weights(self.spec, self.weights, self.spec.name)
        if self.graph:
            if dtype != "float32":
                raise ModelError(f"{self.spec.name} is a frozen graph and kept as it is. Save it as float32.")
            return self.graph
        from safetensors.numpy import save

        with np.errstate(over="ignore"):  # what overflows is refused in the next line
            stored = {name: np.ascontiguousarray(array, dtype=dtype) for name, array in self.weights.items()}
        if not all(np.isfinite(array).all() for array in stored.values()):
            raise ModelError(f"{self.spec.name}: its weights are too large for {dtype}. Save it as float32.")
        return save(stored)

    @classmethod
    def load(cls, folder: Path) -> "ModelBundle":
        """Read a bundle and check all of it; nothing in it is executed.

        Raises
        ------
        ModelError
            A file is absent, unreadable, damaged, of another version, or does not fit the other.
        """
        description = _read_description(folder / MODEL_FILE)
        spec, weights = description.model, description.weights
        if weights is None:
            path = folder / GRAPH_FILE
            graph = _read_checked(path, description.graph.sha256 if description.graph is not None else "")
            parts, locref = len(spec.bodyparts), spec.location_refinement
            check_graph(graph, str(path), parts=parts, locref=locref, batch_statistics=spec.norm == "batch")
            return cls(spec, {}, graph, folder)

        from safetensors import SafetensorError
        from safetensors.numpy import load

        path = folder / WEIGHTS_FILE
        payload = _read_checked(path, weights.sha256)
        try:
            stored = load(payload)
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise ModelError(f"{path} is not a safetensors file: {error}. Copy the bundle again.") from error
        odd = sorted({str(array.dtype) for array in stored.values()} - {weights.dtype})
        if odd:
            raise ModelError(f"{path} holds {', '.join(odd)}, but {MODEL_FILE} says {weights.dtype}.")
        check_weights(spec, stored, str(path))
        return cls(spec, {name: array.astype(np.float32, copy=False) for name, array in stored.items()}, folder=folder)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read: {error.strerror or error}. "
            f"A bundle is a folder with {MODEL_FILE} and {path.name if path.name != MODEL_FILE else WEIGHTS_FILE}."
        ) from error


def _read_checked(path: Path, sha256: str) -> bytes:
    payload = _read(path)
    if hashlib.sha256(payload).hexdigest() != sha256:
        raise ModelError(
            f"{path} is damaged ({len(payload):,} bytes; its checksum is not the one in {MODEL_FILE}). "
            "Copy the bundle again."
        )
    return payload


class _Version(msgspec.Struct):
    version: int


def _read_description(path: Path) -> BundleFile:
    text = _read(path)
    try:
        if (version := msgspec.json.decode(text, type=_Version).version) != VERSION:
            raise ModelError(
                f"{path} is a bundle of version {version}, and this version of posestream knows {VERSION}. "
                "Update posestream."
            )
        return msgspec.json.decode(text, type=BundleFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(
            f"{path} does not describe a model that this version of posestream knows: {error}. "
            "Copy the bundle again, or update posestream."
        ) from error
