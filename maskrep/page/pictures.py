"""The pictures of a run on its page: its views and masks, drawn now, and the pictures in its workdir."""

from pathlib import Path

from maskrep.errors import RunError
from maskrep.experiment.drawing import one_batch
from maskrep.experiment.experiment import Experiment
from maskrep.show.masks import masked_columns
from maskrep.show.sheet import sheet_png
from maskrep.show.views import columns, draw
from maskrep.workdir.config import load_config

SHOWN = {'Views of training images, as the loss reads them': columns,
         'Masked views: dropped patches are grey': masked_columns}


def pictures(workdir: Path) -> tuple[dict[str, bytes], str]:
  """Caption -> PNG, and why views and masks cannot be drawn: '' if they are.

  The data may be on another machine than the workdir.
  """
  written = {path.stem: path.read_bytes() for path in sorted(workdir.glob('*.png'))}
  if not (workdir / 'config.json').exists():  # an import
    return written, ''
  try:
    experiment = Experiment.parse(load_config(workdir))
    objective = experiment.objective
    views = draw(objective, one_batch(experiment.data, None, objective.reads, experiment.seed), experiment.seed)
  except RunError as error:
    return written, str(error)
  drawn = {caption: images for caption, make in SHOWN.items() if (images := make(objective, views))}
  return {caption: sheet_png(images) for caption, images in drawn.items()} | written, ''
