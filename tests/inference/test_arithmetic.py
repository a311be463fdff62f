"""The count of multiply-adds against the layers that Keras builds."""

from math import prod
from typing import Any

import msgspec
import numpy as np
import pytest

from posestream.inference.arithmetic import map_size, multiply_adds
from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle, ModelSource, ModelSpec, expected_tensors
from posestream.inference.networks.network import build_network

SPEC = ModelSpec(name="m", net_type="resnet_50", bodyparts=("a", "b"), scorer="s", source=ModelSource(kind="test"))


LEAP: dict[str, Any] = {"net_type": "leap", "stride": 1, "location_refinement": False}
KINDS: dict[str, dict[str, Any]] = {"slim": {}, "timm": {}, "student": {"net_type": "student_small"}, "leap": LEAP}


@pytest.mark.parametrize("family", list(KINDS))
@pytest.mark.parametrize("size", [(480, 640), (87, 115)])
def test_it_is_what_the_layers_of_the_network_do(family, size) -> None:
    import keras

    spec = msgspec.structs.replace(SPEC, family=family, mean_pixel=(0.0, 0.0, 0.0), **KINDS[family])
    weights = {name: np.zeros(shape, np.float32) for name, shape in expected_tensors(spec).items()}
    network = build_network(ModelBundle(spec, weights), pixel_format="gray8", height=size[0], width=size[1])
    counted = 0
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2DTranspose):
            counted += prod(layer.kernel.shape) * prod(layer.input.shape[1:3])
        elif isinstance(layer, keras.layers.Conv2D):
            counted += prod(layer.kernel.shape) * prod(layer.output.shape[1:3])
    assert multiply_adds(spec, *size) == counted
    maps = build_network(ModelBundle(spec, weights), pixel_format="gray8", decode=False, height=size[0], width=size[1])
    assert map_size(spec, *size) == maps.outputs[0].shape[1:3]


def test_a_frozen_graph_is_not_counted() -> None:
    spec = msgspec.structs.replace(SPEC, family="frozen-graph", net_type="mobilenet_v2_1.0")
    with pytest.raises(ModelError, match="frozen graph"):
        multiply_adds(spec, 480, 640)
