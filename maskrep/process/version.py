"""The version of the installed package."""

from importlib import metadata

try:
  __version__ = metadata.version('maskrep')
except metadata.PackageNotFoundError:  # a checkout that is run in place; `describe_start` records its revision
  __version__ = 'unknown'
