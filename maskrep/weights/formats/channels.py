"""Weights of networks whose images have another number of channels than 3."""

import numpy as np

from maskrep.errors import ConfigError
from maskrep.weights.names import Arrays
from maskrep.weights.pretrained import Asked
from maskrep.weights.strict import need


def three(what: str, state: Arrays, name: str, asked: Asked) -> Arrays:
  """The arrays with first filters [out, C, h, w] for 3 channels.

  Where they are adapted, an image of three equal channels gives what one of C such channels gave.

  Raises:
    ConfigError: they are for others, and it is not `asked` to adapt them, or the reverse; or there are none of that
      name.
  """
  filters = need(what, state, name, 4)
  if filters.shape[1] == 3:
    refuse(asked)
    return state
  if not asked.adapt_channels:
    raise ConfigError(f'{what}: {name} is for {filters.shape[1]} channels, and images here have 3; choose other '
                      'weights, or --adapt_channels, with which equal channels give what they gave')
  return state | {name: np.repeat(filters.sum(axis=1, keepdims=True) / 3, 3, axis=1)}


def refuse(asked: Asked) -> None:
  """Refuses to adapt channels that are 3: the certificate would tell of a change that is none."""
  if asked.adapt_channels:
    raise ConfigError('--adapt_channels: the weights are for 3 channels already; leave the flag out')
