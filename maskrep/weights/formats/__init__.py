"""Formats of weights, one module each. Only their names are here, for command lines, which do not import jax."""

ARRAYS: tuple[str, ...] = (
  'timm', 'hf_msn', 'msn', 'timm_cait', 'extrema', 'torchvision', 'detectron2', 'taming', 'maskgit', 'safetensors',
  'npz')
FORWARD: tuple[str, ...] = 'saved_model', 'onnx'  # with the forward pass, for export only
