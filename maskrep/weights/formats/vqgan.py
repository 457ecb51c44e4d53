"""What the layouts of published tokenizers have in common: things that no array tells, and widths of levels."""

from collections.abc import Mapping
from typing import Any

from maskrep.errors import ConfigError

GROUPS = 32  # of the group norms, in both codes
PREPROCESSING = {'size': 256, 'crop_fraction': 1.0, 'filter': 'bilinear', 'mean': [0.0] * 3, 'std': [1.0] * 3}


def refuse_others(flag: str, fixed: Mapping[str, Any], config: Mapping[str, Any]) -> None:
  """Refuses a tokenizer that the other code would build otherwise, as it always has the values in `fixed`.

  Raises:
    ConfigError: naming the first that differs.
  """
  for field, value in fixed.items():
    if config[field] != value:
      raise ConfigError(f'--format={flag}: that code always has {field}={value}, and this tokenizer has '
                        f'{config[field]}; choose --format=safetensors or npz')


def multipliers(what: str, channels: int, widths: list[int]) -> tuple[int, ...]:
  """Widths of levels as multiples of the first layer's.

  Raises:
    ConfigError: they are none, or cannot be in groups.
  """
  if not widths or any(width % channels or width % GROUPS for width in [channels, *widths]):
    raise ConfigError(f'{what}: has levels of widths {widths} and a first layer of {channels}; they must be multiples '
                      f'of that and of {GROUPS}: give a checkpoint of that code')
  return tuple(width // channels for width in widths)
