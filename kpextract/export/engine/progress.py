"""Show the progress of the builder."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from tqdm import tqdm


@contextmanager
def show_progress(trt: ModuleType, config: Any) -> Iterator[None]:
    """Show a bar for the outermost phase, captioned with the current inner phase.

    Versions that do not report progress show none.
    """
    base = getattr(trt, "IProgressMonitor", None)
    if base is None:
        yield
        return

    class Monitor(base):  # type: ignore[misc,valid-type]  # known at run time only
        def __init__(self, bar: tqdm) -> None:
            super().__init__()
            self._bar = bar

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            if parent is None:
                self._bar.reset(total=steps)
                self._bar.set_description(name)
                self._outermost = name
            else:
                self._bar.set_postfix_str(f"{name}, {steps} steps")

        def step_complete(self, name: str, step: int) -> bool:
            if name == self._outermost:
                self._bar.update()
            return True  # go on

        def phase_finish(self, name: str) -> None:
            pass

    with tqdm(unit="step", leave=False) as bar:
        monitor = Monitor(bar)  # this reference keeps it alive
        config.progress_monitor = monitor
        try:
            yield
        finally:
            config.progress_monitor = None
