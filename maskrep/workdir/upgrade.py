"""Upgrades configs stored by an earlier version of maskrep."""

# Section and a field that it has for one method only: the fields of version 4, and their values before it.
NEW = {
  ('objective', 'memax_weight'): {'batch_norm': 'joint'},
  ('views', 'num_random'): {'shared': 'nothing'},
}


def upgraded(config: dict) -> dict:
  """A config of version 1, 2 or 3 with the fields of version 4; the argument is not changed.

  From version 1:

  - The kind of the encoder is `encoder.kind`. It was `encoder_kind` for some methods and implied by the method for the
    others, whose encoders differ in their fields.
  - The sigma of the high-pass filter is a property of the views: `views.high_pass_sigma`, not `objective.sigma`.

  From versions 1 and 2: protocols are named, and their options are sections like those of `maskrep evaluate`.

  From all three:

  - `NEW` holds the values with which a method does what it did before it had these fields.
  - Whether the supervised stream of supervised + MIM is masked is `masking.supervised`; its mask is that of the other
    stream, so a `masking.supervised_ratio` above 0, for a mask of its own, stays and is refused.
  """
  config = dict(config)
  kind = config.pop('encoder_kind', '')
  encoder, objective = config.get('encoder'), config.get('objective')
  if isinstance(encoder, dict) and 'kind' not in encoder:
    implied = 'resnet' if 'stem' in encoder else 'cait' if 'class_depth' in encoder else 'vit'
    config['encoder'] = encoder | {'kind': kind or implied}
  if isinstance(objective, dict) and 'sigma' in objective:
    config['objective'] = {name: value for name, value in objective.items() if name != 'sigma'}
    config['views'] = config.get('views', {}) | {'high_pass_sigma': objective['sigma']}
  if isinstance(config.get('eval'), dict) and 'knn_neighbours' in config['eval']:
    config['eval'] = _named_protocols(config['eval'])
  if isinstance(config.get('masking'), dict) and config['masking'].get('supervised_ratio') == 0:
    config['masking'] = {name: value for name, value in config['masking'].items() if name != 'supervised_ratio'} | {
      'supervised': False}
  for (section, known), fields in NEW.items():
    if isinstance(config.get(section), dict) and known in config[section]:
      config[section] = fields | config[section]
  return config


def _named_protocols(section: dict) -> dict:
  """The section `eval` of version 2, with the fields of version 3."""
  moved = 'knn_neighbours', 'knn_temperature', 'labels_per_class', 'label_draws'
  k, temperature, counts, draws = (section[name] for name in moved)
  shots = {'lowshot': {'labels_per_class': counts, 'fractions': [], 'lists': [], 'draws': draws, 'l2': [0.1],
                       'folds': 0}} if counts else {}
  return {name: value for name, value in section.items() if name not in moved} | shots | {
    'protocols': ['collapse', 'knn', *shots], 'knn': {'neighbours': [k], 'temperature': temperature}}
