"""MSCN's linear evaluation on ImageNet-1k: a ResNet-50, SGD, batch 256, 100 epochs (arXiv:2206.07700, appendix A.2).

The paper was not at hand. Our reading, from Barlow Twins and VICReg, whose evaluation it follows: learning rate 0.3
for 256 images, momentum 0.9, a cosine schedule, crops and flips. Their weight decay of 1e-6 is added to the gradient;
with that momentum it corresponds to about 1e-5 of our decoupled decay. Images are high-pass filtered as in training.
Not run by us yet.

  maskrep evaluate linear --workdir=DIR --config=linear_mscn
"""

from maskrep.configs.base.classify import classify


def get_config():
  return classify(
    protocol='linear', trained='head', batch_size=256, epochs=100, learning_rate=0.3, optimizer_kind='sgd',
    weight_decay=1e-5)
