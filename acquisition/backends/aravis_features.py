"""The features of a device, reached through Aravis."""

import sys
from collections.abc import Iterator
from typing import Any

from posestream.acquisition.backends.aravis_library import Aravis, GLib
from posestream.acquisition.backends.genicam_features import Kind, Value
from posestream.acquisition.backends.sdk_errors import SdkErrors

__all__ = ["ERRORS", "AravisFeatures"]

ERRORS = SdkErrors(kinds=lambda: (GLib.GError,), text=lambda error: str(getattr(error, "message", error)))


class AravisFeatures:
    """See `posestream.acquisition.backends.genicam_features.Features`.

    Parameters
    ----------
    device
        An `Aravis.Device`.
    """

    def __init__(self, device: Any) -> None:
        self._device = device
        # An enumeration and a boolean are integers to Aravis too, so these come first
        self._kinds: tuple[tuple[type, Kind], ...] = (
            (Aravis.GcCommand, "command"),
            (Aravis.GcEnumeration, "enum"),
            (Aravis.GcBoolean, "boolean"),
            (Aravis.GcInteger, "integer"),
            (Aravis.GcFloat, "float"),
            (Aravis.GcString, "string"),
        )

    def names(self) -> list[str]:
        """Give the names of all features."""
        return list(self._below("Root"))

    def _below(self, category: str) -> Iterator[str]:
        node = self._device.get_feature(category)
        if not isinstance(node, Aravis.GcCategory):
            yield category
            return
        for name in node.get_features():
            yield from self._below(name)

    def kind(self, name: str) -> Kind | None:
        """Say what the feature is; none where it is not implemented or not available now."""
        node = self._device.get_feature(name)
        try:
            if node is None or not self._device.is_feature_available(name):
                return None
        except GLib.GError:
            return None
        return next((kind for interface, kind in self._kinds if isinstance(node, interface)), None)

    def readable(self, name: str) -> bool:
        """Whether it can be read now."""
        return self._access(name) in (Aravis.GcAccessMode.RO, Aravis.GcAccessMode.RW)

    def writable(self, name: str) -> bool:
        """Whether it can be set, or executed, now."""
        return self._access(name) in (Aravis.GcAccessMode.WO, Aravis.GcAccessMode.RW)

    def _access(self, name: str) -> Any:
        # Not `Device.get_feature_access_mode`: Aravis 0.8.26 calls what can be read and written write-only there
        return self._device.get_feature(name).get_actual_access_mode() if self.kind(name) is not None else None

    def get(self, name: str) -> Value:
        """Read a value; of an enumeration, the entry's name."""
        device = self._device
        with ERRORS.as_refusals():
            match self.kind(name):
                case "boolean":
                    return bool(device.get_boolean_feature_value(name))
                case "integer":
                    return int(device.get_integer_feature_value(name))
                case "float":
                    return float(device.get_float_feature_value(name))
                case _:
                    return str(device.get_string_feature_value(name))

    def set(self, name: str, value: Value) -> None:
        """Set a value of the feature's own type; of an enumeration, by the entry's name."""
        device = self._device
        with ERRORS.as_refusals():
            match self.kind(name):
                case "boolean":
                    device.set_boolean_feature_value(name, value)
                case "integer":
                    device.set_integer_feature_value(name, value)
                case "float":
                    device.set_float_feature_value(name, value)
                case _:
                    device.set_string_feature_value(name, value)

    def bounds(self, name: str) -> tuple[float, float, float]:
        """Give the least and largest value of a number and its increment; 0 where any value between will do."""
        device = self._device
        with ERRORS.as_refusals():
            if self.kind(name) == "integer":
                return (*device.get_integer_feature_bounds(name), device.get_integer_feature_increment(name))
            step = device.get_float_feature_increment(name)
            # What Aravis says where the device has no increment
            return (*device.get_float_feature_bounds(name), step if step > sys.float_info.min else 0.0)

    def entries(self, name: str) -> list[str]:
        """Give the entries of an enumeration that are available now."""
        with ERRORS.as_refusals():
            return list(self._device.dup_available_enumeration_feature_values_as_strings(name))

    def execute(self, name: str) -> None:
        """Execute a command."""
        with ERRORS.as_refusals():
            self._device.execute_command(name)
