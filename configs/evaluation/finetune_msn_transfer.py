"""MSN's fine-tuning on other data sets, without a variant CIFAR-10 (arXiv:2204.07141, appendix A.5.2, Table 5).

`:cifar10` and `:cifar100`: 1000 epochs, batch 768, learning rate 7.5e-5. `:inat18` and `:inat19`: 300 epochs, batch
1024, learning rate 1e-4. For all AdamW, a warm-up of 5 epochs, RandAugment(9, 0.5), mixup 0.8, CutMix 1.0, label
smoothing 0.1, drop path 0.1; no layer-wise decay. The paper follows "the protocol of DeiT and DINO", whose authors give
(facebookresearch/dino, issues 81 and 171) weight decay 0.05, for iNaturalist random erasing 0.25, and repeated
augmentation, which we do not have. Our RandAugment always applies both of its operations; theirs applies each with a
probability of one half. iNat19 is a folder, inat2019/train/CLASS and inat2019/val/CLASS. Not run by us yet.

  maskrep evaluate finetune --workdir=DIR --config=finetune_msn_transfer:cifar10
"""

from maskrep.configs.base.classify import finetune

# Variant: source, evaluation split.
DATA = {
  'cifar10': ('tfds:cifar10', 'test'), 'cifar100': ('tfds:cifar100', 'test'),
  'inat18': ('tfds:i_naturalist2018', 'validation'), 'inat19': ('folder:inat2019', 'val')}
VARIANTS = tuple(DATA)


def get_config(variant: str = 'cifar10'):
  if variant not in VARIANTS:
    raise ValueError(f'finetune_msn_transfer:{variant}: the variants are {", ".join(VARIANTS)}')
  batch_size, epochs, rate = (768, 1000, 7.5e-5) if variant.startswith('cifar') else (1024, 300, 1e-4)
  config = finetune(batch_size=batch_size, epochs=epochs, learning_rate=rate * 256 / batch_size, layer_decay=1.0)
  config.data.source, config.data.eval_split = DATA[variant]
  if variant.startswith('inat'):
    config.regularisation.erase = 0.25
  return config
