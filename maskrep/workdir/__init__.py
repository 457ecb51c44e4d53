"""The folder of a run. Its files:

  config.json     the config, as plain data, and the version of its fields
  run.json        data, code revision, versions, devices; one object per start, newest last
  parameters.txt  the shape and size of each parameter
  reconstructions.png  images above their reconstructions by a tokenizer, at the last evaluation
  metrics.jsonl   one object per line: `step` and named floats; metrics.damaged.jsonl holds unreadable lines
  events.out.*    the same for TensorBoard
  tracked.json    the id of the run at each tracker that it is sent to; wandb/ holds what wandb keeps
  events.jsonl    one object per line: starts, the memory of the step, and the reason why each start ended
  checkpoints/    see checkpoint.py; corrupt/ holds damaged ones
  evaluations.jsonl  one object per line: the results of a protocol, during training, at its end or later, with all that
                  is needed to repeat it
  features/       cached features; may be deleted
  evaluations/    workdirs of the runs trained by evaluations
  lock            held by the process that trains; in a bucket a lease, see lease.py
"""
