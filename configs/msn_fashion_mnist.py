"""MSN on the 60 000 images of Fashion-MNIST, without labels: half an hour on two CPU cores.

Not in the paper. It ends level with raw pixels; see docs/msn.md. More epochs, on a GPU, should do better.
Prepare the data once, then train:

  pip install -e '.[prepare]' && tfds build fashion_mnist --file_format=array_record
  python main.py --config=configs/msn_fashion_mnist.py --workdir=runs/msn_fashion_mnist
"""

from maskrep.configs.base.msn import msn
from maskrep.configs.base.sections import share_of_run


def get_config():
  config = msn(size='Ti', patch_size=7, ratio=0.3, epochs=12)
  config.batch_size = 256
  config.data.update(source='tfds:fashion_mnist', eval_split='test', canvas=28, threads=2)
  config.views.update(
    size=28, focal_size=14, num_focal=4, crop_scale=(0.5, 1.0), focal_crop_scale=(0.15, 0.4), jitter=0.0, grey=0.0,
    blur=0.0, mean=(0.286,) * 3, std=(0.353,) * 3)
  config.encoder.update(width=128, depth=3, heads=4, weight_init='fan_in')
  config.head.update(hidden=512, output=128)
  config.objective.update(num_prototypes=64)
  config.optim.update(
    warmup_learning_rate=2e-4, learning_rate=2e-3, warmup_epochs=share_of_run(config, 1 / 12), schedule_stretch=1.0,
    final_weight_decay=0.04,
    beta2=0.95, ema_momentum=0.98)
  config.eval.update(every_steps=1000, crop_fraction=1.0, baselines=('pixels', 'untrained'))
  return config
