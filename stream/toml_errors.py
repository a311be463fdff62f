"""What is wrong with a file that is not TOML: the line itself, and what was probably meant."""

import re
import tomllib

__all__ = ["explain_toml"]

PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
BARE_TEXT = re.compile(r"""^\s*[\w."-]+\s*=\s*([^\s"'\[{#\d+-][^"'#]*?)\s*(#.*)?$""")
"""A value that begins like a word."""
DECIMAL_COMMA = re.compile(r"=\s*[+-]?\d+,\d+\s*(#.*)?$")
NO_VALUE = re.compile(r"^\s*[\w.-]+\s*(=\s*)?(#.*)?$")
WORDS = {"true", "false", "inf", "nan"}


def explain_toml(text: str, error: tomllib.TOMLDecodeError) -> str:
    """Say where a text is not TOML, and what to write instead where that can be told.

    Parameters
    ----------
    text
        The file's.
    error
        What `tomllib` said of it.
    """
    said = str(error)
    place = PLACE.search(said)
    if place is None or place[1] is None:
        return said
    number = int(place[1])
    lines = text.splitlines()
    line = lines[number - 1] if number <= len(lines) else ""
    return f"line {number}: {line.strip()}\n  {_hint(line) or said[: place.start()]}"


def _hint(line: str) -> str:
    key = line.partition("=")[0].strip()
    if bare := BARE_TEXT.match(line):
        word = bare[1].lower()
        return f"write {key} = {word}" if word in WORDS else f'text stands in quotes: {key} = "{bare[1]}"'
    meant = {
        "a number has a decimal point, not a comma": bool(DECIMAL_COMMA.search(line)),
        "a backslash in double quotes begins an escape: write / instead, or single quotes": "\\" in line
        and '"' in line,
        "a key stands with its value: KEY = VALUE": bool(NO_VALUE.match(line)),
        "a quote is missing": line.count('"') % 2 == 1,
    }
    return next((hint for hint, fits in meant.items() if fits), "")
