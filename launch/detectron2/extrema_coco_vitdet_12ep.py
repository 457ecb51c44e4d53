"""ExtreMA, arXiv:2206.04667, section 5.3 and Table 11: Mask R-CNN with a ViT-B/16 on COCO, 12 epochs.

The paper gives the detector, the encoder and the epochs. All else is ViTDet's (arXiv:2203.16527), as detectron2 has it:
its feature pyramid and window attention, images of 1024 pixels at random scales, AdamW at 1e-4 with 64 images per step,
and its schedule of 100 epochs shortened to 12.
"""

from functools import partial

from detectron2 import model_zoo
from detectron2.config import LazyCall
from detectron2.data import transforms
from detectron2.modeling.backbone.vit import get_vit_lr_decay_rate
from detectron2.solver import WarmupParamScheduler
from fvcore.common.param_scheduler import MultiStepParamScheduler

SIDE, BATCH, IMAGES, EPOCHS = 1024, 64, 118_287, 12

model = model_zoo.get_config('common/models/mask_rcnn_vitdet.py').model
model.backbone.net.pretrain_use_cls_token = False  # True for a ViT with a class token, as MSN's

dataloader = model_zoo.get_config('common/data/coco.py').dataloader
dataloader.train.total_batch_size = BATCH
dataloader.train.mapper.image_format = 'RGB'
dataloader.train.mapper.recompute_boxes = True  # after the crop
dataloader.train.mapper.augmentations = [
  LazyCall(transforms.RandomFlip)(horizontal=True),
  LazyCall(transforms.ResizeScale)(min_scale=0.1, max_scale=2.0, target_height=SIDE, target_width=SIDE),
  LazyCall(transforms.FixedSizeCrop)(crop_size=(SIDE, SIDE), pad=False)]
dataloader.test.mapper.augmentations = [
  LazyCall(transforms.ResizeShortestEdge)(short_edge_length=SIDE, max_size=SIDE)]

train = model_zoo.get_config('common/train.py').train
train.amp.enabled = True
train.ddp.fp16_compression = True
train.max_iter = round(EPOCHS * IMAGES / BATCH)
train.init_checkpoint = 'backbone.pkl'

lr_multiplier = LazyCall(WarmupParamScheduler)(
  scheduler=LazyCall(MultiStepParamScheduler)(
    values=[1.0, 0.1, 0.01], milestones=[round(share * train.max_iter) for share in (8 / 9, 26 / 27)],
    num_updates=train.max_iter),
  warmup_length=250 / train.max_iter, warmup_factor=0.001)

optimizer = model_zoo.get_config('common/optim.py').AdamW
optimizer.params.lr_factor_func = partial(get_vit_lr_decay_rate, num_layers=12, lr_decay_rate=0.7)
optimizer.params.overrides = {'pos_embed': {'weight_decay': 0.0}}
