"""One error family: every exception defined here is a KpextractError."""

import ast
import builtins

import pytest

ROOMS = ("kpextract", "export", "training", "benchmarks", "examples")
FAMILY = "KpextractError"


def base_names(source):
    """Return the names of each class's bases, without their modules, by class."""
    return {
        node.name: [ast.unparse(base).split(".")[-1] for base in node.bases]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
    }


def is_builtin_exception(name):
    found = getattr(builtins, name, None)
    return isinstance(found, type) and issubclass(found, BaseException)


def descends(name, classes, wanted):
    """Tell whether a class or one of its ancestors satisfies `wanted`."""
    return wanted(name) or any(
        descends(base, classes, wanted) for base in classes.get(name, ())
    )


def outsiders(classes):
    """Return the exceptions among the classes that are outside the family."""
    return {
        name
        for name in classes
        if descends(name, classes, is_builtin_exception)
        and not descends(name, classes, FAMILY.__eq__)
    }


@pytest.fixture(scope="module")
def classes(root):
    found = {}
    for room in ROOMS:
        for path in (root / room).rglob("*.py"):
            found |= base_names(path.read_text(encoding="utf-8"))
    return found


def test_every_error_is_of_the_family(classes):
    assert outsiders(classes) == set()


def test_every_room_was_searched(classes):
    of_each_room = {
        "InvalidImageError",
        "NoAnswerError",
        "ExportError",
        "TrainingError",
        "UncountableError",
        "NoPowerError",
    }
    assert {
        name for name in of_each_room if descends(name, classes, FAMILY.__eq__)
    } == of_each_room


def test_an_outsider_is_found_with_its_descendants():
    source = """
class KpextractError(Exception): ...
class Inside(KpextractError, ValueError): ...
class Outside(builtins.OSError): ...
class Below(Outside): ...
class NoError: ...
"""
    assert outsiders(base_names(source)) == {"Outside", "Below"}
