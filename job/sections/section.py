"""What the manifest and policy.json are made of: strict models whose every field is described."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import GenerateJsonSchema

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Time = Annotated[
    str,
    Field(
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$",
        json_schema_extra={"format": "date-time"},
    ),
]


class Section(BaseModel):
    """A part of one of them; a field that it does not have is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Untitled(GenerateJsonSchema):
    """JSON Schema without the titles that repeat each field's name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def untitled_schema(model: type[BaseModel], name: str) -> dict[str, Any]:
    """The JSON Schema of a file of ours, by its name and version."""
    made = model.model_json_schema(schema_generator=_Untitled)
    identity = f"urn:lerobot-to-act:{name}"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": identity} | made
