"""Kill writers of an output at random moments, and check what each leaves behind.

    python kill.py FORMAT OUTPUT ROUNDS

prints how many entries there were after each kill. It exits with an error if an output
cannot be opened, has lost what was done, or holds an entry that is not whole.
"""

import os
import random
import signal
import sys
import time

from samples import SETTINGS, entry, error, same

from kpextract.formats import open_reader, open_store, parquet_shards

COUNT = 150
ENTRIES = 12  # at most, that a writer writes before it is killed in the next ones
SECONDS = 0.01  # at most, into the next ones


def entry_of(index):
    """Return what the writers write as number `index`."""
    name = f"sub/{index}.jpg"
    return error(name, index) if index % 7 == 0 else entry(name, index)


def write(format, output, ready):
    """Write what is not done, then all again, and never close."""
    store = open_store(output, SETTINGS, format)
    done = store.done()
    os.write(ready, b"!")
    todo = [i for i in range(COUNT) if f"sub/{i}.jpg" not in done]
    for index in [*todo, *range(COUNT)]:
        store.add(entry_of(index))
        os.write(ready, b"+")
    time.sleep(10)


def kill_one(format, output, chance):
    """Start a writer and kill it at a random moment."""
    ready, end = os.pipe()
    child = os.fork()
    if not child:
        try:
            write(format, output, end)
        finally:
            os._exit(3)
    os.close(end)
    assert os.read(ready, 1) == b"!", "the writer cannot open what is there"
    for _ in range(chance.randint(0, ENTRIES)):
        os.read(ready, 1)
    time.sleep(chance.uniform(0, SECONDS))
    os.kill(child, signal.SIGKILL)
    os.close(ready)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the writer failed"


def check(format, output):
    """Return the names in an output, each of whose entries is as it was written."""
    names = set()
    reader = open_reader(output, format)
    for found in reader.entries():
        expected = entry_of(int(found.name[4:-4]))
        assert found[:2] == expected[:2]
        assert found.error == expected.error
        assert found.features is None or same(found.features, expected.features)
        names.add(found.name)
    reader.close()
    return names


def main(format, output, rounds):
    parquet_shards.MAX_ROWS = 5
    done = set()
    for number in range(rounds):
        kill_one(format, output, random.Random(number))
        found = check(format, output)
        assert done <= found, "what was done is lost"
        done = found
        print(len(done))
    store = open_store(output, SETTINGS, format)
    for index in range(COUNT):
        if f"sub/{index}.jpg" not in store.done():
            store.add(entry_of(index))
    store.close()
    assert len(check(format, output)) == COUNT


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
