"""Networks that run as the graphs they were exported as: a small one of the layout of DeepLabCut's MobileNets."""

import hashlib
import tarfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posestream.inference.distilling.teacher import Teacher
from posestream.inference.engines import open_engine
from posestream.inference.engines.tensorflow_engine import TensorFlowEngine
from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle
from posestream.inference.formats.frozen_graph import read_export_folder
from posestream.inference.formats.graph_file import OPERATIONS
from posestream.inference.formats.models import load_model
from posestream.inference.networks.network import build_network

from ..conftest import POSE_CONFIG

MEAN = np.array([120, 110, 100], np.float32)


def exported_graph(*, batch_statistics: bool, ends_in_poses: bool, seed: int = 0):
    """A graph as DeepLabCut's export leaves it: frozen variables, heads under `pose`, and poses or maps at its end."""
    import tensorflow as tf

    rng = np.random.default_rng(seed)

    def variable(name: str, *shape: int, deviation: float = 0.3, middle: float = 0.0):
        array = rng.normal(middle, deviation, shape).astype(np.float32)
        return tf.identity(tf.constant(array, name=name), name=f"{name}/read")

    with tf.Graph().as_default() as graph:
        frames = tf.compat.v1.placeholder(tf.float32, (None, None, None, 3), name="Placeholder")
        net = frames - MEAN
        channels = 3
        for number, deviation in enumerate((0.02, 0.3)):  # two strides of 4
            scope = f"MobilenetV2/Conv_{number}"
            net = tf.nn.conv2d(net, variable(f"{scope}/weights", 3, 3, channels, 8, deviation=deviation), 4, "SAME")
            gamma, beta = variable(f"{scope}/gamma", 8, middle=1.0), variable(f"{scope}/beta", 8)
            moving = ([], []) if batch_statistics else (np.full(8, 0.1, np.float32), np.full(8, 1.5, np.float32))
            net, *_ = tf.raw_ops.FusedBatchNormV3(
                x=net,
                scale=gamma,
                offset=beta,
                mean=np.asarray(moving[0], np.float32),
                variance=np.asarray(moving[1], np.float32),
                epsilon=0.001,
                is_training=batch_statistics,
            )
            net = tf.nn.relu6(net)
            channels = 8
        maps = {}
        for head, outputs in (("part_pred", 3), ("locref_pred", 6)):
            scope = f"pose/{head}/block4"
            size = tf.shape(net)
            shape = tf.stack([size[0], 2 * size[1], 2 * size[2], outputs])
            net_up = tf.nn.conv2d_transpose(net, variable(f"{scope}/weights", 3, 3, outputs, 8), shape, 2, "SAME")
            biases = tf.constant(rng.normal(0, 0.1, outputs).astype(np.float32), name=f"{scope}/biases")
            maps[head] = tf.nn.bias_add(net_up, biases, name=f"{scope}/BiasAdd")
        likelihood = tf.sigmoid(maps["part_pred"], name="Sigmoid")
        if ends_in_poses:
            size = tf.shape(likelihood)
            cells = tf.reshape(tf.transpose(likelihood, (0, 3, 1, 2)), (-1, size[1] * size[2]))
            peak = tf.argmax(cells, axis=1, output_type=tf.int32)
            row, column = peak // size[2], peak % size[2]
            count = tf.range(tf.shape(cells)[0])
            offsets = tf.reshape(maps["locref_pred"], (size[0], size[1] * size[2], 3, 2))
            offset = 7.2801 * tf.gather_nd(offsets, tf.stack([count // 3, peak, count % 3], axis=1))
            place = 8.0 * tf.cast(tf.stack([row, column], axis=1), tf.float32) + 4.0 + offset[:, ::-1]
            tf.concat([place, tf.reduce_max(cells, axis=1, keepdims=True)], axis=1, name="concat_1")
        definition = graph.as_graph_def()
    for node in definition.node:  # as the machine that trained it leaves them
        node.attr["_class"].list.s.append(b"loc:@gone")
    return definition


def own_poses(definition, frames: np.ndarray) -> np.ndarray:
    """Poses of a graph that ends in them, as DeepLabCut-Live runs it."""
    import tensorflow as tf

    for node in definition.node:
        node.attr.pop("_class", None)
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(definition, name="DLC")
        with tf.compat.v1.Session(graph=graph) as session:
            rows: np.ndarray = session.run("DLC/concat_1:0", {"DLC/Placeholder:0": frames.astype(np.float32)})
    poses: np.ndarray = rows[:, [1, 0, 2]].reshape(len(frames), -1, 3)
    return poses


def written(folder: Path, definition, net_type: str = "mobilenet_v2_0.35") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "pose_cfg.yaml").write_text(POSE_CONFIG.replace("resnet_50", net_type))
    (folder / "snapshot-7.pb").write_bytes(definition.SerializeToString())
    return folder


@pytest.fixture(scope="module")
def definition():
    return exported_graph(batch_statistics=True, ends_in_poses=True)


@pytest.fixture(scope="module")
def small(definition, tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    return read_export_folder(written(tmp_path_factory.mktemp("small"), definition))


def test_it_can_teach_a_student(small) -> None:
    views = Teacher(open_engine(small)).views(np.zeros((64, 80, 1), np.uint8))
    assert views.shape == (4, 3, 3)
    assert np.isfinite(views).all()


def changed(definition):
    """Make a copy that a test may spoil."""
    copy = type(definition)()
    copy.CopyFrom(definition)
    return copy


@pytest.mark.parametrize(
    ("net_type", "batch_statistics", "scorer"),
    [("mobilenet_v2_0.35", True, "mobnet_35"), ("efficientnet-b0", False, "effnet_b0")],
)
def test_poses_are_the_graphs_own(tmp_path: Path, rng, net_type: str, batch_statistics: bool, scorer: str) -> None:
    definition = exported_graph(batch_statistics=batch_statistics, ends_in_poses=True)
    bundle = load_model(written(tmp_path / "poses", definition, net_type))
    assert bundle.spec.scorer == f"DLC_{scorer}_posesshuffle1_7"
    assert (bundle.spec.family, bundle.spec.norm) == ("frozen-graph", "batch" if batch_statistics else "folded")
    maps_only = exported_graph(batch_statistics=batch_statistics, ends_in_poses=False)
    assert load_model(written(tmp_path / "maps", maps_only, net_type)).graph == bundle.graph
    engine = TensorFlowEngine(bundle)
    for height, width in ((48, 64), (51, 47)):
        frames = rng.integers(0, 256, (3, height, width, 3), dtype=np.uint8)
        frames[1] //= 4  # statistics of its own
        engine.prepare(height, width, "rgb24", [3])
        expected = np.concatenate([own_poses(definition, frames[number : number + 1]) for number in range(3)])
        assert expected[..., 2].std() > 0.01
        np.testing.assert_allclose(engine.run(frames), expected, atol=1e-3)
        engine.prepare(height, width, "bgr24", [1])
        np.testing.assert_allclose(engine.run(frames[1:2, ..., ::-1], "bgr24"), expected[1:2], atol=1e-3)
        together = own_poses(definition, frames)
        assert (np.abs(together[..., 2] - expected[..., 2]).max() > 1e-3) == batch_statistics, "why one at a time"


def test_a_bundle_of_it(small: ModelBundle, tmp_path: Path) -> None:
    small.save(tmp_path / "bundle")
    assert sorted(path.name for path in (tmp_path / "bundle").iterdir()) == ["graph.pb", "model.json"]
    loaded = load_model(tmp_path / "bundle")
    assert (loaded.spec, loaded.graph, loaded.weights) == (small.spec, small.graph, {})
    with pytest.raises(ModelError, match="kept as it is"):
        small.save(tmp_path / "half", dtype="float16")
    assert not (tmp_path / "half").exists()
    (tmp_path / "bundle" / "graph.pb").write_bytes(small.graph[:-1])
    with pytest.raises(ModelError, match="checksum"):
        load_model(tmp_path / "bundle")
    (tmp_path / "bundle" / "graph.pb").unlink()
    with pytest.raises(ModelError, match=r"graph\.pb cannot be read"):
        load_model(tmp_path / "bundle")


def test_an_archive_of_it(small: ModelBundle, definition, tmp_path: Path) -> None:
    folder = written(tmp_path / "DLC_a_mobilenet_v2_0.35_iteration-0_shuffle-1", definition)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:  # as DeepLabCut's make_tar does
        tar.add(folder, arcname=folder.name)
    assert load_model(tmp_path / "a.tar.gz").graph == small.graph


def test_reduced_precision_is_refused(small: ModelBundle) -> None:
    with pytest.raises(ModelError, match="in float32, not in bfloat16"):
        build_network(small, pixel_format="gray8", precision="bfloat16")


@pytest.mark.parametrize(
    "operation", ["ReadFile", "WriteFile", "PyFunc", "PartitionedCall", "While", "Print", "Made-up"]
)
@pytest.mark.parametrize("wire", ["data", "control"])
def test_operations_that_are_not_arithmetic(definition, tmp_path: Path, operation: str, wire: str) -> None:
    graph = changed(definition)
    trap = graph.node.add(name="trap", op=operation)
    if wire == "data":
        trap.input.append(next(node for node in graph.node if node.op == "Relu6").name)
        next(node for node in graph.node if node.op == "Conv2DBackpropInput").input[2] = "trap"
    else:
        next(node for node in graph.node if node.op == "Sub").input.append("^trap")
    with pytest.raises(ModelError, match=f"operation '{operation}', which"):
        load_model(written(tmp_path / "a", graph))


def test_what_the_maps_do_not_need_is_left_out(small: ModelBundle, definition, tmp_path: Path) -> None:
    graph = changed(definition)
    graph.node.add(name="trap", op="WriteFile", input=["concat_1"])
    assert read_export_folder(written(tmp_path / "a", graph)).graph == small.graph
    assert not {"WriteFile", "ArgMax", "GatherNd"} & OPERATIONS


def test_hostile_graph_in_a_bundle(small: ModelBundle, definition, tmp_path: Path) -> None:
    """The checksum is right, as a bundle's maker can see to that."""
    small.save(tmp_path / "bundle")
    description = msgspec.json.decode((tmp_path / "bundle" / "model.json").read_bytes())

    def refused(content: bytes, message: str, **model) -> None:
        (tmp_path / "bundle" / "graph.pb").write_bytes(content)
        graph = {"sha256": hashlib.sha256(content).hexdigest()}
        text = {**description, "model": description["model"] | model, "graph": graph}
        (tmp_path / "bundle" / "model.json").write_bytes(msgspec.json.encode(text))
        with pytest.raises(ModelError, match=message):
            load_model(tmp_path / "bundle")

    refused(b"words", "damaged, or not a TensorFlow graph")
    refused(b"", "lacks the node")
    refused(definition.SerializeToString(), "holds more than")
    refused(small.graph, "another batch norm", norm="folded")
    refused(small.graph, "calls for", bodyparts=["a", "b"])
    refused(small.graph, "no group norm", norm="group")
    refused(small.graph, "a resnet_50 is not of the family", net_type="resnet_50")
    refused(small.graph, "the other one of weights and graph", net_type="resnet_50", family="slim", norm="folded")
    graph = type(definition).FromString(small.graph)
    graph.library.function.add().signature.name = "Relu6"
    refused(graph.SerializeToString(), "functions of its own")


def spoil(graph, name: str):
    node = next(node for node in graph.node if node.name == name)
    return node.attr["value"].tensor


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("pose/part_pred/block4/biases", np.zeros(4, np.float32), r"\(4,\), but the configuration calls for \(3,\)"),
        ("pose/locref_pred/block4/biases", np.zeros(3, np.float32), r"calls for \(6,\)"),
        ("MobilenetV2/Conv_0/gamma", np.full(8, np.nan, np.float32), "no finite numbers"),
        ("MobilenetV2/Conv_0/gamma", np.array([b"words"] * 8), "no finite numbers"),
        ("MobilenetV2/Conv_0/gamma", np.zeros((2, 2), np.float32), "TensorFlow says"),
        ("MobilenetV2/Conv_0/weights", np.zeros((3, 3, 5, 8), np.float32), "TensorFlow says"),
    ],
)
def test_constants_that_do_not_fit(definition, tmp_path: Path, name: str, value: np.ndarray, message: str) -> None:
    from tensorflow import make_tensor_proto

    graph = changed(definition)
    spoil(graph, name).CopyFrom(make_tensor_proto(value))
    with pytest.raises(ModelError, match=message):
        read_export_folder(written(tmp_path / "a", graph))


def test_a_constant_that_asks_for_all_memory(definition, tmp_path: Path) -> None:
    graph = changed(definition)
    tensor = spoil(graph, "MobilenetV2/Conv_0/gamma")
    for size in (2**40, 2**40, -1):
        tensor.tensor_shape.dim.add(size=size)
        with pytest.raises(ModelError, match="has the shape"):
            read_export_folder(written(tmp_path / "a", graph))


def test_other_graphs(definition, tmp_path: Path) -> None:
    graph = changed(definition)
    graph.node.add(name="more", op="Placeholder").attr["dtype"].type = 1
    next(node for node in graph.node if node.op == "Sub").input[1] = "more"
    with pytest.raises(ModelError, match="takes 2 inputs"):
        read_export_folder(written(tmp_path / "a", graph))
    graph = changed(definition)
    graph.node.remove(next(node for node in graph.node if node.name == "MobilenetV2/Conv_0/beta"))
    with pytest.raises(ModelError, match="lacks the node MobilenetV2/Conv_0/beta"):
        read_export_folder(written(tmp_path / "a", graph))
    graph = changed(definition)
    del next(node for node in graph.node if node.op == "Conv2D").attr["strides"]
    with pytest.raises(ModelError, match="TensorFlow says"):
        read_export_folder(written(tmp_path / "a", graph))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), cut=st.booleans())
def test_any_damage_is_an_error_or_a_graph(definition, tmp_path: Path, place: float, byte: int, cut: bool) -> None:
    folder = written(tmp_path / "a", definition)
    whole = (folder / "snapshot-7.pb").read_bytes()
    number = int(len(whole) * place)
    spoiled = whole[:number] if cut else whole[:number] + bytes([byte]) + whole[number + 1 :]
    (folder / "snapshot-7.pb").write_bytes(spoiled)
    try:
        bundle = read_export_folder(folder)
    except ModelError:
        return
    assert not cut or number > len(whole) // 2
    assert bundle.graph
