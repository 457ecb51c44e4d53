"""Fine-tuning a ViT-B/14 of ImageNet-21k to ImageNet-1k, with MIM beside it: 20 000 steps, batch 512.

Chen et al. 2023, table 6. Without MIM: --config.objective.mim_weight=0.0, which needs no tokenizer. SGD with momentum
0.9 is our reading of a learning rate of 0.03. Not run by us yet. It also needs
--config.train.init_from=runs/mim_vitb14_in21k and --config.target.weights=runs/vqgan_f16_1024.

  python main.py --config=configs/mim_finetune_in1k.py --workdir=runs/mim_finetune_in1k
"""

from configs import common


def get_config():
  config = common.supervised_mim(size='B', epochs=1, weight_decay=0.0, augreg=False)
  config.batch_size = 512
  config.train.epochs = common.epochs_of(config, 20_000, 1_281_167)
  config.optim.update(optimizer_kind='sgd', learning_rate=3e-2)
  config.optim.warmup_epochs = common.epochs_of(config, 500, 1_281_167)
  return config
