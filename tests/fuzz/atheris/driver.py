"""Run a target under atheris, which is guided by the branches that it reaches.

Faults do not stop the run: the first input of each kind is kept, and the counts go to
DIR/<target>.json as it goes on.
"""

import argparse
import hashlib
import importlib
import json
import sys
import time
import traceback
from pathlib import Path

import atheris

FLUSH = 1.0  # seconds between two writes of the counts


class Watch:
    """Runs a target, counts, and keeps an input for each place where it breaks."""

    def __init__(self, run, recipe, target: str, folder: Path, limit: int):
        self._run, self._recipe, self._target = run, recipe, target
        self._folder, self._limit = folder, limit
        self._started = self._written = time.monotonic()
        self.executions, self.faults = 0, {}

    def __call__(self, data: bytes) -> None:
        self.executions += 1
        try:
            self._run(self._recipe(data))
        except Exception as error:
            self._keep(data, error)
        late = time.monotonic() - self._written >= FLUSH
        if late or self.executions == self._limit:  # libFuzzer ends the process then
            self.write()

    def _keep(self, data: bytes, error: Exception) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        places = [f"{Path(f.filename).name}:{f.lineno}" for f in frames[-4:]]
        key = f"{type(error).__name__} {' '.join(places)}"
        name = f"{self._target}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
        shortest = self.faults.setdefault(key, {"count": 0, "input": name})
        shortest["count"] += 1
        path = self._folder / name
        if not path.exists() or len(data) < path.stat().st_size:
            path.write_bytes(data)
            shortest["error"] = str(error)[:300]

    def write(self) -> None:
        """Write the counts."""
        report = {
            "target": self._target,
            "executions": self.executions,
            "seconds": round(time.monotonic() - self._started),
            "faults": self.faults,
        }
        path = self._folder / f"{self._target}.json"
        new = path.with_suffix(".new")
        new.write_text(json.dumps(report, indent=2) + "\n")
        new.replace(path)  # a run that is killed meanwhile keeps its count
        self._written = time.monotonic()


def main(target: str) -> None:
    """Command line of a target; options of libFuzzer go after --."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.fuzz.atheris.{target}")
    parser.add_argument("--executions", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=0, help="0: no limit")
    parser.add_argument("--out", type=Path, default=Path("fuzz-out"), metavar="DIR")
    options, more = parser.parse_known_args()
    corpus = options.out / "corpus" / target
    corpus.mkdir(parents=True, exist_ok=True)
    # Only our own code: its branches are what the choices of a recipe should reach.
    with atheris.instrument_imports(include=["kpextract"]):
        run = importlib.import_module(f"tests.fuzz.targets.{target}").run
        recipe = importlib.import_module("tests.fuzz.recipe").Recipe
    words = [f"-runs={options.executions}", f"-max_total_time={options.seconds}"]
    words += ["-max_len=96", "-timeout=60", "-rss_limit_mb=0", "-verbosity=0"]
    words += [f"-artifact_prefix={options.out}/{target}-", *more, str(corpus)]
    watch = Watch(run, recipe, target, options.out, options.executions)
    atheris.Setup([sys.argv[0], *words], watch)
    atheris.Fuzz()
