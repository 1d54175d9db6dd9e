"""Run `kpextract doctor`."""

import json
from typing import Any

from kpextract.cli.arguments import add_command
from kpextract.cli.exit_codes import NOTHING_WORKS
from kpextract.system.inventory import EXCLUSIVE, examine
from kpextract.system.probe import Fact


def add_parser(commands: Any) -> None:
    add_command(
        commands,
        "doctor",
        doctor,
        "kpextract doctor --json",
    )


def doctor(as_json: bool) -> int:
    """Print what works and how to install the rest; return 1 if nothing works."""
    facts = examine()
    print(json.dumps(facts, indent=2) if as_json else describe(facts))
    working = [name for name, fact in facts["backends"].items() if "is" in fact]
    return 0 if working else NOTHING_WORKS


def describe(facts: dict[str, Any]) -> str:
    """Return the facts as lines of text."""
    lines = ["kpextract {kpextract}, Python {python}, {system}".format(**facts)]
    for name, fact in facts["modules"].items():
        origin = ", ".join(facts["distributions"][name])
        shown = f" ({origin})" if origin and name in EXCLUSIVE else ""
        lines.append(_line(name, fact) + shown)
    for name, fact in facts["providers"].items():
        lines.append(_line(name, fact))
    for name, fact in (facts["gpu"] | (facts["jetson"] or {})).items():
        lines.append(_line(name.replace("_", " "), fact))
    if facts["jetson"] is None:
        lines.append("jetson: no")
    for name, fact in facts["backends"].items():
        lines.append(_line(f"backend {name}", fact))
    lines += [f"warning: {warning}" for warning in facts["warnings"]]
    return "\n".join(lines)


def _line(name: str, fact: Fact) -> str:
    if "unknown" in fact:
        return f"{name}: no, {fact['unknown']}"
    if name == "gpus":
        cards = (
            ", ".join(f"{key} {value}" for key, value in card.items() if value)
            for card in fact["is"]
        )
        return f"{name}: {'; '.join(cards)}"
    return f"{name}: {fact['is']}"
