"""Files and folders that appear whole or not at all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from posestream.stream.disk.durable import making_folder, replacing


def write(folder: Path, text: str) -> None:
    with making_folder(folder, replace=True) as partial:
        (partial / "deep").mkdir()
        (partial / "deep" / "file").write_text(text)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_is_the_old_one_until_the_block_ends_and_after_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError), replacing(path) as temporary:
        temporary.write_text("new" * 10_000 + "\N{MOUSE}", encoding="ascii")
    assert (path.read_text(), names(tmp_path)) == ("old", {"table.csv"})
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert (path.read_text(), names(tmp_path)) == ("new", {"table.csv"})


def test_two_that_write_a_shared_file_at_once_do_not_touch_each_others(tmp_path: Path) -> None:
    path = tmp_path / "choice.json"
    with replacing(path, shared=True) as first, replacing(path, shared=True) as second:
        first.write_text("first")
        second.write_text("second")
        assert first != second
    assert (path.read_text(), names(tmp_path)) == ("first", {"choice.json"})


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "above" / "model"
    with pytest.raises((IsADirectoryError, PermissionError)), making_folder(folder) as partial:
        partial.write_text("a folder is no file")
    assert names(folder.parent) == set()
    with making_folder(folder) as partial:
        (partial / "file").write_text("whole")
        assert not folder.exists()
    assert (folder / "file").read_text() == "whole"
    assert names(folder.parent) == {"model"}


def test_a_folder_that_is_there_is_replaced_only_on_request(tmp_path: Path) -> None:
    folder = tmp_path / "int8"
    write(folder, "first")
    with pytest.raises(OSError, match=r"."), making_folder(folder) as partial:
        (partial / "file").write_text("second")
    assert (folder / "deep" / "file").read_text() == "first"
    write(folder, "second")
    assert (folder / "deep" / "file").read_text() == "second"
    assert names(tmp_path) == {"int8"}


@pytest.mark.skipif(sys.platform == "win32", reason="a kill, as POSIX knows it")
def test_a_kill_leaves_no_folder_of_that_name(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    program = f"""
import os
from pathlib import Path
from posestream.stream.disk.durable import making_folder
with making_folder(Path({os.fspath(folder)!r})) as partial:
    (partial / "file").write_text("half")
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert not folder.exists()
    write(folder, "whole")
    assert (folder / "deep" / "file").read_text() == "whole"
