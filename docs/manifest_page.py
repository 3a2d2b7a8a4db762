"""docs/manifest.md and manifest.schema.json, made from the models in job/sections/."""

import json
from typing import Any

from job.sections.whole import json_schema

_START = """# manifest.json

{description}

[manifest.schema.json](../manifest.schema.json) is the same as JSON Schema. This page is generated
from `job/sections/`: change it there, then run `python -m docs.generate`.
"""
_TABLE = "| field | type | meaning |\n| --- | --- | --- |\n"


def schema_text() -> str:
    """manifest.schema.json."""
    return json.dumps(json_schema(), indent=2) + "\n"


def page() -> str:
    """docs/manifest.md: a table for the whole, then one for each section."""
    schema = json_schema()
    parts = [_START.format(description=" ".join(schema["description"].split()))]
    parts.append(_TABLE + _rows(schema))
    for name in _in_order(schema, schema["$defs"]):
        section = schema["$defs"][name]
        parts.append(f"## {name}\n\n{section['description']}\n\n{_TABLE}{_rows(section)}")
    return "\n".join(parts)


def _in_order(node: Any, sections: dict[str, Any]) -> list[str]:
    """The names of the sections below a node, in the order in which a reader meets them."""
    found: dict[str, None] = {}
    for name in _referenced(node.get("properties", {})):
        found[name] = None
        found |= dict.fromkeys(_in_order(sections[name], sections))
    return list(found)


def _referenced(node: Any) -> list[str]:
    if isinstance(node, list):
        return [name for item in node for name in _referenced(item)]
    if not isinstance(node, dict):
        return []
    own = [_name(node)] if "$ref" in node else []
    return own + [name for item in node.values() for name in _referenced(item)]


def _rows(section: Any) -> str:
    return "".join(
        f"| `{name}` | {_type(field)} | {field['description']} |\n"
        for name, field in section["properties"].items()
    )


def _type(field: Any) -> str:
    if "anyOf" in field:
        return " or ".join(_type(option) for option in field["anyOf"])
    if "$ref" in field:
        return f"[{_name(field)}](#{_name(field).lower()})"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field["type"] == "array":
        return f"list of {_type(field['items'])}"
    return str(field["type"])


def _name(field: Any) -> str:
    return str(field["$ref"]).rpartition("/")[2]
