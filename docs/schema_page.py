"""docs/manifest.md, docs/policy.md, docs/export_manifest.md and their schemas, made from the models
in job/sections/.
"""

import json
from typing import Any

from job.sections.contract import contract_schema
from job.sections.export import export_schema
from job.sections.whole import json_schema

_START = """# {title}

{description}

[{name}.schema.json](../{name}.schema.json) is the same as JSON Schema. This page is generated
from `job/sections/`: change it there, then run `python -m docs.generate`.
"""
_TABLE = "| field | type | meaning |\n| --- | --- | --- |\n"


def manifest_schema() -> str:
    """manifest.schema.json."""
    return _text(json_schema())


def policy_schema() -> str:
    """policy.schema.json."""
    return _text(contract_schema())


def manifest_page() -> str:
    """docs/manifest.md."""
    return _page(json_schema(), "manifest")


def policy_page() -> str:
    """docs/policy.md."""
    return _page(contract_schema(), "policy")


def export_schema_text() -> str:
    """export.schema.json."""
    return _text(export_schema())


def export_page() -> str:
    """docs/export_manifest.md."""
    return _page(export_schema(), "export")


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2) + "\n"


def _page(schema: dict[str, Any], name: str) -> str:
    """A table for the whole, then one for each section."""
    description = " ".join(schema["description"].split())
    parts = [_START.format(title=schema["title"], description=description, name=name)]
    parts.append(_TABLE + _rows(schema))
    for section_name in _in_order(schema, schema["$defs"]):
        section = schema["$defs"][section_name]
        parts.append(f"## {section_name}\n\n{section['description']}\n\n{_TABLE}{_rows(section)}")
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
    if "const" in field:
        return f"`{field['const']}`"
    if field["type"] == "array":
        return f"list of {_type(field['items'])}"
    return str(field["type"])


def _name(field: Any) -> str:
    return str(field["$ref"]).rpartition("/")[2]
