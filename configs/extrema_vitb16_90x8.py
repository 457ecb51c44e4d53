"""ExtreMA, ViT-B/16: eight masks of 90 %, 300 epochs of ImageNet-1k, batch 2048 (arXiv:2206.04667).

The authors' released model, in no table of the paper: their README gives 83.5 % top-1 with fine-tuning and 68.4 % with
a linear probe. Table 2's 90 % x 8, without colours, is extrema_ablation:table2_90x8. Not run by us yet.

  python main.py --config=configs/extrema_vitb16_90x8.py --workdir=runs/extrema_vitb16_90x8
"""

from maskrep.configs.base.extrema import extrema


def get_config():
  return extrema(size='B', ratio=0.9, count=8)
