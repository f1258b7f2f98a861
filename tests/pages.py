"""Pages as tests read them."""

from html.parser import HTMLParser

VOID = {'meta', 'img', 'input', 'br', 'col', 'link', 'line', 'rect', 'circle'}


class Page(HTMLParser):
    """A page whose tags close; raises AssertionError otherwise.

    Attributes:
        tags (list[tuple[str, dict]]): All tags with their attributes.
        text (str): Everything that a reader sees.
    """

    def __init__(self, source: str):
        super().__init__()
        self.tags, self._open, parts = [], [], []
        self.handle_data = parts.append
        self.feed(source)
        self.close()
        assert not self._open, f'{self._open} are never closed'
        self.text = ' '.join(' '.join(parts).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open and self._open.pop() == tag, f'</{tag}> closes another tag'

    def count(self, tag: str) -> int:
        return sum(found == tag for found, _ in self.tags)

    def addresses(self) -> list[str]:
        """Everything that a browser would load."""
        return [
            value
            for _, attributes in self.tags
            for key, value in attributes.items()
            if key in ('src', 'srcset') or (key == 'href' and '://' in (value or ''))
        ]
