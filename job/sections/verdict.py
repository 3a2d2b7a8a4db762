"""The verdict on a run: an answer, the rules that led to it, and what it could not see."""

from typing import Literal

from pydantic import Field

from job.sections.section import Section

Answer = Literal["yes", "no", "unknown"]


class Reason(Section):
    """A rule of docs/evaluate.md that was applied."""

    rule: str = Field(description="Its code.")
    answer: Answer = Field(description="What it speaks for.")
    text: str = Field(description="What was found, with its numbers, in a sentence.")
    numbers: dict[str, float] = Field(description="The numbers, by name, thresholds too.")
    next_step: str | None = Field(description="What to do; null where nothing is to be done.")


class Verdict(Section):
    """Does it work? As far as recorded episodes can tell."""

    answer: Answer = Field(
        description="yes, no, or unknown where what was measured does not decide it."
    )
    reasons: list[Reason] = Field(
        min_length=1, description="The rules, those that decided the answer first."
    )
    not_seen: list[str] = Field(
        min_length=1,
        description="What this could not see, a sentence each; the smallest difference that so "
        "many episodes can show among them.",
    )
