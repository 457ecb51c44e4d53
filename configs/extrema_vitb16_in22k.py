"""ExtreMA, ViT-B/16: five masks of 80 %, 30 epochs of ImageNet-22k, batch 2048 (arXiv:2206.04667).

Expect (paper, Table 7): 83.9 % top-1 on ImageNet-1k with fine-tuning, 74.5 % with a linear probe. The paper does not
give the length of the warm-up. ImageNet-22k is not in tfds: data.source is a folder of its images. Not run by us yet.

  python main.py --config=configs/extrema_vitb16_in22k.py --config.data.source=folder:PATH --workdir=DIR
"""

from maskrep.configs.base.extrema import extrema


def get_config():
  config = extrema(size='B', ratio=0.8, count=5, epochs=30)
  config.data.update(source='folder:imagenet22k', eval_split='')
  config.optim.warmup_epochs = 4.0  # the usual 40 would be longer than the run
  return config
