"""What the manifest says of an input that was fetched from an address."""

from pydantic import Field

from job.sections.section import Section


class FetchedInput(Section):
    """An input that was fetched: what a job needed of it, and which version it was."""

    address: str = Field(description="--input, as it was given.")
    revision: str | None = Field(
        description="Commit of the Hub that the branch was at; null where there are no commits."
    )
    folder: str = Field(description="Where it was fetched to: below --cache.")
    files: int = Field(description="How many files were needed.")
    size_bytes: int = Field(description="Their size.")
    sha256: str = Field(
        description="SHA-256 of the lines `NAME SHA-256`, one for each file, sorted: the same "
        "wherever the same files were fetched from."
    )
