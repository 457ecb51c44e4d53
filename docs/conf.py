"""Sphinx builds the site with this file: sphinx-build -n -W docs DIR."""

from importlib import metadata
from pathlib import Path
import sys

sys.path.insert(0, str(Path(__file__).parent))
import generate

project, author, release = 'maskrep', 'the maskrep authors', metadata.version('maskrep')
project_copyright = f'{author}, Apache License 2.0'
extensions = ['myst_nb', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
exclude_patterns = ['_build']
smartquotes = False  # values of fields are quoted

html_theme = 'furo'
html_title = 'maskrep'
html_theme_options = {'navigation_with_keys': True}
html_show_sphinx = False

myst_enable_extensions = ['deflist']
myst_heading_anchors = 3  # as on GitHub, so that links between pages work on both
nb_output_stderr, nb_merge_streams = 'remove', True  # progress
nb_execution_mode = 'off'  # the notebook is committed with its outputs; tests/docs/test_first_steps.py runs it

autodoc_member_order = 'bysource'
napoleon_use_ivar = True
autodoc_typehints = 'none'  # signatures have them, and docstrings describe the arguments
default_role = 'code'  # of `name` in docstrings


def setup(app):
  app.connect('config-inited', lambda app, config: generate.write(Path(app.srcdir) / 'generated'))
