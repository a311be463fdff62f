"""Notes of frames: what is written is what is read, in every cell that any session holds."""

import itertools

import pytest

from posestream.stream.disk.notes import Note, gap_s, join_notes, notes_in

NUMBERS = {Note.ID_JUMPED: (-3, 2**40), Note.RECONNECTED: (12.3456,), Note.TIME_WENT_BACK: (0.25,)}
FORMAT_1 = {
    "device ids began anew after 19": Note.IDS_BEGAN_ANEW,
    "device id jumped from 700 to 3": Note.ID_JUMPED,
    "device id came late, after 121": Note.ID_CAME_LATE,
    "device id repeats": Note.ID_REPEATS,
    "device id missing": Note.ID_MISSING,
    "device id -1 is none of its range": Note.ID_OUT_OF_RANGE,
    "camera reconnected after 1.250 s": Note.RECONNECTED,
    "its time went back by 0.500000 s; the arrival is used": Note.TIME_WENT_BACK,
    "its time was 3600.000000 s in the future; the arrival is used": Note.TIME_IN_FUTURE,
    "captured before the frame before it; that one's time is used": Note.BEFORE_LAST_FRAME,
    "device time missing": Note.DEVICE_TIME_MISSING,
    "device clock went back": Note.DEVICE_CLOCK_WENT_BACK,
    "device clock jumped ahead": Note.DEVICE_CLOCK_JUMPED,
    "device clock does not run at the rate that it says; arrivals are used": Note.DEVICE_CLOCK_UNUSABLE,
    "presentation time repaired": Note.PTS_REPAIRED,
    "presentation time repaired: the clock was set back": Note.PTS_CLOCK_SET_BACK,
    "presentation time repaired: pause too long for the container": Note.PTS_LONG_PAUSE,
    "encoder gave time 40000": Note.ENCODER_TIME,
    "was written and is not in the video": Note.NOT_IN_VIDEO,
    "waited for the encoder when the camera's process ended": Note.WAITED,
    "row made from the video": Note.FROM_VIDEO,
    "known from the pose stream alone": Note.FROM_POSES,
    "known from the camera's counter alone": Note.FROM_COUNTER,
}
"""As sessions on people's disks have them: these texts never change."""


def written(note: Note) -> str:
    return note.text(*NUMBERS.get(note, (7,) * note.value.count("{")))


@pytest.mark.parametrize(("text", "note"), list(FORMAT_1.items()))
def test_the_texts_of_the_format_are_read(text: str, note: Note) -> None:
    assert notes_in(text) == {note}


def test_every_note_stands_among_the_texts_of_the_format() -> None:
    assert set(FORMAT_1.values()) == set(Note)


def test_notes_of_one_cell_are_told_apart() -> None:
    for pair in itertools.permutations(Note, 2):
        assert notes_in(join_notes(map(written, pair))) == set(pair)


def test_what_is_no_note_is_none() -> None:
    for cell in ("", "seen device id repeats", "device id repeats, or so", "device ids moved by 5"):
        assert notes_in(cell) == frozenset()


def test_the_length_of_a_gap() -> None:
    assert gap_s(join_notes((written(Note.ID_REPEATS), written(Note.RECONNECTED)))) == 12.346
    assert gap_s(written(Note.ID_REPEATS)) is None
