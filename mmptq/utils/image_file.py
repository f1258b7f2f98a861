"""What can be wrong with an image file."""

import os

IMAGE_ENDINGS = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff', '.ppm', '.pgm')
# First bytes of a format, and what its files have near their end.
ENDS = {b'\xff\xd8': b'\xff\xd9', b'\x89PNG': b'IEND'}
TAIL = 4096


def image_problem(path: str) -> str | None:
    """What is wrong with an image file, as the rest of a sentence; None if it seems sound.

    OpenCV reads the part of a JPEG that is there and fills the rest with gray.

    Args:
        path (str): The file; one that is not on this machine's disk is not looked at.
    """
    if not os.path.exists(path):
        return None
    try:
        size = os.path.getsize(path)
        with open(path, 'rb') as file:
            head = file.read(4)
            file.seek(max(0, size - TAIL))
            tail = file.read()
    except OSError as error:
        return f'cannot be read ({error.strerror})'
    if size == 0:
        return 'is an empty file'
    end = next((end for start, end in ENDS.items() if head.startswith(start)), None)
    # Phones append data of their own; what has no end where it belongs is decoded to be sure.
    return None if end is None or end in tail else _decoding_problem(path)


def _decoding_problem(path: str) -> str | None:
    from PIL import Image  # comes with mmcv; needed for suspicious files only

    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, SyntaxError) as error:
        return f'cannot be decoded ({error})'
    return None
