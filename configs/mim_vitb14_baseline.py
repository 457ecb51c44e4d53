"""The baseline of mim_vitb14: the same run without masked image modelling, which is not computed at weight 0.

79.71 % top-1 (Table 2). Not run by us yet.

  python main.py --config=configs/mim_vitb14_baseline.py --workdir=runs/mim_vitb14_baseline
"""

from maskrep.configs.base.mim import supervised_mim


def get_config():
  return supervised_mim(size='B', epochs=300, mim_weight=0.0)
