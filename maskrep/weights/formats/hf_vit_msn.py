"""Hugging Face's `ViTMSNModel`: a folder that `from_pretrained` opens.

The names are those in its files, which every version of transformers reads; its modules in memory have other names.
"""

import dataclasses
import json
from pathlib import Path
import tempfile

from maskrep import schema
from maskrep.errors import ConfigError
from maskrep.models.encoder import Preprocessing
from maskrep.weights import files, names, peers
from maskrep.weights.formats import channels, torch_vit
from maskrep.weights.pretrained import IMAGENET, ForeignNetwork, encoder_only
from maskrep.weights.side_files import brief, read_json
from maskrep.workdir.files import write_atomic

KINDS = ('vit',)
SUFFIXES = ()
LICENCE = 'Apache 2.0, if it is facebook/vit-msn-*'
NAMES = {
  'cls': 'embeddings.cls_token', 'pos': 'embeddings.position_embeddings',
  'embed': 'embeddings.patch_embeddings.projection', 'norm': 'layernorm',
  'block{}.norm1': 'encoder.layer.{}.layernorm_before',
  'block{}.attn.qkv': tuple(f'encoder.layer.{{}}.attention.attention.{part}' for part in ('query', 'key', 'value')),
  'block{}.attn.proj': 'encoder.layer.{}.attention.output.dense',
  'block{}.norm2': 'encoder.layer.{}.layernorm_after',
  'block{}.mlp.fc1': 'encoder.layer.{}.intermediate.dense', 'block{}.mlp.fc2': 'encoder.layer.{}.output.dense'}
FIXED = {'model_type': 'vit_msn', 'hidden_act': 'gelu', 'layer_norm_eps': 1e-6, 'num_channels': 3, 'qkv_bias': True}
FILTERS = {'bilinear': 2, 'bicubic': 3}  # Pillow's numbers


def to_foreign(arrays, config):
  torch_vit.need_class_token('hf_msn', config)
  return names.to_foreign(NAMES, arrays)


def from_foreign(state, config, wanted):
  return names.from_foreign(NAMES, state, wanted)


def read(what, path, options):
  config = _json(what, path / 'config.json')
  for field, ours in FIXED.items():
    if field != 'num_channels' and config.get(field, ours) != ours:
      raise ConfigError(f'{what}: its config.json has {field}={brief(repr(config[field]))}, and our encoder {ours!r}; '
                        'choose other weights')
  if type(config.get('num_attention_heads')) is not int:
    raise ConfigError(f'{what}: its config.json has no num_attention_heads; take the whole folder from its source')
  candidates = [path / name for name in ('model.safetensors', 'pytorch_model.bin') if (path / name).exists()]
  if not candidates:
    raise ConfigError(f'{what}: has no model.safetensors; give a folder that save_pretrained wrote')
  # A classifier is left out; a model with one has a prefix in its names.
  state = {name.removeprefix('vit.'): value for name, value in files.read(candidates[0]).items()
           if not name.startswith('classifier.')}
  state = channels.three(what, state, f'{NAMES["embed"]}.weight', options)
  config = torch_vit.vit_sizes(what, NAMES, state, config['num_attention_heads'])
  processor = path / 'preprocessor_config.json'
  preprocessing = (_preprocessing(what, _json(what, processor)) if processor.exists()
                   else dataclasses.replace(IMAGENET, size=config['image_size']))
  return ForeignNetwork(state, 'vit', config, preprocessing, {'licence': LICENCE})


def write(folder, state, pretrained, run):
  encoder_only('hf_msn', run)
  if pretrained.preprocessing is None:
    raise ConfigError('--format=hf_msn: its preprocessor_config.json needs the preprocessing, which is unknown for '
                      'these weights; write "preprocessing" into their encoder.json: size, crop_fraction, filter, mean '
                      'and std')
  if pretrained.preprocessing.filter not in FILTERS:
    raise ConfigError(f'--format=hf_msn: its filter {pretrained.preprocessing.filter!r} must be one of '
                      f'{", ".join(FILTERS)}')
  folder.mkdir()
  write_atomic(folder / 'config.json', json.dumps(_config_json(pretrained.config), indent=1) + '\n')
  write_atomic(folder / 'preprocessor_config.json',
               json.dumps(_preprocessor_json(pretrained.preprocessing), indent=1) + '\n')
  files.write_safetensors(folder / 'model.safetensors', state, {'format': 'pt'})
  return folder / 'model.safetensors'


