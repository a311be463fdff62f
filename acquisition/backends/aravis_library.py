"""The library Aravis, through GObject introspection; an `ImportError` says what to install."""

try:
    import gi

    gi.require_version("Aravis", "0.8")
    from gi.repository import Aravis, GLib
except ModuleNotFoundError as error:
    raise ImportError('PyGObject is missing: pip install "posestream[aravis]", as the README says') from error
except ValueError as error:  # what gi says of a namespace that is not there
    raise ImportError("the library Aravis 0.8 is missing: install it as the README says") from error

__all__ = ["Aravis", "GLib"]
