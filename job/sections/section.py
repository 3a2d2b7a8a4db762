"""What the sections of the manifest are made of: strict models whose every field is described."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

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
    """A part of the manifest; a field that it does not have is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
