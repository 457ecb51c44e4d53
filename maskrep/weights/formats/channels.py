"""Weights for images with a number of channels other than 3."""

import numpy as np

from maskrep.errors import ConfigError
from maskrep.weights.names import Arrays
from maskrep.weights.pretrained import ImportOptions
from maskrep.weights.strict import need


def three(what: str, state: Arrays, name: str, options: ImportOptions) -> Arrays:
  """The arrays, with the first filters, `name`, [out, C, h, w], adapted to 3 channels if `options` allow it.

  Afterwards an image of three equal channels gives the output that C such channels gave before.

  Raises:
    ConfigError: they are not for 3 channels and `options` do not allow adapting them, or the reverse; or there is no
      array of that name.
  """
  filters = need(what, state, name, 4)
  if filters.shape[1] == 3:
    refuse(options)
    return state
  if not options.adapt_channels:
    raise ConfigError(f'{what}: {name} is for {filters.shape[1]} channels, and images here have 3; choose other '
                      'weights, or --adapt_channels, which keeps the output for equal channels')
  return state | {name: np.repeat(filters.sum(axis=1, keepdims=True) / 3, 3, axis=1)}


def refuse(options: ImportOptions) -> None:
  """Raises ConfigError if 3 channels are to be adapted: the certificate would record a change that was not made."""
  if options.adapt_channels:
    raise ConfigError('--adapt_channels: the weights are for 3 channels already; leave the flag out')
