"""Tell PyInstaller what an application with kpextract in it must contain."""

from pathlib import Path


def get_hook_dirs() -> list[str]:
    """Return the folders with hooks; PyInstaller asks through an entry point."""
    return [str(Path(__file__).parent)]
