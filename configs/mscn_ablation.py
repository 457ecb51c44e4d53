"""MSCN's trajectory and ablations: one variant per figure of the paper (arXiv:2206.07700, sections 4.3 to 5.3 and B).

ResNet-50, SimCLR's loss, 100 epochs, masking ratio 0.3; top-1 of linear evaluation on ImageNet-1k (linear_mscn).
Our own readings are marked. Not run by us yet. With `train.microbatch` above 0, the batch norm of the ResNet sees one
microbatch (ghost batch norm); heads and loss see the global batch.

  python main.py --config=configs/mscn_ablation.py:figure1_noise --workdir=runs/mscn_noise
  maskrep sweep --config=mscn_ablation --grid=variant=table5_10,table5_15 --workdir=runs/mscn_table5
"""

from maskrep.configs.base.mscn import mscn


def masks(**fields) -> dict:
  """The same values for the masks of both branches."""
  return {f'{branch}_mask.{name}': value for branch in ('first', 'second') for name, value in fields.items()}


# Sections 4.3 to 4.5: each step adds to the one before it. Step: (the fields that undo it, the paper's figure).
STEPS = {
  'grid': ({}, '21.0'),  # grid masks in both branches on the same random crop, filled with 0, and nothing else
  'high_pass': ({'views.high_pass_sigma': 0.0}, '30.2'),
  'focal': (masks(focal=0.0), '31.0'),
  'crops': ({'views.shared': 'crop', 'views.flip': 0.0}, '40.0'),  # flips come with crops that differ: our reading
  'noise': (masks(noise_std=0.0), '48.2'),  # of another deviation in each branch
  'channelwise': (masks(channelwise=0.0), '53.6'),
  'jitter_grey': ({'views.jitter': 0.0, 'views.grey': 0.0}, '63.0'),
  'blur': ({'views.blur': 0.0}, '65.1'),
  'asymmetry': ({'second_mask.focal': 0.2}, '65.6'),  # focal masks in the first branch alone: our reading
  'multimasks': ({'objective.num_masks': 1}, '67.4'),  # two masked versions of the first view: our reading
}


def without_later_steps(step: str) -> dict:
  """The fields that undo all steps after this one. If two steps set a field, the earlier step's value counts."""
  names, fields = list(STEPS), {}
  for later in reversed(names[names.index(step) + 1:]):
    fields |= STEPS[later][0]
  return fields


# Images are not filtered (our reading), masks are grids filled with 0, one for all channels; one mask per view.
NAIVE = masks(focal=0.0, noise_std=0.0, channelwise=0.0) | {'views.high_pass_sigma': 0.0, 'objective.num_masks': 1}
UNMASKED = NAIVE | masks(ratio=0.0)
ONE_MASK = {'objective.num_masks': 1}

# Variant: (fields that differ from the last step, the paper's figure).
ROWS = {
  # Table 5: masking ratio. 0.15 is also the final model of Figure 1, mscn_resnet50_simclr_100ep.
  **{f'table5_{percent}': (masks(ratio=percent / 100), figure) for percent, figure in (
    (10, '67.5'), (15, '67.6'), (20, '67.5'), (25, '67.4'), (30, '67.4'), (50, '66.8'), (70, '66.2'), (90, '62.6'))},
  # Table 6: size of the cells in pixels.
  **{f'table6_{cell}': (masks(cell=cell), figure) for cell, figure in (
    (7, '67.1'), (14, '67.2'), (28, '67.4'), (32, '67.4'), (56, '67.2'))},
  # Table 7. The second row is the step `asymmetry` of section 4.5, so the first has one mask too: our reading.
  'table7_same_view': (ONE_MASK | {'views.shared': 'view'}, '29.1'),
  'table7_different_views': (ONE_MASK, '65.6'),
  # Table 8: probability of a focal mask in the first branch, since the second has none: our reading.
  **{f'table8_{percent}': ({'first_mask.focal': percent / 100}, figure) for percent, figure in (
    (0, '67.0'), (10, '67.0'), (20, '67.4'), (30, '67.5'), (40, '67.6'), (50, '67.5'))},
  # Table 9: sigma of the filter, in evaluation too.
  **{f'table9_{sigma}': ({'views.high_pass_sigma': float(sigma)}, figure) for sigma, figure in (
    (1, '66.7'), (3, '67.3'), (5, '67.4'), (7, '67.4'), (9, '67.3'))},
  # Table 10: probability of masks that differ between channels.
  **{f'table10_{percent}': (masks(channelwise=percent / 100), figure) for percent, figure in (
    (0, '67.1'), (50, '67.2'), (60, '67.2'), (70, '67.4'), (80, '67.5'), (90, '67.5'), (100, '67.4'))},
  # Figure 1, standard augmentations: crops alone (section 4.3), with naive masks and without masks (section 4.5).
  'figure1_crops_without_masks': (UNMASKED | {'views.jitter': 0.0, 'views.grey': 0.0, 'views.blur': 0.0}, '33.5'),
  'figure1_naive_masks': (NAIVE, '62.2'),
  'figure1_no_masks': (UNMASKED, '66.4'),
  **{f'figure1_{step}': (without_later_steps(step), figure) for step, (_, figure) in STEPS.items()},
}
VARIANTS = tuple(ROWS)


def get_config(variant: str = VARIANTS[0]):
  if variant not in ROWS:
    raise ValueError(f'variant {variant!r}: the variants are {", ".join(VARIANTS)}')
  config = mscn(epochs=100, ratio=0.3)
  config.update_from_flattened_dict(ROWS[variant][0])
  return config
