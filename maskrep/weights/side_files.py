"""JSON files next to weights. They are as untrusted as the weights."""

import json
from pathlib import Path
from typing import Any

MAX_BYTES = 1_000_000  # those that libraries write have thousands


def read_json(path: Path) -> Any:
  """The content of a JSON file.

  Raises:
    OSError, ValueError, RecursionError: there is no such file, or it is too large, malformed or nested too deeply.
  """
  if not path.is_file():
    raise ValueError('it is not a file' if path.exists() else 'it does not exist')
  with open(path, 'rb') as file:
    content = file.read(MAX_BYTES + 1)
  if len(content) > MAX_BYTES:
    raise ValueError(f'it has more than {MAX_BYTES} bytes')
  return json.loads(content)


def brief(error: Any) -> str:
  """The start of a message, on one line: it may quote the file."""
  return ' '.join(str(error).split())[:300]
