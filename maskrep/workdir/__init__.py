"""The folder of a run, and what lies in it beside its checkpoints.

  config.json     the config, as plain data
  run.json        data, code revision, versions, devices; one object per start, newest last
  reconstructions.png  of a tokenizer: images above their reconstructions, at the last evaluation
  metrics.jsonl   one object per line: `step` and named floats
  events.out.*    the same for TensorBoard
  results.jsonl   one object per line: the final table
  events.jsonl    one object per line: starts, the memory of the step, and why each run ended
  checkpoints/    see checkpoint.py; corrupt/ holds damaged ones
  evaluations.jsonl  one object per line: the result of an evaluation, with all that it takes to repeat it
  features/       cached features; may be deleted
  evaluations/    workdirs of the runs that an evaluation trains
  lock            held by the run that is under way
"""
