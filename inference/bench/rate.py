"""The machine's matrix rate: what a network's speed is a share of."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

__all__ = ["matrix_product"]

SIDE = 2048
RUNS = 3


def matrix_product(engine: str, precision: str, threads: int | None) -> Callable[[], float] | None:
    """Make a large matrix product in an engine's library and precision.

    Returns
    -------
    Callable or None
        Each call gives the operations a second (FLOP/s, or in int8 as many of its) of the median of some products.
        None where the library has no such product here.
    """
    product = {"openvino": _openvino, "tensorflow": _tensorflow}.get(engine)
    multiply = product(precision, threads) if product is not None else None
    if multiply is None:
        return None
    multiply()

    def measured() -> float:
        seconds = []
        for _ in range(RUNS):
            began = time.perf_counter()
            multiply()
            seconds.append(time.perf_counter() - began)
        return 2 * SIDE**3 / median(seconds)

    return measured


def _openvino(precision: str, threads: int | None) -> Callable[[], Any] | None:
    from openvino import opset13 as opset

    from posestream.inference.engines.openvino_engine import DEVICE, HINTS
    from posestream.inference.engines.openvino_graph import import_openvino

    if precision not in HINTS:
        return None
    ov = import_openvino()
    rng = np.random.default_rng(0)
    left = opset.parameter([SIDE, SIDE], ov.Type.f32)
    right = opset.constant(rng.standard_normal((SIDE, SIDE)).astype(np.float32))
    factors = [left, right]
    if precision == "int8":
        bounds = [np.float32(-4), np.float32(4)]
        # 255 levels of what is constant, as NNCF gives weights: with 256, OpenVINO multiplies in float32
        factors = [
            opset.fake_quantize(factor, *bounds, *bounds, levels)
            for factor, levels in zip(factors, (256, 255), strict=True)
        ]
    product = opset.matmul(*factors, transpose_a=False, transpose_b=True)
    # One row of sums comes out: writing the whole product back as float32 is no part of it
    model = ov.Model([opset.reduce_max(product, np.array([0]), keep_dims=False)], [left])
    config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": HINTS[precision]}
    if threads is not None:
        config["INFERENCE_NUM_THREADS"] = threads
    request = ov.Core().compile_model(model, DEVICE, config).create_infer_request()
    request.set_input_tensor(ov.Tensor(rng.standard_normal((SIDE, SIDE)).astype(np.float32)))
    infer: Callable[[], Any] = request.infer
    return infer


def _tensorflow(precision: str, threads: int | None) -> Callable[[], Any] | None:
    from posestream.inference.engines.tensorflow_engine import start_tensorflow

    if precision not in ("float32", "bfloat16", "float16"):
        return None
    tf = start_tensorflow(threads)
    left, right = (tf.cast(tf.random.normal((SIDE, SIDE), seed=seed), precision) for seed in (1, 2))
    multiply = tf.function(lambda: tf.reduce_max(tf.matmul(left, right)))
    return lambda: multiply().numpy()
