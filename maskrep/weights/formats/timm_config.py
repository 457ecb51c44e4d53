"""What timm's `config.json` says of the file of weights beside it, as in its folders on the Hugging Face hub."""

import json
from pathlib import Path
import re
from typing import Any

from maskrep.errors import ConfigError


def beside(what: str, path: Path, architecture: str) -> tuple[dict[str, Any] | None, dict[str, Any]]:
  """The preprocessing, None where nothing tells it, and the source.

  Args:
    what: the flag and its value, for errors.
    architecture: regular expression of those whose layers are ours.

  Raises:
    ConfigError: it cannot be used, or is of an architecture that has other layers under the same names.
  """
  config = path.with_name('config.json')
  if not config.exists():
    return None, {'licence': 'not known', 'architecture': 'assumed: no config.json of timm lies beside the file'}
  try:
    said = json.loads(config.read_text())
    name, how = said['architecture'], said['pretrained_cfg']
    preprocessing = {'size': how['input_size'][-1], 'crop_fraction': how['crop_pct'], 'filter': how['interpolation'],
                     'mean': how['mean'], 'std': how['std']}
  except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
    raise ConfigError(f'{what}: config.json beside it is none of timm ({type(error).__name__}: {error}); take both '
                      'from their source again, or put the file elsewhere') from error
  if not isinstance(name, str) or not re.fullmatch(architecture, name):
    raise ConfigError(f'{what}: is of {name!r} by its config.json, whose layers are others; choose other weights')
  return preprocessing, {'architecture': name, 'licence': how.get('license', 'not said')}
