"""MSN's ablations on ImageNet-1k: one variant per row of a table of the paper (arXiv:2204.07141).

The figures are top-1 accuracy in per cent of logistic regression on 1 % of the labels (lowshot_in1k_1pct), unless noted
otherwise. The paper gives no epochs for these tables; ours are those of the same encoder in Table 1. Not run by us yet.

  python main.py --config=configs/msn_ablation.py:table7_focal --workdir=runs/msn_table7_focal
  maskrep sweep --config=msn_ablation --grid=variant=table7_focal,table7_random --workdir=runs/msn_table7
"""

from maskrep.configs.base.msn import msn

SMALL = {'size': 'S', 'patch_size': 16, 'ratio': 0.15, 'epochs': 800}
BASE = {'size': 'B', 'patch_size': 16, 'ratio': 0.3, 'epochs': 600}
LARGE = {'size': 'L', 'patch_size': 16, 'ratio': 0.5, 'epochs': 600}
LARGE_7 = {'size': 'L', 'patch_size': 7, 'ratio': 0.7, 'epochs': 200}

# Tables 7 and 9: one masked anchor of ratio 0.5, of a ViT-B/16.
HALF = BASE | {'ratio': 0.5}
RANDOM = {'views.num_focal': 0}
# Table 10: 96 is not a multiple of 7.
ON_8_GPUS = {'views.focal_size': 98, 'batch_size': 16, 'compute_dtype': 'float32'}

# Variant: (model, fields that differ from its config, the paper's figure).
ROWS = {
  # Table 2 and footnote 1: the ViT-S/16 is without Sinkhorn. The others are msn_vitb4 and msn_vitl7.
  'table2_vits16': (SMALL, {'objective.sinkhorn_iterations': 0, 'objective.memax_weight': 5.0}, '67.2'),
  # Table 3: linear evaluation (linear_msn) of a model of 600 epochs. The other is msn_vitl7.
  'table3_vits16': (SMALL | {'epochs': 600}, {}, '76.9'),
  # Table 7: kinds of anchors.
  'table7_no_mask': (BASE | {'ratio': 0.0}, RANDOM, '49.3'),
  'table7_focal': (HALF, {'views.num_random': 0, 'views.num_focal': 1}, '39.3'),
  'table7_random': (HALF, RANDOM, '52.3'),
  'table7_random_focal': (HALF, {'views.num_focal': 1}, '59.8'),
  # Table 8: masking ratio and size.
  'table8_vits16_15': (SMALL, {}, '66.3'),
  'table8_vits16_30': (SMALL | {'ratio': 0.3}, {}, '66.0'),
  'table8_vits16_50': (SMALL | {'ratio': 0.5}, {}, '64.8'),
  'table8_vitb16_15': (BASE | {'ratio': 0.15}, {}, '68.8'),
  'table8_vitb16_30': (BASE, {}, '69.6'),
  'table8_vitl16_15': (LARGE | {'ratio': 0.15}, {}, 'NaN'),
  'table8_vitl16_30': (LARGE | {'ratio': 0.3}, {}, 'NaN'),
  'table8_vitl16_50': (LARGE, {}, '70.1'),
  'table8_vitl16_70': (LARGE | {'ratio': 0.7}, {}, '69.4'),
  # Table 9: what the masked anchor shares with the target view.
  'table9_all': (HALF, RANDOM | {'views.shared': 'all'}, '7.0'),
  'table9_crop_and_blur': (HALF, RANDOM | {'views.shared': 'crop_and_blur'}, '48.7'),
  'table9_nothing': (HALF, RANDOM, '52.3'),
  # Table 10: memory per GPU and images per second of 8 A100 GPUs, 2 images per GPU, in full precision.
  'table10_0': (LARGE_7 | {'ratio': 0.0}, ON_8_GPUS, '26G, 415'),
  'table10_30': (LARGE_7 | {'ratio': 0.3}, ON_8_GPUS, '21G, 480'),
  'table10_50': (LARGE_7 | {'ratio': 0.5}, ON_8_GPUS, '18G, 525'),
  'table10_70': (LARGE_7, ON_8_GPUS, '17G, 600'),
  # Table 11: Sinkhorn normalisation of the targets, and the weight lambda of ME-MAX.
  'table11_sinkhorn_1': (SMALL, {}, '66.4'),
  'table11_none_1': (SMALL, {'objective.sinkhorn_iterations': 0}, '60.8'),
  'table11_none_5': (SMALL, {'objective.sinkhorn_iterations': 0, 'objective.memax_weight': 5.0}, '67.2'),
  # Table 12: number of prototypes.
  'table12_512': (BASE, {'objective.num_prototypes': 512}, '67.6'),
  'table12_1024': (BASE, {}, '69.5'),
  'table12_2048': (BASE, {'objective.num_prototypes': 2048}, '69.5'),
}
VARIANTS = tuple(ROWS)


def get_config(variant: str = VARIANTS[0]):
  if variant not in ROWS:
    raise ValueError(f'variant {variant!r}: the variants are {", ".join(VARIANTS)}')
  model, fields, _ = ROWS[variant]
  config = msn(**model)
  config.update_from_flattened_dict(fields)
  return config
