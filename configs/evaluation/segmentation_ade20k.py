"""Semantic segmentation of ADE20K by a linear layer on the patches, at 448 pixels: Chen et al. 2023, section 4.4.

A linear decoder on patch tokens, 448 pixels, bilinear upsampling of position embeddings, seven learning rates with
three seeds each, of which the best mean IoU on the validation split counts. Our reading: encoder and decoder are both
trained (--config.objective.trained=head trains the decoder alone); AdamW; weight decay, batch, length, crops and
colours. At evaluation the full image is squashed to a square and the logits are interpolated to each of its pixels;
this is our reading too. Not run by us yet.

The data are the unpacked ADEChallengeData2016 of the scene parsing benchmark. Images larger than `data.canvas` are
reduced to it before evaluation. tfds's scene_parse150 cannot be used: it holds the maps of the instance benchmark.

  maskrep evaluate segmentation --workdir=runs/mim_vitb14 --config=segmentation_ade20k
"""

from maskrep.configs.base.segment import linear_decoder_448


def get_config():
  return linear_decoder_448(
    'ade20k:ADEChallengeData2016', train_split='training', eval_split='validation', examples=20_210, epochs=128,
    classes=150, canvas=683)
