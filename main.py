"""Trains the experiment of a config, or resumes it: python main.py --config=FILE --workdir=DIR"""

import sys

from maskrep.cli import train

if __name__ == '__main__':
  train.exit_process(train.main(sys.argv))
