"""MSN's fine-tuning of a ViT-B/16 on ImageNet-1k: AdamW, layer-wise decay 0.65 (arXiv:2204.07141, appendix A.4).

100 epochs, batch 1024, learning rate 0.002, a warm-up of 5 epochs, RandAugment(9, 0.5), mixup 0.8, CutMix 1.0, label
smoothing 0.1, drop path 0.2. From MAE's code, which the authors used: weight decay 0.05, random erasing 0.25. Each
image gets either mixup or CutMix, with equal probability. Our RandAugment always applies both of its operations;
theirs applies each with a probability of one half. Not run by us yet.

  maskrep evaluate finetune --workdir=DIR --config=finetune_msn
"""

from maskrep.configs.base.classify import finetune


def get_config():
  config = finetune(batch_size=1024, epochs=100, learning_rate=5e-4, layer_decay=0.65)
  config.regularisation.erase = 0.25
  config.encoder.drop_path = 0.2
  return config
