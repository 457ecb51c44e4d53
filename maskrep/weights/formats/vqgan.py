"""Shared by the formats of published tokenizers: values that cannot be inferred from arrays, and widths of levels."""

from collections.abc import Mapping
from typing import Any

from maskrep.errors import ConfigError
from maskrep.models.encoder import Preprocessing

GROUPS = 32  # of the group norms, in both codes
PREPROCESSING = Preprocessing(size=256, crop_fraction=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def refuse_others(flag: str, fixed: Mapping[str, Any], config: Mapping[str, Any]) -> None:
  """Checks that a tokenizer has the `fixed` values, which the other code always has.

  Raises:
    ConfigError: for the first value that differs.
  """
  for field, value in fixed.items():
    if config[field] != value:
      raise ConfigError(f'--format={flag}: that code always has {field}={value}, and this tokenizer has '
                        f'{config[field]}; choose --format=safetensors or npz')


def multipliers(what: str, channels: int, widths: list[int]) -> tuple[int, ...]:
  """Widths of levels as multiples of the first layer's.

  Raises:
    ConfigError: they are not multiples of it, or not divisible into groups.
  """
  if not widths or any(width % channels or width % GROUPS for width in [channels, *widths]):
    raise ConfigError(f'{what}: has levels of widths {widths} and a first layer of {channels}; they must be multiples '
                      f'of that and of {GROUPS}: give a checkpoint of that code')
  return tuple(width // channels for width in widths)
