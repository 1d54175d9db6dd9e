"""A progress bar for the builder."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from tqdm import tqdm


@contextmanager
def show_progress(trt: ModuleType, config: Any) -> Iterator[None]:
    """One bar for each phase at work, where this version tells of them."""
    base = getattr(trt, "IProgressMonitor", None)
    if base is None:
        yield
        return
    bars: dict[str, tqdm[Any]] = {}

    class Monitor(base):
        def __init__(self) -> None:
            super().__init__()

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            bars[name] = tqdm(total=steps, desc=name, position=len(bars), leave=False)

        def step_complete(self, name: str, step: int) -> bool:
            bars[name].update(step - bars[name].n)
            return True  # go on

        def phase_finish(self, name: str) -> None:
            bars.pop(name).close()

    monitor = Monitor()  # the configuration does not keep it alive
    config.progress_monitor = monitor
    try:
        yield
    finally:
        config.progress_monitor = None
        for bar in bars.values():
            bar.close()
