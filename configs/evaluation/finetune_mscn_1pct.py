"""MSCN's fine-tuning of a ResNet-50 on 1 % of the labels of ImageNet-1k (arXiv:2206.07700, appendix A.3).

The paper was not at hand. Our reading, from SimCLR (arXiv:2002.05709, appendix B.5): SGD with Nesterov momentum 0.9,
learning rate 0.05 for 256 images, 60 epochs, no warm-up, no weight decay, crops and flips. Here the batch is
1024, not 4096, and all layers have the same learning rate. The 12,811 images are SimCLR's, from tfds. Batch norm sees
the global batch. Not run by us yet.

  maskrep evaluate finetune --workdir=DIR --config=finetune_mscn_1pct
"""

from maskrep.configs.base.classify import classify


def get_config():
  config = classify(
    protocol='finetune', trained='all', batch_size=1024, epochs=60, learning_rate=0.05, optimizer_kind='nesterov')
  config.data.source = 'tfds:imagenet2012_subset/1pct'
  return config
