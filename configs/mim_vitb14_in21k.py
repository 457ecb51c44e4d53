"""Supervised + MIM, ViT-B/14: ImageNet-21k without AugReg, batch 4096 (Chen et al. 2023, section 4, Table 1).

300 epochs; `:30` has 30. `:300_baseline` and `:30_baseline` are the same runs without masked image modelling.
ImageNet-21k is not in tfds: data.source is a folder of its images, one folder per class. The run also needs a trained
tokenizer: --config.target.weights=runs/vqgan_f16_1024. The figures of the paper are those after fine-tuning, see
configs/mim_finetune_in1k.py. Not run by us yet.

  python main.py --config=configs/mim_vitb14_in21k.py --config.data.source=folder:PATH --workdir=runs/mim_vitb14_in21k
"""

from maskrep.configs.base.mim import IN21K, in21k

VARIANTS = tuple(IN21K)


def get_config(variant: str = '300'):
  return in21k('B', variant)
