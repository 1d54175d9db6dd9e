"""End long work at the signals that ask for it."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# Ctrl-C, the request of a supervisor, and a terminal that is gone (not on Windows).
ENDING = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)
)


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[list[int]]:
    """Call `stop` at the first of `ENDING`; yield a list of those that came.

    A second signal has its usual effect. What is ignored stays ignored, such as SIGHUP
    under nohup and SIGINT in the background of a script. In a thread other than the
    main one, signals have their usual effect: Python lets no other thread handle them.
    """
    came: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        came.append(number)
        restore()
        stop()

    is_main = threading.current_thread() is threading.main_thread()
    found = {number: signal.getsignal(number) for number in ENDING if is_main}
    before = {n: handler for n, handler in found.items() if handler != signal.SIG_IGN}
    for number in before:
        signal.signal(number, handle)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    try:
        yield came
    finally:
        restore()
