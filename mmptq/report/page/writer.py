"""Pages of a run: one file that needs nothing else."""

import base64
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np

from mmptq.utils.files import complete_file

from .svg import bar

_FOLDER = Path(__file__).parent
_QUALITY = 82  # of JPEG pictures


def write_page(path: str | Path, content: dict[str, Any]) -> None:
    """Write a page, complete or not at all.

    Args:
        path (str | Path): The file.
        content (dict): What ``page.html.j2`` shows; texts are escaped.
    """
    text = render_page(content)
    with complete_file(path) as temporary:
        temporary.write_text(text, encoding='utf-8')


def render_page(content: dict[str, Any]) -> str:
    """The text of a page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals['bar'] = bar
    return environment.get_template('page.html.j2').render(content)


def picture_url(picture: np.ndarray) -> str:
    """A picture as part of a page.

    Args:
        picture (np.ndarray): (H, W, 3) uint8, BGR.
    """
    _, data = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return 'data:image/jpeg;base64,' + base64.b64encode(data.tobytes()).decode()
