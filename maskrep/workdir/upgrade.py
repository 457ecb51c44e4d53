"""Configs that an earlier version of maskrep stored."""


def upgraded(config: dict) -> dict:
  """A config of version 1 with the fields of version 2; the argument stays as it is.

  - The kind of the encoder is `encoder.kind`. It was `encoder_kind` for some methods and implied by the method for the
    others, whose encoders differ in their fields.
  - The sigma of the high-pass filter is a property of the views: `views.high_pass_sigma`, not `objective.sigma`.
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
  return config
