"""Choose which images of a store are matched with one another."""

import os
from collections.abc import Collection, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import TypeAlias

from kpextract.bulk.retrieval import most_similar
from kpextract.errors import InvalidOptionError, did_you_mean
from kpextract.formats.store import StoreReader
from kpextract.printable import some_of

Pair: TypeAlias = tuple[str, str]

# Images per block of exhaustive pairs: two blocks are matched before the next are read,
# so that a large store is not read once per image.
BLOCK = 64
COUNTED = ("sequential", "retrieval")  # choices with a number of images
MAX_DIGITS = 18  # of that number
CHOICES = (
    "exhaustive, sequential:N, retrieval:N (most similar images) or a file with two "
    "names per line"
)


def check_choice(choice: str) -> None:
    """Raise InvalidOptionError unless `choose_pairs` knows a choice."""
    kind, colon, number = choice.partition(":")
    if colon and kind in COUNTED:
        # int() refuses numbers of thousands of digits.
        if not number.isdecimal() or len(number) > MAX_DIGITS or int(number) < 1:
            raise InvalidOptionError(
                f"pairs: {choice}: give a positive number of images, as in {kind}:10."
            )
    elif choice != "exhaustive" and not os.path.isfile(choice):
        raise InvalidOptionError(
            f"pairs: {choice!r} is neither a choice nor a file. Give {CHOICES}."
            f"{did_you_mean(kind, ('exhaustive', *COUNTED))}"
        )


def choose_pairs(
    choice: str, reader: StoreReader, failed: Collection[str] = ()
) -> list[Pair]:
    """Return the pairs of a choice, each once, in the order to match them in.

    Args:
        choice: "exhaustive"; "sequential:N", each image with the N that follow it;
            "retrieval:N", each image with the N most similar ones by a global
            descriptor (`kpextract.bulk.retrieval`); or the path of a list.
        failed: names of images without features, which a list may hold; their pairs
            are left out.

    Raises:
        InvalidOptionError: none of these, or a list with another name that is not in
            the store.
        OSError: the list cannot be read.
    """
    check_choice(choice)
    kind, colon, number = choice.partition(":")
    if choice == "exhaustive":
        return list(exhaustive(reader.names()))
    if colon and kind == "sequential":
        return list(sequential(reader.names(), int(number)))
    if colon and kind == "retrieval":
        return most_similar(reader, int(number))
    pairs = read_pairs(choice, [*reader.names(), *failed])
    return [pair for pair in pairs if not {*failed}.intersection(pair)]


def exhaustive(names: Sequence[str]) -> Iterator[Pair]:
    """Yield each pair of different images, those of two blocks of images together."""
    blocks = [names[start : start + BLOCK] for start in range(0, len(names), BLOCK)]
    for position, first in enumerate(blocks):
        yield from combinations(first, 2)
        for second in blocks[position + 1 :]:
            yield from ((a, b) for a in first for b in second)


def sequential(names: Sequence[str], count: int) -> Iterator[Pair]:
    """Yield each image with the `count` that follow it."""
    for position, name in enumerate(names):
        yield from ((name, other) for other in names[position + 1 :][:count])


def read_pairs(path: str | os.PathLike[str], names: Sequence[str]) -> list[Pair]:
    """Read a list of pairs as COLMAP and hloc write it: `a.jpg b.jpg` per line.

    Empty lines and lines that begin with # are left out, and the second of two
    equal pairs, in either order. Names may contain spaces: a line is split where
    both parts are names of images.

    Args:
        names: of all images.

    Raises:
        InvalidOptionError: a line without two names, or names that are unknown.
        OSError: the file cannot be read.
    """
    known = set(names)
    found: dict[frozenset[str], Pair] = {}
    unknown: dict[str, None] = {}
    text = Path(path).read_text(encoding="utf-8-sig", errors="surrogateescape")
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        pair = _split(line.strip(), known)
        if pair is None or pair[0] == pair[1]:
            raise InvalidOptionError(
                f"pairs: {path}, line {number}: {line!r} must name two different "
                "images, separated by a space."
            )
        unknown |= dict.fromkeys(name for name in pair if name not in known)
        found.setdefault(frozenset(pair), pair)
    if unknown:
        _refuse(path, list(unknown), names)
    return list(found.values())


def _split(line: str, known: set[str]) -> Pair | None:
    """Return the two names of a line; None if there are not two."""
    words = line.split(" ")
    for position in range(1, len(words)):
        first, second = " ".join(words[:position]), " ".join(words[position:])
        if first in known and second in known:
            return first, second
    words = line.split()
    return (words[0], words[1]) if len(words) == 2 else None


def _refuse(
    path: str | os.PathLike[str], unknown: list[str], names: Sequence[str]
) -> None:
    example = f" Names are like {names[0]}." if names else " There are no images."
    raise InvalidOptionError(
        f"pairs: {path} names images that have no features: {some_of(unknown)}."
        f"{did_you_mean(unknown[0], names) or example}"
    )
