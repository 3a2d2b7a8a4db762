"""Every code that an error or a warning can have, with one sentence on what it means.

Codes are for machines: they stay when a message changes. `job/errors.py` and `convert/findings.py`
refuse a code that does not stand here.
"""

from collections.abc import Mapping

# UsageError, exit code 2: the command line, or what it asks of this machine
USAGE: Mapping[str, str] = {
    "flag-unknown": "A flag or command does not exist; the message names the nearest one.",
    "flag-missing": "A required flag is not given.",
    "flag-value": "A flag has a value that is not allowed.",
    "config-unreadable": "The file of flags cannot be read, or holds no flags by name.",
    "address-unknown": "An address is of a scheme that is not read, or lacks a part.",
    "sweep-unreadable": "The file of a sweep has another shape than it must.",
    "cache-small": "The input does not fit into the bound of --cache_gb.",
    "flags-conflict": "Flags were given that contradict each other.",
    "flag-unused": "A flag was given that has no effect with this input or this policy.",
    "device-missing": "The device that was asked for does not exist on this machine.",
    "precision-unsupported": "The device cannot compute in the precision that was asked for.",
    "compilation-unavailable": "The model cannot be compiled on this machine.",
    "input-twice": "A dataset is given more than once.",
    "input-several": "A folder of the Hugging Face cache holds several snapshots.",
    "input-mixed": "Episode files and datasets are given together.",
    "nothing-to-convert": "The input of a conversion holds episode files, which are its result.",
    "output-foreign": "A file that no job wrote is where the job writes one of its own.",
    "output-inside-input": "The output lies inside the input, or holds it.",
    "camera-names": "There is not one name for each camera.",
    "image-too-small": "The images are too small for the network.",
    "image-enlarged": "--image_size is larger than a camera's frames.",
    "shard": "The share of the work cannot be read from --shard or the scheduler.",
    "run-differs": "The run folder holds a run with other flags or of another dataset.",
    "run-unreadable": "The run.json of a run is broken or not ours.",
    "contract-unreadable": "The policy.json of a run is missing, broken or not ours.",
    "weights-missing": "The file with the backbone's pretrained weights is not there.",
    "weights-damaged": "The file with the ImageNet weights does not have their SHA-256.",
    "weights-unreadable": "A file with weights or statistics cannot be read.",
    "weights-mismatch": "Weights do not fit the network that the flags or a contract describe.",
    # a policy that is loaded, and what runs on it
    "policy-missing": "There is no run of that name, or no such folder.",
    "checkpoint-missing": "The run has no such checkpoint, or several.",
    "contract-there": "The folder has a policy.json that `contract` did not write.",
    "contract-other": "The policy.json beside a checkpoint is not that of its run.",
    "policy-dims-cut": "The policy has not all dims of the dataset, and allow_cut is not given.",
    # simulation
    "env-unknown": "The environment that was asked for does not exist, or cannot be imported.",
    "env-mismatch": "The environment is not of the policy's robot: rate, actions or cameras.",
    "env-failed": "The environment raised an error, or its process ended.",
    "renderer-missing": "There is nothing that renders a scene without a display.",
    "checkpoint-changed": "A checkpoint was replaced while it was tried.",
    # exports and imports
    "package-missing": "A package of an optional extra is not installed.",
    "input-unfit": "The dataset is not of the policy's cameras or dims.",
    "export-input": "The dataset to compare on is not of the policy's cameras or dims.",
    "export-inexact": "An export's actions differ from the checkpoint's beyond the bound.",
    "export-unrepresentable": "The format that was asked for cannot be this policy.",
    "lerobot-failed": "The Python of --lerobot_python could not run the policy.",
    "import-unreadable": "A file of a LeRobot policy is missing or broken.",
    "import-policy": "A LeRobot policy is not ACT.",
    "import-obs-steps": "A LeRobot policy sees more than one time step.",
    "import-backbone": "A LeRobot policy has another image backbone than ResNet-18.",
    "import-dilation": "A LeRobot policy's backbone has a dilated last stage.",
    "import-pre-norm": "A LeRobot policy's layers normalise before they add.",
    "import-activation": "A LeRobot policy has another activation than ReLU.",
    "import-heads": "A LeRobot policy has another number of attention heads.",
    "import-latent": "A LeRobot policy has a latent of another size.",
    "import-peft": "A LeRobot policy is an adapter of another one.",
    "import-vae-layers": "A LeRobot policy's two encoders differ in their number of layers.",
    "import-normalisation": "A LeRobot policy normalises by something else than mean and std.",
    "import-features": "A LeRobot policy takes or gives something else, or images of two sizes.",
    "import-statistics": "A LeRobot policy lacks the statistics of its state or actions.",
    "import-image-statistics": "A LeRobot policy's images are not normalised by ImageNet's values.",
    "import-weights": "A LeRobot policy's weights are not those of its configuration.",
    "limits-unknown": "A limit was asked for whose values the contract does not know.",
    "observation-camera-missing": "An observation lacks a camera of the policy.",
    "observation-camera-unknown": "An observation has another camera in place of the policy's.",
    "observation-camera-extra": "An observation has a camera that the policy does not see.",
    "observation-image-type": "An image is neither uint8 nor of floats.",
    "observation-image-range": "An image of floats is not in 0 to 1.",
    "observation-image-channels": "An image is not (height, width, 3) RGB.",
    "observation-image-size": "An image has a size or shape that training did not have.",
    "observation-vector-type": "A state is not of numbers.",
    "observation-vector-width": "A state has another number of dims than the policy takes.",
    "observation-not-finite": "A state holds NaN or infinity.",
    "observation-env-state": "The environment state is missing, or the policy has none.",
    "observation-batch": "The parts of an observation are not one each, or not a batch each.",
    "observation-stale": "Pixels or state did not change for as many ticks as were allowed.",
    "action-not-finite": "The policy predicts NaN or infinity.",
    # a policy that is served; a client is told of some, others end the command
    "port-unavailable": "The address or port of the server cannot be listened on.",
    "map-key": "--map gives a key to what the policy does not take, or twice.",
    "api-key-missing": "Other machines could ask, and no key is given.",
    "api-key-invalid": "The key of the server cannot be read, or is none.",
    "message-malformed": "A client's message is not msgpack with arrays of plain numbers.",
    "observation-key": "An observation has a key that is not known, or lacks one.",
    "server-busy": "As many requests or clients wait as may.",
    "server-ending": "The server has been asked to end.",
    "client-left": "A client left while its request waited.",
}

