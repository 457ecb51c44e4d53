"""Standard output and error of a command, which may disappear (`| head`, a closed terminal) while it runs."""

import errno
import os
import sys
from typing import TextIO

LATER = errno.ENOSPC, errno.EDQUOT, errno.EAGAIN  # of a file that is full for now, or a pipe


class Console:
  """A text stream that ignores failures: text that cannot be written is dropped."""

  def __init__(self, stream: TextIO):
    self._stream = stream

  def write(self, text: str) -> int:
    try:
      self._stream.write(text)
    except OSError as error:
      self._failed(error)
    return len(text)

  def flush(self) -> None:
    try:
      self._stream.flush()
    except OSError as error:
      self._failed(error)

  def __getattr__(self, name: str):
    return getattr(self._stream, name)

  def _failed(self, error: OSError) -> None:
    """A closed reader does not come back: later output, and what libraries write directly, is discarded."""
    if error.errno not in LATER:
      nowhere = os.open(os.devnull, os.O_WRONLY)
      os.dup2(nowhere, self._stream.fileno())
      os.close(nowhere)


def protect() -> None:
  """Makes `sys.stdout` and `sys.stderr` such streams, also during the exit of the interpreter."""
  for descriptor in range(3):
    try:
      os.fstat(descriptor)
    except OSError:  # closed, as by `>&-`: else the next file to be opened would take its place, and its output
      os.open(os.devnull, os.O_RDWR)
  for name in ('stdout', 'stderr'):
    stream = getattr(sys, name) or open(os.devnull, 'w')
    stream.reconfigure(errors='backslashreplace')  # of letters that the locale does not have
    setattr(sys, name, Console(stream))
