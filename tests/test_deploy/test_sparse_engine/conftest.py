"""The compiled kernels, or a skip where they are not compiled."""

import pytest

from mmptq.deploy.sparse_engine.library import BUILD_COMMAND, Library, is_built, load_library


@pytest.fixture(scope='session')
def library() -> Library:
    if not is_built():
        pytest.skip(f'the sparse engine is not compiled: {BUILD_COMMAND}')
    return load_library()