# DatasetError, exit code 3: what a conversion or training refuses in the input, and what the check
# therefore reports as an error
DATASET = {
    # the folder and its metadata
    "input-missing": "The input folder cannot be read, or its name is not UTF-8.",
    "fetch-name": "An object below an address has a name that no file of a dataset can have.",
    "fetch-digest": "An object's bytes have not the digest that its server tells.",
    "info-missing": "There is no meta/info.json, so the folder is no LeRobot dataset.",
    "info-unreadable": "meta/info.json is not valid JSON.",
    "info-value": "A value in meta/info.json is missing or impossible.",
    "version": "The dataset has a format version that is not read.",
    "layout": "The files have the layout of another version than meta/info.json says.",
    "fps": "The frame rate is missing or impossible.",
    "features": "The features in meta/info.json are missing or malformed.",
    "template": "A path template in meta/info.json is malformed or leads out of the dataset.",
    # the list of episodes
    "episodes-missing": "There is no list of episodes, or no episode with frames is left in it.",
    "episodes-unreadable": "The list of episodes, or a line of it, is not valid JSON.",
    "episodes-empty": "Every episode has length 0.",
    "episode-row": "An entry in the list of episodes has a missing or impossible value.",
    "episode-twice": "An episode is listed in several ways, or two episode files have its number.",
    "episode-count": "meta/info.json and the list differ in the number of episodes.",
    "frame-count": "meta/info.json and the list differ in the number of frames.",
    "episode-not-found": "No data file holds the rows of an episode.",
    # what is taken of the dataset
    "state-missing": "The dataset has no feature that could be the state.",
    "action-missing": "The dataset has no feature that could be the action.",
    "env-state-missing": "An environment state was asked for that the dataset does not have.",
    "camera-none": "The dataset has no camera.",
    "camera-unknown": "A camera was asked for that the dataset does not have.",
    "camera-depth": "A camera was asked for that is a depth stream.",
    "camera-sizes": "The cameras have different sizes and no --image_size is given.",
    "datasets-differ": "The datasets differ in frame rate, cameras, state or action.",
    # files
    "file-missing": "A metadata file does not exist.",
    "table-missing": "A data file that the metadata names does not exist.",
    "video-missing": "A video that the metadata names does not exist.",
    "file-empty": "A file is empty.",
    "file-kind": "A folder, pipe, socket or device is where a file should be.",
    "file-permission": "A file or folder may not be read by this user.",
    "file-crash": "Reading a file crashed the process that did.",
    "worker-crash": "A worker process crashed or hung, most likely inside a decoder.",
    "lfs-pointer": "A file is a Git LFS pointer; its content was not downloaded.",
    "link-dangling": "A symbolic link leads to a file that is not there.",
    "changed": "The dataset changed while it was converted.",
    # rows
    "table-unreadable": "A data file is not readable as parquet.",
    "table-truncated": "A data file ends before its footer.",
    "table-rows": "An episode has another number of rows than its metadata says.",
    "frame-index": "The rows of an episode are not numbered 0 to T - 1, each once.",
    "column-missing": "A data file lacks a column.",
    "column-type": "A column does not hold numbers.",
    "value-missing": "A vector has empty values.",
    "not-finite": "A vector holds NaN or infinity.",
    "vector-width": "A vector has another width than in the other rows or episodes.",
    "vector-names": "The fields of a struct column have other names or another order than in the "
    "other episodes.",
    "quaternion-zero": "A quaternion that is to be normalised has length 0.",
    # videos and images
    "video-unreadable": "A file is not readable as a video.",
    "video-truncated": "A video is cut off: its header lists more frames than its data has.",
    "frames-no-video": "--frames video was asked of a camera whose images are no video.",
    "video-none": "A video file has no video stream.",
    "video-decode": "A frame cannot be decoded.",
    "video-depth": "A video is a depth or greyscale stream.",
    "video-size": "The frames of a camera change their size and no --image_size is given.",
    "video-too-large": "The frames of a video need more memory to decode than there is.",
    "video-rate": "A frame is more than a quarter of a frame period off its place at the "
    "dataset's frame rate.",
    "video-short": "A video has fewer frames than its episode has rows.",
    "video-dropped": "Frames are missing inside a video.",
    "video-order": "The frames of a video are not shown in the order of their timestamps.",
    "video-slanted": "A display matrix rotates by no multiple of 90 degrees, for --apply_rotation.",
    "video-shared": "One video file is that of several episodes.",
    "video-stale": "A video is of an aborted take whose images were left behind.",
    "video-window-short": "The metadata gives an episode fewer video frames than it has rows.",
    "video-window-outside": "The metadata gives an episode frames that the video does not have.",
    "video-frames-lost": "A file of several episodes lacks frames, and which ones is not known.",
    "video-start-unknown": "A video starts late, and may have lost its first frames.",
    "picture-unknown": "Neither order nor times say which picture belongs to which row.",
    "row-rate": "An episode's timestamps are of another rate than those of the first one.",
    "video-overlap": "The metadata gives the same video frames to two episodes.",
    "codec-missing": "PyAV has no decoder for a video's codec.",
    "image-depth": "An image in a data file is a depth image or has no 8-bit colours.",
    "image-unreadable": "An image in a data file is missing or cannot be decoded.",
    # episode files
    "episodes-none": "A folder has no episode_*.hdf5.",
    "episode-unreadable": "An episode file cannot be read.",
    "episode-content": "An episode file lacks a part, or a part or attribute is not as expected.",
    "vectors-too-large": "The qpos and actions of all episodes need more memory than there is.",
    "episodes-differ": "Episode files differ in cameras, sizes or dims.",
}

