"""Trains the experiment of a config, or resumes it: python main.py --config=FILE --workdir=DIR"""

import sys

from maskrep.process.entry import run_process

if __name__ == '__main__':
  run_process('maskrep.cli.train', sys.argv)
