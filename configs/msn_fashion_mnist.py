"""MSN on the 60 000 pictures of Fashion-MNIST, unlabelled: minutes on a GPU, hours on two CPU cores.

Not in the paper. Prepare the data once, then train:

  pip install -e '.[prepare]' && tfds build fashion_mnist --file_format=array_record
  python main.py --config=configs/msn_fashion_mnist.py --workdir=runs/msn_fashion_mnist
"""

from configs import common


def get_config():
  config = common.msn(size='Ti', patch_size=4, ratio=0.3, epochs=100)
  config.batch_size = 256
  config.data.update(source='tfds:fashion_mnist', eval_split='test', canvas=28, threads=4)
  config.views.update(
    size=28, focal_size=16, num_focal=4, focal_crop_scale=(0.1, 0.4), jitter=0.0, grey=0.0, blur=0.0,
    mean=(0.286,) * 3, std=(0.353,) * 3)
  config.encoder.update(width=192, depth=6, heads=3)
  config.head.update(hidden=512, output=128)
  config.objective.update(num_prototypes=256)
  config.optim.update(warmup_epochs=5.0, schedule_stretch=1.0, warmup_learning_rate=2e-4, learning_rate=1e-3)
  config.eval.update(every_steps=2345, crop_fraction=1.0, baselines=('pixels', 'untrained'))
  return config
