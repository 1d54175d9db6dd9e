"""Configure Sphinx: every document of the repository, and the API from its docstrings.

    sphinx-build -W -c docs . docs/_build

The source folder is the repository, so that the links between documents are the same
here and on a code host.
"""

from kpextract import __version__

project = "kpextract"
author = "The kpextract authors"
release = __version__
root_doc = "docs/index"
ROOMS = ("benchmarks", "examples", "export", "models", "training")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
include_patterns = ["*.md", "docs/*.md", "docs/index.rst"]
include_patterns += [f"{room}/**.md" for room in ROOMS]
include_patterns += ["tests/arm64/README.md"]
exclude_patterns = ["docs/_build", "**/node_modules"]
myst_heading_anchors = 3  # targets of links to headings, named as on a code host

napoleon_custom_sections = [("Returns", "params_style")]  # several named values
autoclass_content = "both"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
html_theme = "alabaster"
