"""report.html: what a run did and what it brought, for a browser."""

from .compare_content import compare_content, run_names
from .run_content import run_content
from .sample_pictures import sample_picture
from .writer import picture_url, render_page, write_page

__all__ = [
    'compare_content',
    'picture_url',
    'render_page',
    'run_content',
    'run_names',
    'sample_picture',
    'write_page',
]
