"""ExtreMA's ablations: one variant per row of a table, or curve of a figure (arXiv:2206.04667).

The figures are top-1 accuracy in per cent on ImageNet-1k, with fine-tuning and with a linear probe; for Table 12 also
hours on 8 V100 GPUs. Except in the variants of Tables 4 and 7, student and teacher see the same crop, without colours.
ImageNet-22k is not in tfds: data.source is a folder of its images. Not run by us yet.

  python main.py --config=configs/extrema_ablation.py:table4_crop_color_2 --workdir=runs/extrema_table4
  maskrep sweep --config=extrema_ablation --grid=variant=table5_1,table5_2,table5_3 --workdir=runs/table5
"""

from maskrep.configs.base.extrema import extrema

# Section 5.1: crops and flips alone, and the same image for student and teacher.
ONE = {'views.augmentations': 1}
NO_COLOUR = {'views.jitter': 0.0, 'views.grey': 0.0}
PLAIN = ONE | NO_COLOUR
# As in the authors' code: the shorter side is resized to 256 pixels, and the central 224 are used.
CENTER = {'views.center_fraction': 0.875, 'views.flip': 0.0}
APART = {'views.shared_crop': False}
# 10 times the images in a tenth of the epochs; the usual 40 epochs of warm-up would be longer than the run.
IN22K = {'train.epochs': 30.0, 'optim.warmup_epochs': 4.0, 'data.source': 'folder:imagenet22k', 'data.eval_split': ''}


def masks(ratio: float, count: int, size: str = 'B', **changes) -> dict:
  """The arguments of `extrema`."""
  return {'size': size, 'ratio': ratio, 'count': count, **changes}


TWO = masks(0.8, 2)  # "the default masking ratio to 80% with two masks in the following ablations"
SMALL = masks(0.9, 8, 'S')

# Variant: (model, fields that differ from its config, the paper's figure).
ROWS = {
  # Table 1: the ratio of one mask.
  'table1_50': (masks(0.5, 1), PLAIN, '81.9, 36.3'),
  'table1_70': (masks(0.7, 1), PLAIN, '82.3, 64.4'),
  'table1_80': (masks(0.8, 1), PLAIN, '82.4, 67.3'),
  'table1_85': (masks(0.85, 1), PLAIN, '82.4, 66.3'),
  'table1_90': (masks(0.9, 1), PLAIN, '82.3, 61.6'),
  'table1_95': (masks(0.95, 1), PLAIN, '81.6, 49.3'),
  # Table 2, and the curves of Figure 4: ratio and number of masks.
  'table2_75x1': (masks(0.75, 1), PLAIN, '82.4, 64.8'),
  'table2_75x2': (masks(0.75, 2), PLAIN, '82.7, 67.2'),
  'table2_75x4': (masks(0.75, 4), PLAIN, '82.9, 67.7'),
  'table2_80x1': (masks(0.8, 1), PLAIN, '82.4, 67.3'),
  'table2_80x2': (TWO, PLAIN, '82.6, 68.8'),
  'table2_80x4': (masks(0.8, 4), PLAIN, '82.8, 67.5'),
  'table2_80x5': (masks(0.8, 5), PLAIN, '82.9, 67.1'),
  'table2_90x1': (masks(0.9, 1), PLAIN, '82.3, 61.6'),
  'table2_90x2': (masks(0.9, 2), PLAIN, '82.5, 64.0'),
  'table2_90x4': (masks(0.9, 4), PLAIN, '82.7, 63.1'),
  'table2_90x8': (masks(0.9, 8), PLAIN, '82.9, 60.3'),
  'table2_90x10': (masks(0.9, 10), PLAIN, '83.0, 59.3'),
  # Table 3: the number of masks of 90 % on ImageNet-22k.
  'table3_1': (masks(0.9, 1), PLAIN | IN22K, '82.5, 60.4'),
  'table3_2': (masks(0.9, 2), PLAIN | IN22K, '82.7, 65.6'),
  'table3_4': (masks(0.9, 4), PLAIN | IN22K, '83.0, 69.0'),
  'table3_8': (masks(0.9, 8), PLAIN | IN22K, '83.2, 71.4'),
  'table3_10': (masks(0.9, 10), PLAIN | IN22K, '83.2, 72.0'),
  # Table 4: other augmentations; the last digit is the number of augmentations of an image.
  'table4_none_1': (TWO, PLAIN | CENTER, '82.3, 55.1'),
  'table4_color_1': (TWO, ONE | CENTER, '82.5, 62.0'),
  'table4_color_2': (TWO, CENTER, '83.3, 62.4'),
  'table4_crop_1': (TWO, PLAIN, '82.6, 68.8'),
  'table4_crop_2': (TWO, NO_COLOUR | APART, '82.2, 66.8'),
  'table4_crop_color_1': (TWO, ONE, '82.6, 69.0'),
  'table4_crop_color_2': (TWO, APART, '83.1, 73.3'),
  'table4_shared_crop_color_2': (TWO, {}, '83.3, 73.1'),
  # Table 5: blocks of class attention.
  'table5_1': (TWO, PLAIN | {'encoder.class_depth': 1}, '82.6, 66.2'),
  'table5_2': (TWO, PLAIN, '82.6, 68.8'),
  'table5_3': (TWO, PLAIN | {'encoder.class_depth': 3}, '82.6, 68.5'),
  # Table 6: the loss; InfoNCE at a temperature of 0.2.
  'table6_byol': (TWO, PLAIN, '82.6, 68.8'),
  'table6_infonce': (TWO | {'loss': 'infonce'}, PLAIN, '82.8, 66.8'),
  # Table 7: the ViT-S on ImageNet-22k. The others are extrema_vits16, extrema_vitb16 and extrema_vitb16_in22k.
  'table7_vits16_in22k': (masks(0.8, 5, 'S'), IN22K, '81.5, 65.7'),
  # Table 12: one mask for twice the epochs. Its rows of 300 epochs are table2_75x1 to table2_90x2.
  'table12_75x1': (masks(0.75, 1, epochs=600), PLAIN, '82.6, 67.8, 60'),
  'table12_80x1': (masks(0.8, 1, epochs=600), PLAIN, '82.6, 69.1, 58'),
  'table12_90x1': (masks(0.9, 1, epochs=600), PLAIN, '82.5, 63.4, 58'),
  # Figure 5: the representation of an image; curves of loss and k-NN, without a number.
  'figure5_vit': (SMALL, PLAIN | {'encoder.instance': 'class_token'}, 'unstable'),
  'figure5_average': (SMALL, PLAIN | {'encoder.instance': 'average'}, 'a shortcut'),
  'figure5_cait': (SMALL, PLAIN, 'works'),
}
VARIANTS = tuple(ROWS)


def get_config(variant: str = VARIANTS[0]):
  if variant not in ROWS:
    raise ValueError(f'variant {variant!r}: the variants are {", ".join(VARIANTS)}')
  model, fields, _ = ROWS[variant]
  config = extrema(**model)
  config.update_from_flattened_dict(fields)
  return config
