"""Trains or evaluates a detector of detectron2 on images that are high-pass filtered first; usage in README.md.

Beside detectron2's own configs it reads INPUT.HIGH_PASS_SIGMA (in pixels; 0 turns the filter off), and it adds the ROI
head of VISSL's and MoCo's configs.
"""

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.data import (
  DatasetMapper,
  MetadataCatalog,
  build_detection_test_loader,
  build_detection_train_loader,
)
from detectron2.engine import DefaultTrainer, default_argument_parser, default_setup, launch
from detectron2.evaluation import COCOEvaluator, PascalVOCDetectionEvaluator
from detectron2.layers import get_norm
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY, Res5ROIHeads
from high_pass import HighPassMapper


@ROI_HEADS_REGISTRY.register()
class Res5ROIHeadsExtraNorm(Res5ROIHeads):
  """A norm follows the fifth stage: the features of pretrained backbones differ in scale (MoCo, arXiv:1911.05722)."""

  @classmethod
  def _build_res5_block(cls, cfg):
    stage, channels = super()._build_res5_block(cfg)
    stage.add_module('norm', get_norm(cfg.MODEL.RESNETS.NORM, channels))
    return stage, channels


def mapper(cfg, is_train: bool):
  plain, sigma = DatasetMapper(cfg, is_train=is_train), cfg.INPUT.HIGH_PASS_SIGMA
  return HighPassMapper(plain, sigma) if sigma else plain


class Trainer(DefaultTrainer):

  @classmethod
  def build_train_loader(cls, cfg):
    return build_detection_train_loader(cfg, mapper=mapper(cfg, is_train=True))

  @classmethod
  def build_test_loader(cls, cfg, dataset_name):
    return build_detection_test_loader(cfg, dataset_name, mapper=mapper(cfg, is_train=False))

  @classmethod
  def build_evaluator(cls, cfg, dataset_name):
    if MetadataCatalog.get(dataset_name).evaluator_type == 'pascal_voc':
      return PascalVOCDetectionEvaluator(dataset_name)
    return COCOEvaluator(dataset_name, output_dir=cfg.OUTPUT_DIR)


def main(args):
  cfg = get_cfg()
  cfg.INPUT.HIGH_PASS_SIGMA = 0.0
  cfg.merge_from_file(args.config_file)
  cfg.merge_from_list(args.opts)
  cfg.freeze()
  default_setup(cfg, args)
  if args.eval_only:
    model = Trainer.build_model(cfg)
    DetectionCheckpointer(model, save_dir=cfg.OUTPUT_DIR).resume_or_load(cfg.MODEL.WEIGHTS, resume=args.resume)
    return Trainer.test(cfg, model)
  trainer = Trainer(cfg)
  trainer.resume_or_load(resume=args.resume)
  return trainer.train()


if __name__ == '__main__':
  given = default_argument_parser().parse_args()
  launch(main, given.num_gpus, num_machines=given.num_machines, machine_rank=given.machine_rank,
         dist_url=given.dist_url, args=(given,))
