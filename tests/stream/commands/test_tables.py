from posestream.stream.commands.tables import markdown_table


def test_a_table_is_markdown_and_unbroken() -> None:
    long = "a sentence " * 60
    lines = markdown_table([{"": "pixels", "mean [px]": 1}, {"": long, "mean [px]": ""}])
    width = len(long.rstrip())
    assert [len(line) for line in lines] == [len(lines[0])] * 4
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines] == [
        ["", "mean [px]"],
        [lines[1].split("|")[1], "-" * 11],
        ["pixels", "1"],
        [long.strip(), ""],
    ]
    assert set(lines[1]) == {"|", "-"}
    assert len(lines[0]) >= width
