"""timm's `config.json` next to a file of weights, as in its folders on the Hugging Face hub."""

from pathlib import Path
import re
from typing import Any

from maskrep import schema
from maskrep.errors import ConfigError
from maskrep.models.encoder import Preprocessing
from maskrep.weights.side_files import brief, read_json


def beside(what: str, path: Path, architecture: str) -> tuple[Preprocessing | None, dict[str, Any]]:
  """The preprocessing, None if there is no such file, and the source of the weights.

  Args:
    what: the flag and its value, for errors.
    architecture: regular expression of the architectures that have our layers.

  Raises:
    ConfigError: the file cannot be used, or its architecture has other layers under the same names.
  """
  config = path.with_name('config.json')
  if not config.exists():
    return None, {'licence': 'unknown', 'architecture': 'assumed: there is no config.json of timm next to the file'}
  try:
    fields = read_json(config)
    name, pretrained = fields['architecture'], fields['pretrained_cfg']
    preprocessing = schema.build(Preprocessing, {
      'size': pretrained['input_size'][-1], 'crop_fraction': pretrained['crop_pct'],
      'filter': pretrained['interpolation'], 'mean': tuple(pretrained['mean']), 'std': tuple(pretrained['std']),
    }, 'preprocessing')
  except (OSError, ValueError, KeyError, TypeError, IndexError, ArithmeticError, RecursionError, ConfigError) as error:
    reason = error if isinstance(error, ConfigError) else f'{type(error).__name__}: {error}'
    raise ConfigError(f'{what}: the config.json next to it is not one of timm ({brief(reason)}); take both from their '
                      'source again, or put the file elsewhere') from error
  if not isinstance(name, str) or not re.fullmatch(architecture, name):
    raise ConfigError(f'{what}: its config.json names {brief(repr(name))}, which has other layers; choose other '
                      'weights')
  return preprocessing, {'architecture': name, 'licence': pretrained.get('license', 'unknown')}
