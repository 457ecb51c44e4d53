"""The trajectory of MSCN, step by step: ResNet-50, SimCLR's loss, 100 epochs of ImageNet-1k (arXiv:2206.07700).

Each variant adds one piece to the one before; the last is mscn_resnet50_simclr_100ep. The paper's trajectory
is 21.0, 30.2, 31.0, 40.0, 48.2, 53.6, 63.0, 65.1, 65.6, 67.4 % top-1. The paper was not at hand. We knew its pieces;
their order, their division into ten steps, the meaning of `asymmetry`, and therefore the figure beside each variant are
our reading. Not run by us yet. With `train.microbatch` above 0, the batch norm of the ResNet sees one microbatch (ghost
batch norm); heads and loss see the global batch.

  python main.py --config=configs/mscn_ablation.py:noise --workdir=runs/mscn_ablation_noise
"""

from maskrep.configs.base.mscn import mscn

# The fields that undo each step. If two steps set the same field, the value of the earlier step counts.
WITHOUT = {
  'grid': {},  # 21.0: a grid mask that fills with 0, one in each branch, and no other augmentation
  'crops': {'views.crop_scale': (1.0, 1.0), 'views.flip': 0.0},  # 30.2
  'colours': {'views.jitter': 0.0, 'views.grey': 0.0, 'views.blur': 0.0},  # 31.0
  'high_pass': {'views.high_pass_sigma': 0.0},  # 40.0
  'focal': {'first_mask.focal': 0.0, 'second_mask.focal': 0.0},  # 48.2
  'channelwise': {'first_mask.channelwise': 0.0, 'second_mask.channelwise': 0.0},  # 53.6
  'noise': {'first_mask.noise_std': 0.0, 'second_mask.noise_std': 0.0},  # 63.0
  'noise_by_branch': {'second_mask.noise_std': 0.5},  # 65.1: the deviation differs between branches
  'asymmetry': {'second_mask.focal': 0.2},  # 65.6: focal masks in the first branch only
  'multi_masks': {'objective.num_masks': 1},  # 67.4: two versions of the first view
}
VARIANTS = tuple(WITHOUT)


def get_config(variant: str = ''):
  if variant not in VARIANTS:
    raise ValueError(f'variant {variant!r}: the variants are {", ".join(VARIANTS)}')
  config = mscn(epochs=100)
  # From the last step back, so that the value of an earlier step is set last.
  for later in reversed(VARIANTS[VARIANTS.index(variant) + 1:]):
    config.update_from_flattened_dict(WITHOUT[later])
  return config
