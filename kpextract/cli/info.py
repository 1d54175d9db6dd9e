"""Run `kpextract info`."""

import json
from typing import Any

from kpextract import __version__
from kpextract.backends import backend_status
from kpextract.cli.arguments import add_command
from kpextract.modelfile import bundled_models, find_model


def add_parser(commands: Any) -> None:
    add_command(
        commands,
        "info",
        info,
        "kpextract info --json",
    )


def info(as_json: bool) -> int:
    """Print versions, bundled models and backends."""
    models: dict[str, dict[str, str]] = {}
    for name in bundled_models():
        found = find_model(name)
        assert found.card  # a bundled model is refused without
        models[name] = {
            "version": found.card.version,
            "sha256": found.sha256,
            "license": found.card.license,
        }
    backends = backend_status()
    facts = {"kpextract": __version__, "models": models, "backends": backends}
    if as_json:
        print(json.dumps(facts, indent=2))
        return 0
    print(f"kpextract {__version__}")
    for name, model in models.items():
        short = model["sha256"][:12]
        print(f"model {name} {model['version']}: sha256 {short}, {model['license']}")
    for name, status in backends.items():
        print(f"backend {name}: {status}")
    return 0
