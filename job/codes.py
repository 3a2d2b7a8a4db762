"""Every code that an error or a warning can have, with one sentence on what it means.

Codes are for machines: they stay when a message changes. `job/errors.py` and `convert/findings.py`
refuse a code that does not stand here.
"""

# UsageError, exit code 2: the command line, or what it asks of this machine
USAGE = {
    "usage": "The command line cannot be carried out as given.",
    "flag-unknown": "A flag or command does not exist; the message names the nearest one.",
    "flag-missing": "A required flag is not given.",
    "flag-value": "A flag has a value that is not allowed.",
    "flags-conflict": "Flags were given that contradict each other.",
    "flag-unused": "A flag was given that has no effect with this input or this policy.",
    "device-missing": "The device that was asked for does not exist on this machine.",
    "precision-unsupported": "The device cannot compute in the precision that was asked for.",
    "compilation-unavailable": "The model cannot be compiled on this machine.",
    "processes": "The settings of torchrun or of the processes do not fit together.",
    "run-differs": "The run folder holds a run with other flags or of another dataset.",
    "run-in-use": "Another job is using the output or the run folder.",
    "weights-missing": "The file with the backbone's pretrained weights is not there.",
    "weights-damaged": "The file with the ImageNet weights does not have their SHA-256.",
    "weights-unreadable": "A file with weights or statistics cannot be read.",
    "weights-mismatch": "Weights do not fit the network that the flags describe.",
}

# OutputError, exit code 4: the output folder, its disk, or memory
OUTPUT = {
    "output": "The output cannot be used.",
    "output-unwritable": "A file or folder of the output cannot be written.",
    "memory": "A process needs more memory than there is.",
    "checkpoint-unreadable": "A file of the training state is missing, broken or not ours.",
}

DIVERGED = {"diverged": "A loss or a gradient is not finite."}  # DivergedError, exit code 5
INTERRUPTED = {"interrupted": "A signal or a time limit ended the job."}  # Interrupted, 75
DONE = {"already-done": "The run that was asked for is complete."}  # AlreadyDone, 0
