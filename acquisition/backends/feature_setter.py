"""Sets the features of a GenICam device to what the rig asks, or says why not in words for people."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from posestream.acquisition.backends.genicam_features import Features, Kind, RefusedError, Value
from posestream.acquisition.camera import CameraError
from posestream.stream.wire.wording import near

__all__ = ["FeatureSetter", "shown"]


@dataclass
class FeatureSetter:
    """A device's features, with errors for people: which setting, which feature, and what the device offers."""

    features: Features
    title: str
    wishes: dict[str, tuple[str, Value]] = field(default_factory=dict)
    """Of each setting that was set: the feature and the value that it was given."""

    def first(self, names: tuple[str, ...]) -> str | None:
        """Give the first of the names that the device has."""
        return next((name for name in names if self.features.kind(name) is not None), None)

    def needed(self, key: str, names: tuple[str, ...]) -> str:
        """Give the first of the names that the device has, which it must."""
        if (name := self.first(names)) is not None:
            return name
        every = self.features.names()
        hint = next(filter(None, (near(name, set(every) - set(names)) for name in names)), "")
        raise self.error(key, f"the camera has no {' or '.join(names)}{hint}")

    def error(self, key: str, text: str) -> CameraError:
        """Make the error that says of a setting why it can't be."""
        return CameraError(f"{self.title}: {key}: {text}")

    def read(self, *names: str) -> Value | None:
        """Read the first of the features that can be read."""
        for name in names:
            with contextlib.suppress(RefusedError):
                if self.features.readable(name):
                    return self.features.get(name)
        return None

    def number(self, *names: str) -> float | None:
        """Read the first of the features that can be read; none where that is no number."""
        value = self.read(*names)
        return float(value) if isinstance(value, int | float) else None

    def offer(self, name: str, value: Value) -> bool:
        """Set a feature where the device has it and it can be set; gives whether the feature has that value now."""
        with contextlib.suppress(RefusedError):
            kind = self.features.kind(name)
            if kind is None or (kind == "enum" and value not in self.features.entries(name)):
                return False
            if self.features.readable(name) and self.features.get(name) == value:
                return True
            if self.features.writable(name):
                self.features.set(name, value)
                return True
        return False

    def selections(self, selector: str) -> Iterator[str]:
        """Go through the entries of a selector, leaving it as it was."""
        if self.first((selector,)) is None:
            return
        before = self.read(selector)
        for entry in self.features.entries(selector):
            if self.offer(selector, entry):
                yield entry
        if before is not None:
            self.offer(selector, before)

    def set_named(self, key: str, name: str, value: Value, *, check: bool = True) -> None:
        """Set a feature that must be there to a value that it must take."""
        self.needed(key, (name,))
        kind = self.features.kind(name)
        asked = f"{key} = {shown(value)}"
        try:
            fitted = self._fitted(asked, name, kind, value)
            if kind != "command" and self.features.readable(name) and self.features.get(name) == fitted:
                pass
            elif not self.features.writable(name):
                now = self.read(name)
                held = f" and is {shown(now)}" if now is not None else ""
                raise self.error(asked, f"{name} can't be set on this camera, or not now{held}")
            elif kind == "command":
                self.features.execute(name)
            else:
                self.features.set(name, fitted)
        except RefusedError as error:
            raise self.error(asked, f"the camera refused {name}: {error}") from error
        if check and kind != "command":
            self.wishes[key] = (name, fitted)

    def _fitted(self, asked: str, name: str, kind: Kind | None, value: Value) -> Value:
        match kind:
            case "boolean" | "command":
                if not isinstance(value, bool) or (kind == "command" and not value):
                    takes = "is a command, and true executes it" if kind == "command" else "takes true or false"
                    raise self.error(asked, f"{name} {takes}")
            case "enum":
                entries = self.features.entries(name)
                if value not in entries:
                    offers = ", ".join(entries) or "nothing now"
                    raise self.error(asked, f"{name} offers {offers}{near(str(value), entries)}")
            case "string":
                if not isinstance(value, str):
                    raise self.error(asked, f"{name} takes text")
            case _:
                return self._fitted_number(asked, name, kind, value)
        return value

    def _fitted_number(self, asked: str, name: str, kind: Kind | None, value: Value) -> Value:
        whole = kind == "integer"
        if isinstance(value, bool | str) or (whole and value != round(value)):
            raise self.error(asked, f"{name} takes a {'whole ' if whole else ''}number")
        least, most, step = self.features.bounds(name)
        by = f" in steps of {step:g}" if step not in (0, 1) or (not whole and step) else ""
        # The limits themselves are floats that a person reads rounded
        if not (value >= least or math.isclose(value, least)) or not (value <= most or math.isclose(value, most)):
            raise self.error(asked, f"{name} takes {shown(least)} to {shown(most)}{by}")
        if whole and step > 1 and (value - least) % step:
            below = int(least + (value - least) // step * step)
            above = f" and {below + int(step)}" if below + step <= most else ""
            raise self.error(asked, f"{name} takes {shown(least)} to {shown(most)}{by}; next to it {below}{above}")
        return round(value) if whole else float(min(max(value, least), most))


def shown(value: object) -> str:
    """Write a value as a rig file has it, a number as a person reads it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 2**63 else f"{value:.6g}"
    return f'"{value}"' if isinstance(value, str) else str(value)
