"""The names of what a job puts below `--output`."""

MANIFEST = "manifest.json"  # of the last job there, and in each run's folder of the run's last one
CHECKPOINTS = "checkpoints"  # a folder for each run
CONVERTED = "converted_hdf5"  # a folder for each run, of its episode files
CONTRACT = "policy.json"  # in a run's folder: the contract with the robot
RUN = "run.json"  # in a run's folder: which run it is
METRICS = "metrics.jsonl"  # a line for each epoch of a run
SNAPSHOTS = "policy_epoch_*.ckpt"  # in a run's folder: weights of earlier epochs
STATE = "state.ckpt"  # in a run's folder: what it resumes from
STATUS = "status.json"  # in a run's folder: what its job is doing
EVALUATION = "evaluation.json"  # in a run's folder: what `evaluate` found
EVALUATION_ARRAYS = "evaluation.npz"  # beside it: what figures are drawn from
