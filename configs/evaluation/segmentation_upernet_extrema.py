"""Semantic segmentation of ADE20K by UperNet: ExtreMA, section 5.3 and Table 9.

UperNet on blocks 4, 6, 8 and 12 of a ViT-B, trained with the encoder: AdamW, 80 000 steps of 16 images, learning rate
1e-4, weight decay 0.05, layer-wise decay 0.85. The paper refers to prior works for the rest, and we take BEiT's recipe
for a ViT-B: 768 channels, an auxiliary head of weight 0.4, stochastic depth 0.1, a warm-up of 1500 steps, squares of
512 pixels out of images rescaled by 0.5 to 2, and windows of 512 pixels at a stride of 341 in the test. Our reading:
the colours, a half-cosine (BEiT has a straight line), and squares whatever classes they hold (BEiT draws again if one
class covers three quarters). Not run by us yet.

The data are the unpacked ADEChallengeData2016 of the scene parsing benchmark. Images larger than `data.canvas` are
reduced to it. Batch statistics are those of a microbatch, if `train.microbatch` is set.

  maskrep evaluate segmentation --workdir=runs/extrema_vitb16 --config=segmentation_upernet_extrema
"""

from maskrep.configs.base.sections import epochs_of, section
from maskrep.configs.base.segment import segmentation


def get_config():
  config = segmentation(batch_size=16, epochs=80_000 * 16 / 20_210)
  config.data.update(source='ade20k:ADEChallengeData2016', train_split='training', eval_split='validation', canvas=1024,
                     threads=16)
  config.views.update(size=512, scale_jitter=(0.5, 2.0), jitter=0.5, jitter_strength=(0.125, 0.5, 0.5, 0.05))
  config.encoder.drop_path = 0.1
  config.upernet = section(
    blocks=(4, 6, 8, 12), channels=768, pool_sizes=(1, 2, 3, 6), auxiliary_channels=256, auxiliary_weight=0.4,
    dropout=0.1)
  config.objective.update(map_classes=150, trained='all', layer_decay=0.85, stride=341)
  config.optim.update(
    learning_rate=1e-4, warmup_epochs=epochs_of(config, 1500, 20_210), weight_decay=0.05, final_weight_decay=0.05)
  config.train.update(log_every_steps=50, checkpoint_every_steps=2000)
  config.eval.update(every_steps=16_000, batch_size=8, max_train_examples=2000)
  return config
