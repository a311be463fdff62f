"""Checks tables of a person's file by the msgspec structs that the processes are given, with pydantic's errors.

So a setting is defined once. An unknown key is an error, as in all of the file, and everything that is wrong is found,
not the first alone.
"""

import functools
from collections.abc import Iterator
from types import GenericAlias, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import msgspec
from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, TypeAdapter, create_model
from pydantic_core import CoreSchema, core_schema

__all__ = ["AsTable", "Table", "read_table", "table_models"]

Struct = TypeVar("Struct", bound=msgspec.Struct)


class Table(BaseModel):
    """A table of the file, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class AsTable:
    """Annotates a struct that stands as a table in the file: `Annotated[ViewSettings, AsTable()]`."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check the table by a model that is made of the struct, then make the struct of it."""
        model = _model_of(source)

        def as_struct(table: BaseModel) -> Any:
            return source(**{name: _frozen(getattr(table, name)) for name in model.model_fields})

        return core_schema.no_info_after_validator_function(
            as_struct,
            handler.generate_schema(model),
            serialization=core_schema.plain_serializer_function_ser_schema(msgspec.to_builtins),
        )


def read_table(kind: type[Struct], table: dict[str, Any]) -> Struct:
    """Make a struct of a table.

    Raises
    ------
    pydantic.ValidationError
        With every key and value that can't be used.
    """
    read: Struct = _reader(kind).validate_python(table)
    return read


def table_models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Give the models by which values of an annotated type are checked, outermost first."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        yield _model_of(annotation)
    for inner in get_args(annotation):
        yield from table_models(inner)


@functools.cache
def _reader(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(Annotated[kind, AsTable()])


@functools.cache
def _model_of(struct: type[msgspec.Struct]) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        if field.required:
            default: Any = ...
        elif field.default_factory is not msgspec.NODEFAULT:
            default = Field(default_factory=field.default_factory)
        else:
            default = field.default
        fields[field.name] = (_checked(field.type), default)
    model: type[BaseModel] = create_model(struct.__name__, __base__=Table, **fields)
    return model


def _checked(kind: Any) -> Any:
    """Give the type by which pydantic checks what msgspec would take for `kind`; what a file has is lists."""
    origin, inner = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return Annotated[kind, AsTable()]
    if origin is Annotated:
        bounds = (_bounds(part) if isinstance(part, msgspec.Meta) else part for part in inner[1:])
        return Annotated[(_checked(inner[0]), *bounds)]
    if origin in (Union, UnionType):
        return Union[tuple(_checked(part) for part in inner)]  # noqa: UP007 - of a number that is not known
    if origin is tuple:
        values = GenericAlias(list, (_checked(inner[0]),))
        return values if inner[-1] is ... else Annotated[values, Field(min_length=len(inner), max_length=len(inner))]
    return kind


def _bounds(meta: msgspec.Meta) -> Any:
    names = ("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length")
    return Field(**{name: value for name in names if (value := getattr(meta, name)) is not None})


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
