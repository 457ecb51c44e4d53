"""MSCN's trajectory and ablations, a variant per figure: ResNet-50, SimCLR's loss, 100 epochs (arXiv:2206.07700).

Sections 4.3 to 4.5 (Figure 1) are TRAJECTORY and BASELINES, Tables 5 to 10 are TABLES. All are top-1 of linear
evaluation on ImageNet-1k, with a masking ratio of 0.3. Readings of ours are marked. Not run by us yet. With
`train.microbatch` above 0, the batch norm of the ResNet sees one microbatch (ghost batch norm); heads and loss see the
global batch.

  python main.py --config=configs/mscn_ablation.py:noise --workdir=runs/mscn_ablation_noise
"""

from maskrep.configs.base.mscn import mscn


def masks(**fields) -> dict:
  """The same values for the masks of both branches."""
  return {f'{branch}_mask.{name}': value for branch in ('first', 'second') for name, value in fields.items()}


# Each step adds to the one before it. The fields undo it; if two steps set a field, the earlier one's value counts.
# name: (the paper's figure, what undoes the step)
TRAJECTORY = {
  'grid': (21.0, {}),  # grid masks in both branches on the same random crop, filled with 0, and nothing else
  'high_pass': (30.2, {'views.high_pass_sigma': 0.0}),
  'focal': (31.0, masks(focal=0.0)),
  'crops': (40.0, {'views.shared': 'crop', 'views.flip': 0.0}),  # flips come with the crops: our reading
  'noise': (48.2, masks(noise_std=0.0)),  # of another deviation in each branch
  'channelwise': (53.6, masks(channelwise=0.0)),
  'jitter_grey': (63.0, {'views.jitter': 0.0, 'views.grey': 0.0}),
  'blur': (65.1, {'views.blur': 0.0}),
  'asymmetry': (65.6, {'second_mask.focal': 0.2}),  # focal masks in the first branch alone: our reading
  'multimasks': (67.4, {'objective.num_masks': 1}),  # two masked versions of the first view: our reading
}
# Without the designs: images are not filtered (our reading), masks are grids filled with 0, one for all channels.
NAIVE = masks(focal=0.0, noise_std=0.0, channelwise=0.0) | {'views.high_pass_sigma': 0.0, 'objective.num_masks': 1}
UNMASKED = NAIVE | masks(ratio=0.0)
# name: (the paper's figure, changes of the last step)
BASELINES = {
  'no_masks': (66.4, UNMASKED),  # section 4.5: 1.0 below 67.4; Figure 1: 1.0 below 67.6
  'naive_masks': (62.2, NAIVE),  # section 4.5: 5.2 below 67.4
  'crops_without_masks': (33.5, UNMASKED | {'views.jitter': 0.0, 'views.grey': 0.0, 'views.blur': 0.0}),  # section 4.3
}
TABLES = {
  **{f'ratio_{ratio}': (figure, masks(ratio=ratio)) for ratio, figure in (  # Table 5
    (0.1, 67.5), (0.15, 67.6), (0.2, 67.5), (0.25, 67.4), (0.3, 67.4), (0.5, 66.8), (0.7, 66.2), (0.9, 62.6))},
  **{f'cell_{cell}': (figure, masks(cell=cell)) for cell, figure in (  # Table 6
    (7, 67.1), (14, 67.2), (28, 67.4), (32, 67.4), (56, 67.2))},
  # Table 7. Its second row is the step `asymmetry` of section 4.5, so that the first has one mask too: our reading.
  'same_view': (29.1, {'views.shared': 'view', 'objective.num_masks': 1}),
  'different_views': (65.6, {'objective.num_masks': 1}),
  # Table 8. Of the first branch, as the second has no focal masks: our reading.
  **{f'focal_{probability}': (figure, {'first_mask.focal': probability}) for probability, figure in (
    (0.0, 67.0), (0.1, 67.0), (0.2, 67.4), (0.3, 67.5), (0.4, 67.6), (0.5, 67.5))},
  # Table 9. Evaluation filters as training does.
  **{f'sigma_{sigma}': (figure, {'views.high_pass_sigma': sigma}) for sigma, figure in (
    (1.0, 66.7), (3.0, 67.3), (5.0, 67.4), (7.0, 67.4), (9.0, 67.3))},
  **{f'channelwise_{probability}': (figure, masks(channelwise=probability)) for probability, figure in (  # Table 10
    (0.0, 67.1), (0.5, 67.2), (0.6, 67.2), (0.7, 67.4), (0.8, 67.5), (0.9, 67.5), (1.0, 67.4))},
}
VARIANTS = (*TABLES, *BASELINES, *TRAJECTORY)
FIGURES = {name: figure for name, (figure, _) in (TABLES | BASELINES | TRAJECTORY).items()}  # top-1 in %


def get_config(variant: str = ''):
  if variant not in VARIANTS:
    raise ValueError(f'variant {variant!r}: the variants are {", ".join(VARIANTS)}')
  config = mscn(epochs=100, ratio=0.3)
  steps = list(TRAJECTORY)
  # From the last step back, so that the value of an earlier step is set last.
  for later in reversed(steps[steps.index(variant) + 1:] if variant in steps else []):
    config.update_from_flattened_dict(TRAJECTORY[later][1])
  if variant not in steps:
    config.update_from_flattened_dict((TABLES | BASELINES)[variant][1])
  return config
