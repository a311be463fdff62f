"""Maps and their decoders apart from each other: what poses cost that are read from maps."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posestream.inference.bench.cells import Decoder
from posestream.inference.engines.tensorflow_engine import start_tensorflow
from posestream.inference.formats.bundle import ModelBundle
from posestream.inference.networks.decoder import decode_double_loop, decode_numpy, sigmoid
from posestream.inference.networks.network import build_network, decode_maps
from posestream.stream.wire.messages import CHANNELS, PixelFormat

__all__ = ["MapsEngine", "graph_decoder"]


class MapsEngine:
    """TensorFlow as an engine (see `Engine`) that gives its maps away, to be decoded in NumPy.

    So DeepLabCut's first batched code did it.

    Raises
    ------
    ModelError
        TensorFlow cannot be imported, or the network runs in no such precision.
    """

    name, reason = "tensorflow", ""

    def __init__(self, bundle: ModelBundle, precision: Any, decoder: Decoder, threads: int | None = None) -> None:
        self._tf, self._bundle, self.precision = start_tensorflow(threads), bundle, precision
        self._decode = decode_double_loop if decoder == "loop" else decode_numpy
        self._networks: dict[PixelFormat, Any] = {}
        self._function: Any = None

    @property
    def bodyparts(self) -> tuple[str, ...]:
        """Names of the K body parts."""
        return self._bundle.spec.bodyparts

    def prepare(self, height: int, width: int, pixel_format: PixelFormat, batch_sizes: Iterable[int]) -> None:
        """Compile and warm up."""
        network = build_network(self._bundle, pixel_format=pixel_format, precision=self.precision, decode=False)
        self._function = self._tf.function(lambda frames: network(frames, training=False), reduce_retracing=True)
        for size in batch_sizes:
            self.run(np.zeros((size, height, width, CHANNELS[pixel_format]), np.uint8))

    def maps(self, frames: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Likelihoods (B, h, w, K), and location refinement (B, h, w, 2K) where the network has it."""
        logits, *locref = (np.asarray(maps) for maps in self._function(self._tf.convert_to_tensor(frames)))
        return [sigmoid(logits) if self._bundle.spec.apply_sigmoid else logits, *locref]

    def decode(self, scoremap: NDArray[np.float32], locref: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Poses (B, K, 3) of maps."""
        spec = self._bundle.spec
        return self._decode(scoremap, locref, stride=float(spec.stride), locref_stdev=spec.locref_stdev)

    def run(self, frames: NDArray[np.uint8], pixel_format: PixelFormat | None = None) -> NDArray[np.float32]:  # noqa: ARG002
        """Poses (B, K, 3) of frames, uint8 (B, H, W, C)."""
        return self.decode(*self.maps(frames))


def graph_decoder(bundle: ModelBundle, height: int, width: int) -> Callable[[list[NDArray[np.float32]]], Any]:
    """Give the decoder of the graph alone, in TensorFlow, for maps of so many cells.

    It takes what the heads say: logits (B, h, w, K), and location refinement (B, h, w, 2K) where the network has it.
    """
    tf = start_tensorflow(None)
    import keras

    spec = bundle.spec
    parts = len(spec.bodyparts)
    channels = [parts, 2 * parts] if spec.location_refinement else [parts]
    maps = [keras.Input((height, width, number)) for number in channels]
    decoder = keras.Model(maps, decode_maps(spec, maps))
    return tf.function(lambda given: decoder(given, training=False), reduce_retracing=True)  # type: ignore[no-any-return]
