"""What a camera's SDK raises, and what it says for people."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from posestream.acquisition.backends.genicam_features import RefusedError

__all__ = ["SdkErrors"]


@dataclass(frozen=True, kw_only=True)
class SdkErrors:
    """The errors of one SDK."""

    kinds: Callable[[], tuple[type[Exception], ...]]
    """Gives their types; asked late, since an SDK is loaded when a camera is opened."""
    text: Callable[[Exception], str]
    """Gives what one of them says for people."""

    @contextlib.contextmanager
    def as_refusals(self) -> Iterator[None]:
        """Turn what the SDK raises within the block into a `RefusedError`."""
        try:
            yield
        except Exception as error:
            if isinstance(error, self.kinds()):
                raise RefusedError(self.text(error)) from error
            raise
