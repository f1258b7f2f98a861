"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope='session')
def real_data() -> Path:
    """Folder with the real samples and networks, or a skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / 'shared' / 'real'
    folder = Path(os.environ.get('MMPTQ_REAL', default))
    if not folder.is_dir():
        pytest.skip(f'real data not found at {folder}; set MMPTQ_REAL to its folder')
    return folder
