"""Work on the newest of what arrives, in one thread."""

import threading
from collections.abc import Callable
from typing import Any

CLOSING = 2.0  # seconds that the work in hand may take to end


class NewestWorker:
    """Call a function on the newest item, never holding up who gives it.

    One item waits at most: a newer one takes its place, and `dropped` counts it.
    """

    def __init__(
        self, work: Callable[[Any], None], failed: Callable[[Exception], None]
    ):
        """Start the thread.

        Args:
            work: called with each item that was not dropped.
            failed: called with what `work` raises; the next item follows.
        """
        self.dropped = 0
        self._work, self._failed = work, failed
        self._changed = threading.Condition()
        self._waiting: list[Any] = []
        self._closed = False
        self._thread = threading.Thread(
            target=self._run, name="kpextract-worker", daemon=True
        )
        self._thread.start()

    def give(self, item: Any) -> None:
        """Hand over an item; the one that still waits is dropped."""
        with self._changed:
            self.dropped += len(self._waiting)
            self._waiting = [item]
            self._changed.notify()

    def close(self, seconds: float = CLOSING) -> bool:
        """Discard what waits, and return whether the work in hand ended in time."""
        with self._changed:
            self._closed = True
            self._waiting = []
            self._changed.notify()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                item = self._waiting.pop()
            try:
                self._work(item)
            except Exception as error:  # the next image may be better
                self._failed(error)
