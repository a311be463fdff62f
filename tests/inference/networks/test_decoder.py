import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from posestream.inference.networks.decoder import decode_double_loop, decode_graph, decode_numpy, sigmoid

PARTS = 2
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 7), st.just(PARTS))
# few different numbers, so that ties are the rule; 40 and 100 are both 1 after the sigmoid in float32
LOGITS = st.sampled_from([-30.0, -1.0, 0.0, 2.5, 40.0, 100.0]) | st.floats(-50, 50, width=32)


@st.composite
def maps(draw: st.DrawFn):
    shape = draw(SHAPES)
    logits = draw(arrays(np.float32, shape, elements=LOGITS))
    locref = draw(arrays(np.float32, (*shape[:3], 2 * PARTS), elements=st.floats(-4, 4, width=32)))
    return logits, locref, draw(st.booleans())


def tied_maps():
    logits = np.full((1, 3, 4, PARTS), -5, np.float32)
    logits[0, 1, 3, 0] = 40
    logits[0, 1, 2, 0] = 41  # the sigmoid of both is 1: the first wins
    logits[0, 2, 0, 0] = 100
    locref = np.arange(48, dtype=np.float32).reshape(1, 3, 4, 4) / 10
    return logits, locref, True


@pytest.fixture(scope="module")
def graph():
    import keras
    from keras import ops

    def build(refined: bool):
        logits = keras.Input((None, None, PARTS))
        locref = keras.Input((None, None, 2 * PARTS))
        poses = decode_graph(logits, locref if refined else None, parts=PARTS, stride=8.0, locref_stdev=7.2801)
        return keras.Model([logits, locref] if refined else [logits], [poses, ops.sigmoid(logits)])

    return {refined: build(refined) for refined in (True, False)}


@settings(deadline=None, max_examples=60)
@given(maps())
@example(tied_maps())
def test_the_three_forms_agree(graph, made) -> None:
    logits, locref, refined = made
    scoremap = sigmoid(logits)
    used = locref if refined else None
    looped = decode_double_loop(scoremap, used)
    vectorised = decode_numpy(scoremap, used)
    assert vectorised.dtype == looped.dtype == np.float32
    assert vectorised.tobytes() == looped.tobytes()

    # Equal logits can differ in the last bit after TensorFlow's sigmoid, which treats the end of an array in another
    # way than the bulk of it; so the graph's own likelihoods are what its decoder is held to.
    in_graph, likelihoods = map(np.asarray, graph[refined]([logits, locref] if refined else [logits]))
    assert in_graph.dtype == np.float32
    np.testing.assert_allclose(likelihoods, scoremap, atol=1e-6)
    np.testing.assert_allclose(in_graph, decode_numpy(likelihoods, used), atol=1e-3)


def test_ties_go_to_the_first_cell_in_row_order(graph) -> None:
    logits, locref, _ = tied_maps()
    expected_x = 2 * 8 + 4 + 2.4 * 7.2801
    expected_y = 1 * 8 + 4 + 2.5 * 7.2801
    for poses in (
        decode_numpy(sigmoid(logits), locref),
        decode_double_loop(sigmoid(logits), locref),
        np.asarray(graph[True]([logits, locref])[0]),
    ):
        np.testing.assert_allclose(poses[0, 0], [expected_x, expected_y, 1.0], rtol=1e-6)
        np.testing.assert_allclose(poses[0, 1, :2], [4 + 0.2 * 7.2801, 4 + 0.3 * 7.2801], rtol=1e-6)


def test_the_cell_without_refinement_is_its_middle() -> None:
    scoremap = np.zeros((1, 4, 5, 1), np.float32)
    scoremap[0, 3, 2, 0] = 0.75
    assert decode_numpy(scoremap, None).tolist() == [[[20.0, 28.0, 0.75]]]


def test_sigmoid_neither_overflows_nor_rounds_badly() -> None:
    logits = np.array([-200, -10, 0, 3, 200], np.float32)
    expected = 1 / (1 + np.exp(-logits.astype(np.float64)))
    np.testing.assert_allclose(sigmoid(logits), expected, rtol=1e-6, atol=1e-38)


@pytest.mark.parametrize(
    ("scoremap", "locref"),
    [
        (np.zeros((3, 4, 2), np.float32), None),
        (np.zeros((1, 3, 4, 2), np.float64), None),
        (np.zeros((1, 0, 4, 2), np.float32), None),
        (np.zeros((1, 3, 4, 2), np.float32), np.zeros((1, 3, 4, 2), np.float32)),
        (np.zeros((1, 3, 4, 2), np.float32), np.zeros((1, 3, 4, 4), np.float64)),
    ],
)
@pytest.mark.parametrize("decode", [decode_numpy, decode_double_loop])
def test_wrong_maps_are_refused(decode, scoremap, locref) -> None:
    with pytest.raises(ValueError, match="must be float32"):
        decode(scoremap, locref)
