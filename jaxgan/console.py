"""The one way to print what may hold names of strangers: escaped, and never taken for markup."""

from typing import Any

from rich.console import Console
from rich.text import Text

from jaxgan.errors import printable


class Plain(Console):
    """A console for which texts are texts: no markup, no emoji (image:china is no flag), no colours
    of numbers; control characters are escaped. What is to be bold is a `rich.text.Text`.
    """

    def __init__(self, **how: Any):
        super().__init__(emoji=False, markup=False, highlight=False, **how)

    def render_str(self, text: str, **how: Any) -> Text:  # type: ignore[override]
        """The text as rich has it; of tables' cells, too."""
        return super().render_str(printable(text, keep="\n"), **how)


def line(console: Console, text: str) -> None:
    """Prints a text that is no markup on any console, in as many columns as it takes."""
    console.print(text, highlight=False, soft_wrap=True, emoji=False, markup=False)


def bold(text: str) -> Text:
    """The text in bold."""
    return Text(printable(text), style="bold")


def say(text: str, **how: Any) -> None:
    """Prints a line."""
    print(printable(text), **how)
