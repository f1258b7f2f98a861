"""Images and scans below a folder."""

import os
from pathlib import Path

from mmptq.quantization import QuantizationError
from mmptq.utils.image_file import IMAGE_ENDINGS

SCAN_ENDINGS = ('.bin',)
ENDINGS = dict(images=IMAGE_ENDINGS, scans=SCAN_ENDINGS)


def list_samples(folder: str, kind: str | None) -> tuple[str, list[str]]:
    """Files of one kind in a folder and the folders below it.

    Hidden files and folders are skipped, and so are files of other types.

    Args:
        folder (str): Path of the folder.
        kind (str, optional): 'images' or 'scans'; None takes what the folder holds.

    Returns:
        tuple: The kind; paths in a fixed order.

    Raises:
        QuantizationError: If the folder cannot be read, or holds none of the kind, or both kinds.
    """
    if not os.path.isdir(folder):
        found = 'is a file' if os.path.exists(folder) else 'does not exist'
        raise QuantizationError(
            f"calibration folder '{folder}' {found}: give a folder of images or scans"
        )
    files = _walk(folder)
    found = {
        name: [path for path in files if path.lower().endswith(endings)]
        for name, endings in ENDINGS.items()
    }
    wanted = kind or next((name for name in found if found[name]), 'images')
    other = next(name for name in found if name != wanted)
    if not found[wanted]:
        if found[other]:
            raise QuantizationError(
                f"calibration folder '{folder}' holds {other}, and the test pipeline reads "
                f'{wanted}: give a folder of {wanted}'
            )
        raise QuantizationError(
            f"calibration folder '{folder}' holds no {wanted} "
            f'({", ".join(ENDINGS[wanted])}), nor do the folders below it: check the path'
        )
    if found[other]:
        raise QuantizationError(
            f"calibration folder '{folder}' holds {len(found[wanted])} {wanted} and "
            f'{len(found[other])} {other}: give a folder that holds only {wanted}'
            f'{_example(found[wanted], found[other])}'
        )
    return wanted, found[wanted]


def _walk(folder: str) -> list[str]:
    """All visible files; links to folders are followed, and each folder is read once."""

    def refuse(error: OSError) -> None:
        raise QuantizationError(
            f"calibration folder '{error.filename}' cannot be read ({error.strerror}): change its "
            'permissions, or give another folder'
        )

    files, seen = [], set()
    for root, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        files += [os.path.join(root, name) for name in sorted(names) if not name.startswith('.')]
    return files


def _example(wanted: list[str], other: list[str]) -> str:
    """A folder inside that would do, as the end of a sentence."""
    others = {str(parent) for path in other for parent in Path(path).parents}
    for path in wanted:
        parent = os.path.dirname(path)
        if parent not in others:
            return f", such as '{parent}'"
    return ''
