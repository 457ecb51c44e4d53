"""Fine-tuning of a Transformer's last block on ImageNet-1k (MAE, arXiv:2111.06377, section 4.3 and appendix A.3).

The settings of its fine-tuning, for 200 epochs: the paper takes the best of 50, 100 and 200, and finds that few blocks
need many. Our reading: base learning rate 1e-3 for 256 images, layer-wise decay 0.75, in which the last block's is 0.75
of the classifier's. RandAugment applies both operations where theirs applies each half the time. Not run by us yet.

  python -m maskrep evaluate partial --workdir=DIR --config=configs/evaluation/partial_in1k.py
"""

from configs import common


def get_config():
  return common.finetune(
    protocol='partial', trained='last_block', batch_size=1024, epochs=200, learning_rate=1e-3, layer_decay=0.75)
