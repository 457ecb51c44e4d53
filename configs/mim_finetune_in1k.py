"""Fine-tuning a ViT-B/14 from ImageNet-21k on ImageNet-1k, with MIM as a second loss: 20 000 steps, batch 512.

Chen et al. 2023, table 6. The paper gives a learning rate of 0.03; that it belongs to SGD with momentum 0.9 is our
reading. Not run by us yet. The command also needs --config.train.init_from=runs/mim_vitb14_in21k and
--config.target.weights=runs/vqgan_f16_1024. Without MIM it needs no tokenizer: --config.objective.mim_weight=0.0.

  python main.py --config=configs/mim_finetune_in1k.py --workdir=runs/mim_finetune_in1k
"""

from maskrep.configs.base.mim import supervised_mim
from maskrep.configs.base.sections import epochs_of


def get_config():
  config = supervised_mim(size='B', epochs=1, weight_decay=0.0, augreg=False)
  config.batch_size = 512
  config.train.epochs = epochs_of(config, 20_000, 1_281_167)
  config.optim.update(optimizer_kind='sgd', learning_rate=3e-2)
  config.optim.warmup_epochs = epochs_of(config, 500, 1_281_167)
  return config
