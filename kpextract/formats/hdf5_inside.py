"""Read HDF5 files of strangers: nothing that lies outside the file.

A link of HDF5 may lead to another file, and a dataset may have its numbers in any file
there is. What a file holds has to be in it.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from kpextract.packages import import_h5py

MAX_BYTES = 1 << 32  # of a dataset; a damaged file may claim any size


def members(group: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name and object of each member of a group.

    Raises:
        ValueError: one is a link, which may lead to another file.
    """
    for name in group:
        yield name, member(group, name)


def member(group: Any, name: str) -> Any:
    """Return a member of a group.

    Raises:
        ValueError: it is a link, which may lead to another file.
        KeyError: there is none of this name.
    """
    h5py = import_h5py("reading HDF5")
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{group.name}/{name} is a link, not data")
    return group[name]


def array(group: Any, name: str) -> np.ndarray:
    """Return the numbers of a dataset.

    Raises:
        ValueError: they are in another file, or too many.
        KeyError: there is none of this name.
    """
    dataset = member(group, name)
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{dataset.name} has its numbers in another file")
    if dataset.nbytes > MAX_BYTES:
        raise ValueError(f"{dataset.name} has more than {MAX_BYTES} bytes")
    return np.asarray(dataset[()])
