"""The job on Hugging Face's machines: `python hf_jobs.py`, after `hf auth login`.

Needs the image in a registry, and an account that may start jobs. Jobs there are not started again
by themselves: run it once more where one ended early, and it resumes from the bucket.
"""

import os

from huggingface_hub import run_job

JOB = {
    "image": "REGISTRY/lerobot-to-act:0.1.0",
    "command": [
        *("python", "/opt/act/entrypoint.py"),
        *("--input", "hf://datasets/lerobot/aloha_sim_transfer_cube_human"),
        *("--output", "s3://BUCKET/runs", "--cache", "/tmp/cache", "--work_dir", "/tmp/work"),
        *("--run_name", "cube", "--task_name", "transfer_cube", "--sim", "true"),
        *("--state_dim", "0"),
    ],
    "flavor": "a10g-small",
    "timeout": "12h",
}

if __name__ == "__main__":
    secrets = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN")
    job = run_job(**JOB, secrets={name: os.environ[name] for name in secrets if name in os.environ})
    print(job.url)
