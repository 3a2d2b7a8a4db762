"""The names of what a job puts directly below `--output`."""

MANIFEST = "manifest.json"
CHECKPOINTS = "checkpoints"  # a folder for each run
CONVERTED = "converted_hdf5"  # the episode files
