"""MLflow: a file store in the run's folder unless MLFLOW_TRACKING_URI names another."""

import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # which newer versions ask for

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

_ID = "lerobot_to_act.id"
_MOST_TEXT = 500  # of a parameter's value
_MOST_PARAMETERS = 100  # in a request


class Writer:
    """A run, which is the same one when the job resumes."""

    def __init__(self, start: dict[str, Any]) -> None:
        own = (Path(start["folder"]) / "mlflow").as_uri()
        self._client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or own)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "lerobot-to-act")
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        known = self._client.search_runs([experiment], f"tags.`{_ID}` = '{start['id']}'")
        if known:
            self._run = known[0].info.run_id
            self._client.set_terminated(self._run, "RUNNING")
        else:
            tags = {_ID: start["id"]}
            made = self._client.create_run(experiment, tags=tags, run_name=start["run_name"])
            self._run = made.info.run_id
            self._log_flags(start["flags"])

    def _log_flags(self, flags: dict[str, Any]) -> None:
        found = [Param(name, str(value)[:_MOST_TEXT]) for name, value in flags.items()]
        for first in range(0, len(found), _MOST_PARAMETERS):
            part = found[first : first + _MOST_PARAMETERS]
            self._client.log_batch(self._run, params=part)

    def numbers(self, step: int, values: dict[str, float]) -> None:
        """A metric for each."""
        now = int(time.time() * 1000)
        found = [Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run, metrics=found)

    def images(self, step: int, paths: dict[str, str]) -> None:
        """An artifact for each: the last one stays."""
        for path in paths.values():
            self._client.log_artifact(self._run, path, "pictures")

    def close(self) -> None:
        """Mark it as finished."""
        self._client.set_terminated(self._run)
