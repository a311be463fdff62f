"""Versions of what is installed."""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["package_version"]


def package_version(package: str) -> str:
    """Version of a distribution, by its name; empty where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