# OutputError, exit code 4: the output folder, its disk, or memory
OUTPUT = {
    "output-unwritable": "A file or folder of the output cannot be written.",
    "output-other-run": "The address of an output holds another run, or files of something else.",
    "output-in-use": "Jobs of another kind, which cannot share it, are writing to the output.",
    "output-unfit": "On the output's file system no file can take the place of another, or files "
    "are read back as something else.",
    "address-refused": "A server refuses what is asked of it; the credentials may have expired.",
    "disk-room": "The episode files do not fit on the disk.",
    "episode-foreign": "A file that no conversion wrote is in the place of an episode file.",
    "episodes-incomplete": "Episode files are missing, or are of another conversion.",
    "memory": "A process needs more memory than there is.",
    "checkpoint-unreadable": "A file of the training state is missing, broken or not ours.",
}

# VerdictError, exit code 6
VERDICT = {"verdict-no": "The verdict on the run is no, and --fail_on no was given."}

DIVERGED = {"diverged": "A loss or a gradient is not finite."}  # DivergedError, exit code 5
# Interrupted, exit code 75: the same command is worth running again
INTERRUPTED = {
    "interrupted": "A signal or a time limit ended the job.",
    "address-unreachable": "A server gave no answer, or none that was of use, for a while.",
    "run-in-use": "Another job is writing to the output or the run folder.",
    "process-lost": "A process of the run was killed, most likely for memory, or did not answer.",
}
BUG_CODE = "bug"
BUG = {BUG_CODE: "An error of this project, with a traceback; please report it."}  # exit code 1
DONE = {"already-done": "The run that was asked for is complete."}  # AlreadyDone, 0

