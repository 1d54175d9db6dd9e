"""Run `tests.fuzz.targets.image_header` under atheris; see tests/fuzz/README.md."""

from tests.fuzz.atheris.driver import main

if __name__ == "__main__":
    main("image_header")
