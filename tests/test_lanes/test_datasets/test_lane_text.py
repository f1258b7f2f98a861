"""Parsing of lane files; their errors in use are tested with the reader."""

import pytest

from mmptq.lanes.datasets.lane_text import parse_points, read_lane_file, read_lines


def test_white_space_exponents_and_windows_line_ends(tmp_path):
    path = tmp_path / 'a.lines.txt'
    path.write_bytes(b'1.5e2\t2  -3 4 \r\n5 6 7 8\r\n')
    lanes = read_lane_file(path)
    assert [lane.tolist() for lane in lanes] == [[[150, 2], [-3, 4]], [[5, 6], [7, 8]]]


def test_empty_file_and_blank_line(tmp_path):
    path = tmp_path / 'a.lines.txt'
    path.write_text('')
    assert read_lane_file(path) == []
    path.write_text('\n1 2 3 4')
    assert [lane.shape for lane in read_lane_file(path)] == [(0, 2), (2, 2)]


def test_errors_begin_with_the_place():
    for line in ('1 2 3', '1 x', '1 nan', '1 1e999'):
        with pytest.raises(ValueError, match=r"^file 'a', line 7: "):
            parse_points(line, "file 'a', line 7")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ValueError, match='list .* cannot be read .*directory'):
        read_lines(tmp_path, 'list')
