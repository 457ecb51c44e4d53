"""The entry point of `python -m maskrep COMMAND` and of the script `maskrep`."""

import sys
from typing import NoReturn

from maskrep.process.entry import run_process


def script() -> NoReturn:
  run_process('maskrep.cli.commands', sys.argv)


if __name__ == '__main__':
  script()
