"""MSCN's fine-tuning of a ResNet-50 on 1 % of the labels of ImageNet-1k (arXiv:2206.07700, appendix A.3).

20 epochs, batch 256; a learning rate of 0.5 for the classifier and of 0.002 for the encoder, both multiplied by 0.2
after epochs 12 and 16; SGD with momentum, no weight decay. Our reading: momentum 0.9, crops and flips, batch norm by
the statistics of the global batch. The 12,811 images are SimCLR's, from tfds. Not run by us yet.

  maskrep evaluate finetune --workdir=DIR --config=finetune_mscn_1pct
"""

from maskrep.configs.base.classify import classify


def get_config():
  config = classify(
    protocol='finetune', trained='all', batch_size=256, epochs=20, learning_rate=0.5, optimizer_kind='sgd')
  config.data.source = 'tfds:imagenet2012_subset/1pct'
  config.objective.encoder_rate = 0.002 / 0.5
  config.optim.update(drops=(12 / 20, 16 / 20), drop_factor=0.2)
  return config
