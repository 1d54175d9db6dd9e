"""Parallel map over a stream of items, ahead of the consumer."""

import atexit
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from kpextract.errors import OutOfMemoryError

Item = TypeVar("Item")
Result = TypeVar("Result")
# Seconds that stopping waits for a thread: a source that stalls may never return.
STOP_SECONDS = 1.0
# Seconds that the end of the process waits for a thread that works on its item: one
# that returns from a C++ library after the interpreter is gone aborts the process.
EXIT_SECONDS = 60.0


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[Result]:
    """Yield `function` of each item, in order, from threads that also read the items.

    One thread reads at a time; while it works on its item, another reads the next. At
    most `workers` + 1 items are in flight. An exception of reading or working comes in
    place of its item, after the results before it. If the caller stops early, no other
    item is read and the threads end with the items that they have; stopping waits for
    them for `STOP_SECONDS`, since reading may stall. So does the end of the process.
    """
    row = _Row(function, items, workers)
    try:
        yield from row.results()
    finally:
        row.stop()


def start_thread(thread: threading.Thread) -> None:
    """Start a thread.

    Raises:
        OutOfMemoryError: the system has no memory for one, or allows no more.
    """
    try:
        thread.start()
    except RuntimeError as error:
        raise OutOfMemoryError(
            f"the system gives no further thread ({error}): too little memory, or too "
            "many threads."
        ) from error


class _Worker(threading.Thread):
    """A thread of a row; `working` while it has an item, not while it reads one."""

    def __init__(self, target: Callable[["_Worker"], None], index: int):
        super().__init__(
            target=lambda: target(self), name=f"kpextract-{index}", daemon=True
        )
        self.working = False


class _Row(Generic[Item, Result]):
    """The threads of one `map_ahead`."""

    def __init__(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        workers: int,
    ):
        self._function, self._items = function, iter(items)
        self._reading = threading.Lock()  # also holds the order of `_results`
        self._ended = False
        self._process = os.getpid()
        self._free = threading.Semaphore(workers + 1)
        # In the order in which the items were read; None is the end.
        self._results: SimpleQueue[Future[Result] | None] = SimpleQueue()
        self._threads: list[_Worker] = []
        _rows.add(self)
        try:
            for index in range(workers):
                worker = _Worker(self._work, index)
                start_thread(worker)
                self._threads.append(worker)
        except OutOfMemoryError:
            self.stop()
            raise

    def results(self) -> Iterator[Result]:
        """Yield each result as soon as it and those before it are ready."""
        while (future := self._results.get()) is not None:
            result = future.result()
            self._free.release()
            yield result

    def stop(self, work_seconds: float = STOP_SECONDS) -> None:
        """End the threads and wait for them, though not for ever.

        Args:
            work_seconds: how long to wait for threads that work on an item; those that
                read one get at most `STOP_SECONDS`.
        """
        if self._process != os.getpid():
            return  # a fork has no threads, and locks as they were
        self._ended = True
        if self._threads:  # none where the first could not be started
            self._free.release(len(self._threads))
        start = time.monotonic()
        # The collector of garbage may call this from one of the threads.
        others = [t for t in self._threads if t is not threading.current_thread()]
        for thread in others:
            thread.join(max(0.0, start + STOP_SECONDS - time.monotonic()))
        for thread in others:
            if thread.working:
                thread.join(max(0.0, start + work_seconds - time.monotonic()))

    def _work(self, thread: _Worker) -> None:
        while True:
            self._free.acquire()
            future: Future[Result] = Future()
            with self._reading:
                if self._ended:
                    break
                try:
                    item = next(self._items)
                except StopIteration:
                    self._ended = True
                    break
                except BaseException as error:
                    self._ended = True
                    future.set_exception(error)
                    self._results.put(future)
                    break
                thread.working = True
                if self._ended:  # stopped while the item was read: nobody wants it
                    break
                self._results.put(future)
            try:
                future.set_result(self._function(item))
            except BaseException as error:
                future.set_exception(error)
            thread.working = False
        self._results.put(None)
        self._free.release()  # the next thread may end too


_rows: "weakref.WeakSet[_Row[Any, Any]]" = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """Stop the rows that are left when the interpreter ends."""
    for row in list(_rows):
        row.stop(EXIT_SECONDS)
