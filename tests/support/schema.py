"""manifest.schema.json and policy.schema.json, and what checks files against them."""

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