# Warnings of the check and of the conversion, which continues
WARNINGS = {
    "version-minor": "The format version is newer than those known, and read like them.",
    "episode-gap": "Numbers are missing among the episodes.",
    "episode-empty": "An episode has length 0 and is skipped.",
    "tasks": "The episodes have several tasks; ACT does not see the task.",
    "depth-left-out": "A depth stream or mask is left out.",
    "keys-several": "Several features could be the state or the action; the standard name is used.",
    "feature-left-out": "Velocity, effort or environment state is left out, as not all datasets "
    "have it in the same width.",
    "index-range": "The row ranges in the list of episodes do not span the episodes.",
    "file-unlisted": "No episode uses a data file or video.",
    "leftover-images": "Images of a recording that did not end were left behind.",
    "table-pointer": "The metadata names another data file than the one that has the rows.",
    "table-twice": "The rows of an episode are in several data files.",
    "listed-twice": "Episodes are listed more than once, each time alike, and are read once.",
    "window-derived": "The metadata do not say where the video of an episode ends.",
    "table-extra": "A data file has rows of episodes that the metadata does not list.",
    "timestamp-value": "A timestamp is not finite.",
    "timestamp-order": "Timestamps do not rise from row to row.",
    "timestamp-fps": "Timestamps are half a frame or more off frame_index / fps.",
    "vector-shape": "meta/info.json and the rows differ in a vector's width.",
    "vector-still": "A vector never changes.",
    "dim-still": "A dim of a vector never changes.",
    "episode-still": "A vector never changes within an episode.",
    "jump": "A dim changes from one row to the next far more than usual.",
    "sim-shift": "--sim auto is false for the task, so a chunk starts with the action before.",
    "action-is-state": "The action equals the state in every row.",
    "gripper-range": "A gripper value is outside of the usual ranges, or of that of nearly all "
    "others.",
    "gripper-units": "The gripper's state and action are in different units.",
    "quaternion-flip": "A quaternion changes its sign from row to row.",
    "quaternion-length": "A quaternion is not of unit length.",
    "dims-cut": "--state_dim leaves out dims of the state or the action.",
    "camera-shape": "meta/info.json and the frames differ in a camera's size.",
    "image-distorted": "--image_size changes the aspect ratio of a camera.",
    "video-fps": "meta/info.json gives a video another frame rate than the dataset.",
    "hidden-files": "There are hidden files, which are no data.",
    "frame-index-derived": "frame_index does not count from 0; the rest gives the order of rows.",
    "rows-thinned": "Timestamps are of a whole part of the fps; the rows' own rate is taken.",
    "rows-cut": "Rows are missing between others, by the timestamps.",
    "picture-order": "Timestamps are of another clock; pictures are taken in their order.",
    "picture-times": "The pictures of rows are those of their timestamps, not all in order.",
    "video-rotated": "A video has a display matrix, by which players rotate or mirror it.",
    "rotation-differs": "The files of a camera have different display matrices.",
    "video-tracks": "A video file has several video tracks, of which one is taken.",
    "video-start": "A video does not start at 0 s.",
    "video-bits": "A video has more than 8 bits per channel, which are reduced to 8.",
    "video-blank": "The first frame of a file is of one colour.",
    "video-frozen": "Every frame of an episode shows the same.",
    "video-long": "A video has more frames than its episode has rows; the rest is not used.",
    "video-window-long": "The metadata gives an episode more video frames than it has rows; the "
    "rest is not used.",
    "colour-tags": "A video has tagged colours, which lerobot converts differently.",
    "codec-changes": "The videos of a camera have different codecs.",
    "chunk-padding": "Episodes are shorter than --chunk_size, so chunks are mostly padding.",
    "memory-room": "The images do not fit into memory, so training reads them from disk.",
    # of episode files
    "base-action-unused": "Episode files have a /base_action, and --base_action does not join it.",
    "cameras-unused": "Episode files have cameras that are not used.",
    "parts-unused": "Episode files have groups or datasets that are no part of ALOHA's layout.",
    "sim-differs": "Some episode files have sim true and some false.",
}

