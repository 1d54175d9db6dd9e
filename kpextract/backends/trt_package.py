"""TensorRT or TensorRT-RTX, whichever is installed: the package and its log."""

import functools
import importlib
from collections import deque
from types import ModuleType
from typing import Any

from kpextract.errors import MissingPackageError

# In the order in which "auto" tries them, with the line that installs each.
PACKAGES = {
    "tensorrt": "pip install tensorrt (on a Jetson it comes with JetPack)",
    "tensorrt_rtx": 'pip install "kpextract[trt-build]"',
}
LAST_LINES = 3  # lines of the log that an error quotes


def import_tensorrt(package: str = "auto") -> ModuleType:
    """Import the named package, or the first of `PACKAGES` that is installed.

    Raises:
        MissingPackageError: the package is not installed, or fails to import.
    """
    names = list(PACKAGES) if package == "auto" else [package]
    for name in names:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise _broken(name, error) from error
        except (ImportError, OSError) as error:
            raise _broken(name, error) from error
    lines = ", or ".join(PACKAGES[name] for name in names)
    raise MissingPackageError(
        f"engines need {' or '.join(names)}, not installed here. Run: {lines}."
    )


def _broken(name: str, error: Exception) -> MissingPackageError:
    """Return the error of an installed package that fails to import.

    The next one is not tried.
    """
    return MissingPackageError(
        f"{name} is installed but cannot be loaded ({error}). "
        f"Install it again: {PACKAGES[name]}."
    )


@functools.cache
def shared_log(trt: Any) -> Any:
    """Return the process-wide log: TensorRT keeps the first one it is given.

    It prints nothing; `errors` holds the last lines of severity ERROR or worse.
    """

    class Log(trt.ILogger):  # type: ignore[misc]  # known at run time only
        def __init__(self) -> None:
            super().__init__()
            self.errors: deque[str] = deque(maxlen=LAST_LINES)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.errors.append(" ".join(message.split()))

    return Log()


def last_errors(log: Any) -> str:
    """Return the last errors of the log on one line."""
    return " | ".join(log.errors) or "its log holds no error"
