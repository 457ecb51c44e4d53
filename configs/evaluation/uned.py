"""Recall@1 of frozen features in UnED, arXiv:2309.01858: Supervised + MIM (Chen et al. 2023, section 4.3).

Eight domains: Food2K, CARS196, SOP, In-Shop, iNaturalist 2018, Met, Google Landmarks v2 and RP2K, by the lists of the
benchmark. One index holds the index images of all domains, and a query is right if its nearest image, by cosine
similarity, is of its domain and class. Figures: each domain, and their mean. Images are prepared as the authors of UnED
do: the shorter side is resized to the size of the encoder's training and the centre cropped, without a margin. Our
resampling is antialiased, and theirs is not.

The data are the folder `data` of nikosips/Universal-Image-Embeddings, as its README describes: `info_files` with the
lists, and `images` with the pictures of each domain from its own authors. Not run by us yet.

  maskrep evaluate uned --workdir=runs/mim_vitb14 --config.data.source=uned:PATH
"""

from maskrep.configs.base.evaluation import evaluation
from maskrep.configs.base.sections import section


def get_config():
  config = evaluation('uned')
  # How images are read. `domains` selects the images; the splits are those of the first domain.
  config.data.update(source='uned:data', train_split='food2k/test', eval_split='food2k/test')
  config.encoding.crop_fraction = 1.0
  config.uned = section(domains=('food2k', 'cars', 'sop', 'inshop', 'inat', 'met', 'gldv2', 'rp2k'))
  return config
