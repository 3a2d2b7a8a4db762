"""The files of templates/, and how they become text."""

from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined


def template_text(name: str) -> str:
    """A file of templates/."""
    return files("act.report").joinpath("templates", name).read_text(encoding="utf-8")


def template_environment(*, is_html: bool) -> Environment:
    """What fills them in: a name that is missing is our bug.

    is_html: what is filled in is escaped for a page; else the template does what is needed
    """
    return Environment(
        loader=FunctionLoader(template_text),
        autoescape=is_html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=not is_html,
    )
