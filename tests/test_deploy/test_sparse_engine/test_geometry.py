"""Coordinates that a kernel sees, by hand."""

from mmptq.deploy.sparse_engine.geometry import INVERSE, STRIDED, SUBM, KernelGeometry


def along_x(geometry: KernelGeometry, extent: int, output: int) -> list[list[int]]:
    return geometry.sources((1, 1, extent), (1, 1, output))[2].tolist()


def test_submanifold():
    geometry = KernelGeometry(SUBM, (1, 1, 3), dilation=(1, 1, 2))
    assert geometry.output_shape((1, 1, 4)) == (1, 1, 4)
    assert along_x(geometry, 4, 4) == [[-1, -1, 0, 1], [0, 1, 2, 3], [2, 3, -1, -1]]


def test_strided_and_inverse():
    numbers = ((1, 1, 3), (1, 1, 2), (0, 0, 1))
    forward = KernelGeometry(STRIDED, *numbers)
    assert forward.output_shape((1, 1, 5)) == (1, 1, 3)
    assert along_x(forward, 5, 3) == [[-1, 1, 3], [0, 2, 4], [1, 3, -1]]
    assert forward.targets((1, 1, 5), (1, 1, 3))[2].tolist() == [
        [0, -1, -1],
        [1, 0, -1],
        [1, -1, -1],
        [2, 1, -1],
        [2, -1, -1],
    ]
    back = KernelGeometry(INVERSE, *numbers)
    assert along_x(back, 3, 5) == [[-1, 1, -1, 2, -1], [0, -1, 1, -1, 2], [-1, 0, -1, 1, -1]]
