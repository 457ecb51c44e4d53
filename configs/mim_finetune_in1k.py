"""Fine-tuning a ViT from ImageNet-21k on ImageNet-1k, with MIM as a second loss: 20 000 steps, batch 512.

Chen et al. 2023, section 4.1. ViT-B/14 after 300 epochs: 83.68 % top-1, after 30: 82.46 %; `:L` is ViT-L/14: 83.57
and 84.51 % (Table 2). It starts from runs/mim_vitb14_in21k or runs/mim_vitl14_in21k, with the decoder;
--config.train.init_from=DIR names another run. With and without MIM in either stage (Table 6): configs/mim_ablation.py.
It needs the tokenizer of the pre-training run: --config.target.weights=runs/vqgan_f16_1024. Without MIM it needs none:
--config.objective.mim_weight=0.0 --config.objective.carry_decoder=False. Not run by us yet.

  python main.py --config=configs/mim_finetune_in1k.py --workdir=runs/mim_finetune_in1k
"""

from maskrep.configs.base.mim import finetune_in1k

VARIANTS = 'L', 'B'


def get_config(variant: str = 'B'):
  if variant not in VARIANTS:
    raise ValueError(f'variant {variant!r}: the variants are {", ".join(VARIANTS)}')
  return finetune_in1k(variant)
