"""The schemas of the files that we write, and their validators."""

import json
from typing import Any

import jsonschema

from tests.support.paths import ROOT


def _validator(schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    return jsonschema.Draft202012Validator(schema, format_checker=checker)


SCHEMA = json.loads((ROOT / "manifest.schema.json").read_text())
VALIDATOR = _validator(SCHEMA)
CONTRACT_VALIDATOR = _validator(json.loads((ROOT / "policy.schema.json").read_text()))
SIMULATION_VALIDATOR = _validator(json.loads((ROOT / "simulation.schema.json").read_text()))
EXPORT_VALIDATOR = _validator(json.loads((ROOT / "export.schema.json").read_text()))
REPORT_VALIDATOR = _validator(json.loads((ROOT / "report.schema.json").read_text()))
STATUS_VALIDATOR = _validator(json.loads((ROOT / "status.schema.json").read_text()))
