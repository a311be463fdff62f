"""A frozen graph as a layer of Keras on TensorFlow; imported only once Keras may be."""

from typing import Any

import keras
import tensorflow as tf

__all__ = ["FrozenGraph"]


class FrozenGraph(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Runs a graph that `graph_file.py` has checked.

    Parameters
    ----------
    graph
        `GraphDef` with one placeholder.
    outputs
        Names of the nodes that give the maps, and how many channels each has.
    one_at_a_time
        Whether each picture is run alone, since what is in the batch with it would change its maps.
    """

    def __init__(self, graph: Any, outputs: dict[str, int], *, one_at_a_time: bool, **options: Any) -> None:
        super().__init__(dtype="float32", trainable=False, **options)
        (source,) = (node.name for node in graph.node if node.op == "Placeholder")
        self._channels = list(outputs.values())
        self._one_at_a_time = one_at_a_time

        def run(pictures: Any) -> list[Any]:
            fetched = [f"{name}:0" for name in outputs]
            maps = tf.graph_util.import_graph_def(graph, {f"{source}:0": pictures}, fetched, name="graph")
            shapes = [(None, None, None, channels) for channels in self._channels]
            return [tf.ensure_shape(tensor, shape) for tensor, shape in zip(maps, shapes, strict=True)]

        self._run = tf.function(run, input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)])

    def call(self, pictures: Any) -> list[Any]:
        """Give the maps of float32 RGB pictures (B, H, W, 3), values from 0 to 255."""
        if not self._one_at_a_time:
            return list(self._run(pictures))
        return list(
            tf.map_fn(
                lambda picture: [maps[0] for maps in self._run(picture[None])],
                pictures,
                fn_output_signature=[tf.TensorSpec((None, None, size), tf.float32) for size in self._channels],
                parallel_iterations=1,
            )
        )
