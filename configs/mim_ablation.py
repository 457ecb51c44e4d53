"""The ablations of supervised + MIM: one variant per curve or row (Chen et al. 2023, section 4.5).

Top-1 on ImageNet-1k. ViT-B/14, 300 epochs, 20 % of the patches masked; a curve is a sweep of its variant over
`masking.ratio`. The variants of Table 6 fine-tune a run on ImageNet-21k: runs/mim_vitb14_in21k or, for its variant
300_baseline, runs/mim_vitb14_in21k_300_baseline, and likewise for ViT-L/14. All variants with MIM also need
--config.target.weights=runs/vqgan_f16_1024. Not run by us yet.

  python main.py --config=configs/mim_ablation.py:figure4_gap_gap --workdir=runs/mim_gap_gap
  maskrep sweep --config=mim_ablation:figure4_cls_gap --grid=masking.ratio=0.05,0.1,0.2 --workdir=runs/mim_cls_gap
"""

from maskrep.configs.base.mim import finetune_in1k, supervised_mim

CLASS_TOKEN = {'encoder.class_token': True}
BASELINE = {'objective.mim_weight': 0.0}
NO_MIM_LATER = BASELINE | {'objective.carry_decoder': False}


def base():
  return supervised_mim(size='B', epochs=300)


def finetuned_b():
  return finetune_in1k('B')


def finetuned_l():
  return finetune_in1k('L')


def from_baseline(size: str) -> dict:
  """Fine-tuning of a run that had no MIM, and so has no decoder."""
  return {'objective.carry_decoder': False, 'train.init_from': f'runs/mim_vit{size}14_in21k_300_baseline'}


# Variant: (config, fields that differ from it, the paper's figure, '' if it is only plotted).
ROWS = {
  # Table 6: MIM in pre-training, in fine-tuning, in both or in neither, for 300 epochs on ImageNet-21k.
  'table6_b_pretraining': (finetuned_b, NO_MIM_LATER, '83.59'),
  'table6_b_finetuning': (finetuned_b, from_baseline('b'), '82.55'),
  'table6_b_neither': (finetuned_b, from_baseline('b') | BASELINE, '82.82'),
  'table6_b_both': (finetuned_b, {}, '83.68'),
  'table6_l_pretraining': (finetuned_l, NO_MIM_LATER, '83.46'),
  'table6_l_finetuning': (finetuned_l, from_baseline('l'), '82.21'),
  'table6_l_neither': (finetuned_l, from_baseline('l') | BASELINE, '82.29'),
  'table6_l_both': (finetuned_l, {}, '83.57'),
  # Figure 4: pooling of the classifier, then of MIM. 81.98 is at a ratio of 0.05.
  'figure4_cls_baseline': (base, CLASS_TOKEN | BASELINE | {'objective.supervised_pooling': 'class_token'}, '80.62'),
  'figure4_cls_cls': (
    base, CLASS_TOKEN | dict.fromkeys(('objective.supervised_pooling', 'objective.mim_pooling'), 'class_token'), ''),
  'figure4_cls_gap': (base, CLASS_TOKEN | {'objective.supervised_pooling': 'class_token'}, '81.98'),
  'figure4_gap_cls': (base, CLASS_TOKEN | {'objective.mim_pooling': 'class_token'}, ''),
  # Figure 5: the same mask in both streams, 80.25 at a ratio of 0.5; the baseline with that mask, and without.
  'figure5_masked': (base, {'masking.supervised': True}, '80.25'),
  'figure5_masked_baseline': (base, {'masking.supervised': True} | BASELINE, ''),
  'figure5_baseline': (base, BASELINE, '79.71'),
  # Also Table 2.
  'figure4_gap_gap': (base, {}, '81.72'),
}
VARIANTS = tuple(ROWS)


def get_config(variant: str = VARIANTS[0]):
  if variant not in ROWS:
    raise ValueError(f'variant {variant!r}: the variants are {", ".join(VARIANTS)}')
  make, fields, _ = ROWS[variant]
  config = make()
  config.update_from_flattened_dict(fields)
  return config
