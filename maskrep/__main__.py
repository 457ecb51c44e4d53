"""python -m maskrep COMMAND ...: each command is a module of maskrep.cli."""

import importlib
import sys

from maskrep.process.entry import run_process

COMMANDS = {'train': 'train', 'evaluate': 'evaluate', 'embed': 'embed', 'sweep': 'sweep', 'show': 'show',
            'report': 'report', 'export': 'export', 'import': 'import_weights'}


def main(argv: list[str]) -> int:
  """Returns the exit code: see README.md."""
  if len(argv) < 2 or argv[1] not in COMMANDS:
    print(f'maskrep: {argv[1] if len(argv) > 1 else "COMMAND"}: must be one of {", ".join(COMMANDS)}', file=sys.stderr)
    return 2
  # Imported only now: a command pays for its own imports alone, and `train` sets the allocator before jax is imported.
  return importlib.import_module(f'maskrep.cli.{COMMANDS[argv[1]]}').main([f'maskrep {argv[1]}', *argv[2:]])


if __name__ == '__main__':
  run_process('maskrep.__main__', sys.argv)
