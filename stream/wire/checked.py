"""Texts and numbers that are held to bounds wherever they come from: a process on another machine, or a file."""

from typing import Annotated

from msgspec import Meta

__all__ = ["Count", "Finite", "Label", "NamePart", "Sha256", "Text"]

END = r"(?![\s\S])"
"""The end of a text, for Python as for a reader of the JSON schema in another language; `$` lets a line end through."""
PLAIN = rf"^[^\x00-\x1f\x7f-\x9f\ud800-\udfff]*{END}"
"""Nothing that would move a terminal's cursor, or that can't be written as UTF-8."""

Text = Annotated[str, Meta(max_length=5_000, pattern=PLAIN)]
Label = Annotated[str, Meta(min_length=1, max_length=500, pattern=PLAIN)]
NamePart = Annotated[
    str, Meta(min_length=1, max_length=500, pattern=rf'^[^\x00-\x1f\x7f-\x9f\ud800-\udfff<>:"/\\|?*]+{END}')
]
"""Part of the name of a file, on every system."""
Sha256 = Annotated[str, Meta(pattern=rf"^[0-9a-f]{{64}}{END}")]
Count = Annotated[int, Meta(ge=0, le=2**62)]
Finite = Annotated[float, Meta(gt=-1e15, lt=1e15)]
