"""Masked image representations in JAX: MSN, ExtreMA, MSCN, supervised + MIM."""

import importlib
import sys

from maskrep.cli.help import FLAGS, Page
from maskrep.process.version import __version__

MODULES = {'import': 'import_weights'}  # of maskrep.cli; others have the name of the command
COMMANDS = 'train', 'evaluate', 'embed', 'sweep', 'show', 'report', 'cost', 'export', 'import', 'launch'
EXAMPLES = 'maskrep train --config=msn_digits --workdir=runs/msn_digits', 'maskrep evaluate --help'


def main(argv: list[str]) -> int:
  """Runs a command; returns the exit code, see `maskrep.errors`."""
  word = argv[1] if len(argv) > 1 else ''
  if word in COMMANDS:
    return _module(word).main([f'maskrep {word}', *argv[2:]])
  if word == '--version':
    print(__version__)
    return 0
  if word and word not in FLAGS:
    print(f'maskrep: {word}: must be one of {", ".join(COMMANDS)}', file=sys.stderr)
    return 2
  print(Page(usage='maskrep COMMAND', doc=__doc__, examples=EXAMPLES, choices={
    name: (_module(name).__doc__ or '').strip().partition('\n')[0] for name in COMMANDS}).text(argv))
  return 0 if word else 2


def _module(command: str):
  """Imported only when needed: a command pays for its own imports, and `train` sets the allocator before jax loads."""
  return importlib.import_module(f'maskrep.cli.{MODULES.get(command, command)}')
