"""JSON schemas of a session's records, made from the structs that write them; they are shipped in `schemas/`.

`python -m posestream.stream.session.json_schemas` writes them anew, after a change of a struct.
"""

import ast
import inspect
import itertools
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path

import msgspec

from posestream.stream.session.events import LoggedEvent
from posestream.stream.session.manifest import Manifest
from posestream.stream.session.session_record import SessionRecord
from posestream.stream.session.summary_record import SummaryRecord

__all__ = ["RECORDS", "SCHEMAS", "field_docs", "schema_text", "structs_in"]

SCHEMAS = Path(__file__).parent / "schemas"
"""Folder of `NAME.schema.json`, JSON Schema 2020-12."""
RECORDS: dict[str, type[msgspec.Struct]] = {
    "session": SessionRecord,
    "summary": SummaryRecord,
    "manifest": Manifest,
    "event": LoggedEvent,
}
"""`event` is one line of `events.jsonl`."""


def structs_in(record: type[msgspec.Struct]) -> dict[str, type[msgspec.Struct]]:
    """Give a struct and all in it, by name."""
    found: dict[str, type[msgspec.Struct]] = {}

    def look(info: object) -> None:
        if isinstance(info, msgspec.inspect.StructType):
            if info.cls.__name__ in found:
                return
            found[info.cls.__name__] = info.cls
        if isinstance(info, tuple):
            for inner in info:
                look(inner)
        elif isinstance(info, (msgspec.inspect.Type, msgspec.inspect.Field)):
            for name in info.__struct_fields__:
                look(getattr(info, name))

    look(msgspec.inspect.type_info(record))
    return found


def field_docs(struct: type[msgspec.Struct]) -> dict[str, str]:
    """Give what stands under the fields of a struct, by the fields' names in JSON; empty where nothing does."""
    texts = {name: text for base in reversed(struct.__mro__) for name, text in _texts(base)}
    return {field.encode_name: texts.get(field.name, "") for field in msgspec.structs.fields(struct)}


def _texts(kind: type) -> Iterator[tuple[str, str]]:
    if not issubclass(kind, msgspec.Struct) or kind is msgspec.Struct:
        return
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    for line, below in itertools.pairwise(body):
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            text = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else ""
            yield line.target.id, " ".join(str(text).split())


def schema_text(record: type[msgspec.Struct]) -> str:
    """Give a record's schema as the file has it, with what stands under the fields as their descriptions."""
    (root,), parts = msgspec.json.schema_components([record], ref_template="#/$defs/{name}")
    for name, struct in structs_in(record).items():
        parts[name]["description"] = (inspect.getdoc(struct) or "").partition("\n\n")[0]
        for key, text in field_docs(struct).items():
            if text:
                parts[name]["properties"][key]["description"] = text
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **root, "$defs": parts}
    return json.dumps(schema, indent=1) + "\n"


def main() -> None:
    """Write the schemas into the package."""
    for name, record in RECORDS.items():
        (SCHEMAS / f"{name}.schema.json").write_text(schema_text(record), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
