"""Read by pyright alone: each method is an `Objective`, and has the abilities that evaluations ask it for."""

from maskrep.methods.classify import Classify
from maskrep.methods.extrema import ExtreMA
from maskrep.methods.mim import SupervisedMIM
from maskrep.methods.mscn import MSCN
from maskrep.methods.msn import MSN
from maskrep.methods.segment import Segment
from maskrep.methods.vqgan import TrainVQGAN
from maskrep.types import CarriesOver, Classifies, Objective, Reconstructs, Segments


def objectives(
  classify: Classify, extrema: ExtreMA, mim: SupervisedMIM, mscn: MSCN, msn: MSN, segment: Segment, vqgan: TrainVQGAN,
) -> tuple[Objective, ...]:
  return classify, extrema, mim, mscn, msn, segment, vqgan


def abilities(
  classify: Classify, mim: SupervisedMIM, segment: Segment, vqgan: TrainVQGAN,
) -> tuple[Classifies, Classifies, CarriesOver, Segments, Reconstructs]:
  return classify, mim, mim, segment, vqgan
