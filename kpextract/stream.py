"""Parallel map over a stream of items, ahead of the consumer."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[Result]:
    """Yield `function` of each item, in order, from threads that also read the items.

    One thread reads at a time; while it works on its item, another reads the next. At
    most `workers` + 1 items are in flight. An exception of reading or working comes in
    place of its item, after the results before it. If the caller stops early, the
    threads end with the items that they have; no other is read.
    """
    row = _Row(function, items, workers)
    try:
        yield from row.results()
    finally:
        row.stop()


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
        self._free = threading.Semaphore(workers + 1)
        # In the order in which the items were read; None is the end.
        self._results: SimpleQueue[Future[Result] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"kpextract-{i}", daemon=True)
            for i in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def results(self) -> Iterator[Result]:
        """Yield each result as soon as it and those before it are ready."""
        while (future := self._results.get()) is not None:
            result = future.result()
            self._free.release()
            yield result

    def stop(self) -> None:
        """End the threads and wait for the items that they have."""
        self._ended = True
        self._free.release(len(self._threads))
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
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
                self._results.put(future)
            try:
                future.set_result(self._function(item))
            except BaseException as error:
                future.set_exception(error)
        self._results.put(None)
        self._free.release()  # the next thread may end too
