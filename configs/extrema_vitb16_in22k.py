"""ExtreMA, ViT-B/16: five masks of 80 %, 30 epochs of ImageNet-22k, batch 2048 (arXiv:2206.04667).

ImageNet-22k is not in tfds: data.source is a folder of its images. Not run by us yet.

  python main.py --config=configs/extrema_vitb16_in22k.py --config.data.source=folder:PATH --workdir=DIR
"""

from maskrep.configs.base.extrema import extrema


def get_config():
  config = extrema(size='B', ratio=0.8, count=5, epochs=30)
  config.data.update(source='folder:imagenet22k', eval_split='')
  config.optim.warmup_epochs = 4.0  # the usual 40 would be longer than the run
  return config