# Warnings of a job about what it runs on
JOB_WARNINGS = {
    "output-weak": "The output's file system cannot lock, sync or append to files as a local disk "
    "can; the message says what follows.",
    "notice-unsent": "The address of --notify_url did not take the notice of the job's end.",
    "tracker-failed": "A tracker failed, hangs or is too slow; the run does without it.",
    "init-far": "The data lie far from what the weights that the training starts from saw.",
    "status-unwritten": "status.json cannot be written; nothing else depends on it.",
    "report-unwritten": "The report of a run cannot be written; the run is not touched by that.",
    "process-variables": "RANK or WORLD_SIZE is set, but not what else a process needs to join the "
    "others; the job runs on its own.",
}

# What a report says of a run, besides the verdict; docs/report.md has the thresholds
FINDINGS = {
    "still-falling": "The validation error was still falling when training ended.",
    "overfitting": "The validation error rose while the training error fell.",
    "stuck-high": "The training error hardly fell.",
    "oscillating": "The training loss rises and falls by much of its level.",
    "kl-zero": "The KL term is at 0 early: the latent is not used.",
    "kl-dominates": "Most of the loss is the KL term.",
    "always-clipped": "--grad_clip cuts nearly every gradient.",
    "waits-for-data": "Much of the training time went into waiting for data.",
    "late-error": "The error is much larger late in a chunk than early in it.",
    "camera-ignored": "The policy does not use a camera.",
    "no-better-than-baseline": "The error is hardly below that of a baseline that sees no image.",
    "small-batch": "Steps have fewer samples than --batch_size asks for.",
    "idle-frames": "Many frames at the ends of episodes do not move.",
}

# What can end a job, or be an error in the check's report
ERRORS: Mapping[str, str] = {
    **USAGE,
    **DATASET,
    **OUTPUT,
    **DIVERGED,
    **VERDICT,
    **INTERRUPTED,
    **DONE,
}
