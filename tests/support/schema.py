"""manifest.schema.json, and what checks manifests against it."""

import json

import jsonschema

from tests.support.paths import ROOT

SCHEMA = json.loads((ROOT / "manifest.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(
    SCHEMA, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
)
