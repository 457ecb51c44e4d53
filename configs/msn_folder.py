"""MSN on your own images, no labels needed: ViT-S/16 on one GPU.

Give a folder of images; sub-folders are fine. With one sub-folder per class and a `val` folder beside `train`, the run
also measures k-NN accuracy: set --config.data.eval_split=val.

  python main.py --config=configs/msn_folder.py --workdir=runs/mine --config.data.source=folder:PATH
"""

from maskrep.configs.base.msn import msn


def get_config():
  config = msn(size='S', patch_size=16, ratio=0.15, epochs=300)
  config.batch_size = 256
  config.data.update(source='folder:images', eval_split='')
  config.eval.update(every_steps=1000, max_train_examples=10_000)
  return config
