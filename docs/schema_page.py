"""The pages of the files that we write, and their schemas, made from the models in
job/sections/.
"""

import json
from collections.abc import Callable
from typing import Any

from job.sections.comparison import comparison_schema
from job.sections.contract import contract_schema
from job.sections.evaluation import evaluation_schema
from job.sections.export import export_schema
from job.sections.report import report_schema
from job.sections.simulation import simulation_schema
from job.sections.status import status_schema
from job.sections.whole import json_schema

_START = """# {title}

{description}

[{name}.schema.json](../{name}.schema.json) is the same as JSON Schema. This page is generated
from `job/sections/`: change it there, then run `python -m docs.generate`.
"""
_TABLE = "| field | type | meaning |\n| --- | --- | --- |\n"


# The name of a file of ours: its schema
SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {
    "manifest": json_schema,
    "policy": contract_schema,
    "export": export_schema,
    "evaluation": evaluation_schema,
    "simulation": simulation_schema,
    "report": report_schema,
    "status": status_schema,
    "compare": comparison_schema,
}


def schema_text(name: str) -> str:
    """NAME.schema.json."""
    return json.dumps(SCHEMAS[name](), indent=2) + "\n"


def page(name: str) -> str:
    """The page of a file's fields."""
    return _page(SCHEMAS[name](), name)


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
