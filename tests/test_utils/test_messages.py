import pytest

from mmptq.utils.messages import DataError, first_line, last_sentence


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


@pytest.mark.parametrize(
    ('error', 'expected'),
    [
        (DataError("file 'a', line 2: odd"), "file 'a', line 2: odd"),
        (
            DataError(
                'Caught DataError in DataLoader worker process 0.\nOriginal Traceback (most recent '
                'call last):\n  File "x.py"\nmmptq.utils.messages.DataError: file \'a\': odd\n'
            ),
            "file 'a': odd",
        ),
    ],
)
def test_last_sentence(error, expected):
    assert last_sentence(error) == expected
