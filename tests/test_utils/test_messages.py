import pytest

from mmptq.utils.messages import first_line


@pytest.mark.parametrize(
    ('error', 'expected'),
    [
        (ValueError('one\ntwo'), 'ValueError: one'),
        (EOFError(), 'EOFError'),
        (OSError('x' * 300), 'OSError: ' + 'x' * 200),
    ],
)
def test_first_line(error, expected):
    assert first_line(error) == expected
