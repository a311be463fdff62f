import numpy as np
import pytest

from posestream.inference.errors import VideoError
from posestream.inference.windows.framing import Framing, Region, parse_region


def test_the_whole_frame_is_given_as_it_is(rng) -> None:
    pixels = rng.integers(0, 256, (48, 64, 1), np.uint8)
    assert np.shares_memory(Framing().cut(pixels), pixels)
    poses = rng.uniform(0, 64, (2, 3, 3)).astype(np.float32)
    np.testing.assert_array_equal(Framing().to_video(poses, 64, 48), poses)


@pytest.mark.parametrize("scale", [0.5, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_spot_is_found_where_it_is_in_the_video(scale: float, channels: int) -> None:
    """The middle of a bright square, in the picture that the network sees, goes back to where it is in the video."""
    pixels = np.zeros((240, 320, channels), np.uint8)
    pixels[100:141, 200:241] = 255  # its middle is (220, 120)
    framing = Framing(Region(33, 21, 250, 200), scale)
    seen = framing.cut(pixels)
    assert seen.shape == (round(200 * scale), round(250 * scale), channels)
    weights = seen[..., 0].astype(float)
    rows, columns = np.indices(weights.shape)
    middle = [(weights * places).sum() / weights.sum() for places in (columns, rows)]
    back = framing.to_video(np.array([[*middle, 0.9]], np.float32), 320, 240)
    np.testing.assert_allclose(back, [[220, 120, 0.9]], atol=0.05)


@pytest.mark.parametrize(
    ("framing", "says"),
    [
        (Framing(Region(0, 0, 65, 48)), "not within"),
        (Framing(Region(60, 40, 4, 9)), "not within"),
        (Framing(scale=0.001), "nothing is left"),
    ],
)
def test_what_is_not_there_is_refused(framing: Framing, says: str) -> None:
    with pytest.raises(VideoError, match=says):
        framing.size(64, 48)


def test_a_region_as_people_write_it() -> None:
    assert parse_region("122, 20,396,203") == Region(122, 20, 396, 203)
    for text in ("", "1,2,3", "1,2,3,4,5", "0,0,0,5", "-1,0,5,5", "a,b,c,d", "1.5,0,2,2"):
        with pytest.raises(VideoError, match="X,Y,WIDTH,HEIGHT"):
            parse_region(text)
