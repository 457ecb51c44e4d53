"""Evaluation protocols that do not train the encoder."""

import ml_collections

from maskrep.configs.base.sections import imagenet_data, section


def evaluation(protocol: str, data: ml_collections.ConfigDict | None = None) -> ml_collections.ConfigDict:
  """A protocol on frozen features; without `data`, on the data that the encoder was trained on."""
  config = ml_collections.ConfigDict()
  config.protocol = protocol
  config.seed = 0
  config.compute_dtype = 'auto'
  config.data = data or imagenet_data()
  if data is None:
    config.data.source = ''
  config.encoding = section(network='ema', pooling='', layers=1, size=0, batch_size=256)
  return config


def authors_low_shot(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Returns an evaluation whose features and classifier are those of the MSN authors' code.

  The class token of the last block, without the final norm, centred over its channels and of unit length; logistic
  regression without a bias, with a lambda of 0.0025 / n for n examples.
  """
  config.encoding.update(pooling='class_token', final_norm=False)
  config[config.protocol].update(l2=(0.0025,), folds=0, centre='channels', intercept=False)
  return config
