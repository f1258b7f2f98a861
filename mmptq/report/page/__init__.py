"""report.html: what a run did and what it brought, for a browser."""

from .run_content import run_content
from .sample_pictures import sample_picture
from .writer import picture_url, render_page, write_page

__all__ = ['picture_url', 'render_page', 'run_content', 'sample_picture', 'write_page']
