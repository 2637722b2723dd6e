"""Templates to pages; whatever is put into one is escaped, and no text makes it large."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

SHARED = Path(__file__).parent
"""Where `base.html`, which pages extend, and `theme.css` are."""

LONGEST = 300
"""Letters of a text: a table of photos may name files and labels of a hundred thousand."""


def render(template: Path, **values: object) -> str:
    """The page that a template and values make.

    `{{ number | count }}` separates thousands, `{{ share | percent }}` makes a percentage.

    Args:
        template: a Jinja template; it may extend `base.html`, and include what lies beside either.
        values: by the names that the template uses. A string is escaped, and the middle of a
            long one left out, unless it is Markup.

    Raises:
        jinja2.TemplateError: the template is wrong or lacks a value.
    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, SHARED]),
        autoescape=True,
        finalize=_shorten,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=_count, percent=_percent)
    return environment.get_template(template.name).render(**values)


def _shorten(value: object) -> object:
    if not isinstance(value, str) or isinstance(value, Markup) or len(value) <= LONGEST:
        return value
    return f"{value[: LONGEST // 2]}…{value[-(LONGEST // 2 - 1) :]}"


def _count(number: int) -> str:
    return f"{number:,}"


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 or share == 0 else f"{share:.1%}"
