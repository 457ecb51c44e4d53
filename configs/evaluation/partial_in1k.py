"""Fine-tuning a Transformer's last block on ImageNet-1k (MAE, arXiv:2111.06377, section 4.3 and appendix A.3).

The settings are those of MAE's fine-tuning, for 200 epochs: the paper takes the best of 50, 100 and 200, and finds that
training few blocks needs many epochs. Our reading: base learning rate 1e-3 for 256 images and layer-wise decay 0.75, so
that the last block's learning rate is 0.75 of the classifier's. Our RandAugment always applies both of its operations;
theirs applies each with a probability of one half. Not run by us yet.

  maskrep evaluate partial --workdir=DIR --config=partial_in1k
"""

from maskrep.configs.base.classify import finetune


def get_config():
  return finetune(
    protocol='partial', trained='last_block', batch_size=1024, epochs=200, learning_rate=1e-3, layer_decay=0.75)