def peer(state, config, side):
  transformers = peers.library('transformers')
  classes = peers.library('transformers.models.vit_msn.modeling_vit_msn')
  transformers.utils.logging.disable_progress_bar()
  with tempfile.TemporaryDirectory() as folder:
    files.write_safetensors(Path(folder, 'model.safetensors'), state, {'format': 'pt'})
    Path(folder, 'config.json').write_text(json.dumps(_config_json(config)))
    model = classes.ViTMSNModel.from_pretrained(folder).eval()
  return (f'transformers {transformers.__version__}, ViTMSNModel',
          peers.forward(lambda x: model(x, interpolate_pos_encoding=True).last_hidden_state, peers.tokens))


def _config_json(config):
  return FIXED | {
    'architectures': ['ViTMSNModel'], 'hidden_size': config['width'], 'num_hidden_layers': config['depth'],
    'num_attention_heads': config['heads'], 'intermediate_size': round(config['width'] * config['mlp_ratio']),
    'hidden_dropout_prob': 0.0, 'attention_probs_dropout_prob': 0.0, 'image_size': config['image_size'],
    'patch_size': config['patch_size'], 'torch_dtype': 'float32'}


def _preprocessor_json(ours: Preprocessing) -> dict:
  """A processor that resizes the shorter side and crops the centre, or squashes, as in our evaluation."""
  square = {'height': ours.size, 'width': ours.size}
  return {
    'image_processor_type': 'BitImageProcessor', 'do_convert_rgb': True, 'do_resize': True,
    'size': square if ours.squash else {'shortest_edge': round(ours.size / ours.crop_fraction)},
    'resample': FILTERS[ours.filter], 'do_center_crop': not ours.squash, 'crop_size': square, 'do_rescale': True,
    'rescale_factor': 1 / 255, 'do_normalize': True, 'image_mean': list(ours.mean), 'image_std': list(ours.std)}


def _preprocessing(what: str, theirs: dict) -> Preprocessing:
  """The preprocessing that a preprocessor_config.json describes."""
  def side(value):
    return value if isinstance(value, int) else value.get('shortest_edge') or value['height']

  try:
    resized, cropped = side(theirs['size']), theirs.get('do_center_crop', False)
    size = side(theirs['crop_size']) if cropped else resized
    # Without a shortest edge the image becomes a square, whatever its shape.
    squash = not cropped and 'shortest_edge' not in (theirs['size'] if isinstance(theirs['size'], dict) else ())
    filters = {number: name for name, number in FILTERS.items()}
    return schema.build(Preprocessing, {
      'size': size, 'crop_fraction': size / resized, 'filter': filters[theirs['resample']],
      'mean': tuple(theirs['image_mean']), 'std': tuple(theirs['image_std']), 'squash': squash}, 'preprocessing')
  except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError, ConfigError) as error:
    reason = error if isinstance(error, ConfigError) else f'{type(error).__name__}: {error}'
    raise ConfigError(f'{what}: its preprocessor_config.json cannot be used ({brief(reason)}); correct it, or remove '
                      "it for ImageNet's") from error


def _json(what: str, path: Path) -> dict:
  try:
    fields = read_json(path)
  except (OSError, ValueError, RecursionError) as error:
    raise ConfigError(f'{what}: its {path.name} cannot be read ({brief(error)}); give a folder that '
                      'save_pretrained wrote') from error
  if not isinstance(fields, dict):
    raise ConfigError(f'{what}: its {path.name} is not an object; give a folder that save_pretrained wrote')
  return fields
