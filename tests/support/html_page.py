"""An HTML page as a browser would see it."""

from html.parser import HTMLParser

_VOID = frozenset({"meta"})


class Page(HTMLParser):
    """Collects elements, text and table rows of a page; fails on tags that don't match."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.rows: list[list[str]] = []
        """Text of the cells of each table row, in the order of the page."""
        self._open: list[str] = []
        self.feed(page)
        assert self._open == []

    @property
    def tags(self) -> set[str]:
        """The names of all elements."""
        return {tag for tag, _ in self.elements}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element; a row or a cell begins a new entry of `rows`."""
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        """Close the innermost element, which must be a `tag`."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note a text, and whose cell it stands in."""
        self.text += data
        if {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data
