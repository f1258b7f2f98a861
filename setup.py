"""Packaging of mmptq; the exact versions of the tests are in tools/dev/requirements.txt."""

import re
import runpy
from pathlib import Path

from setuptools import Distribution, find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent

# pip leaves alone what is installed and fits; mmptq/compat/env.py checks the same ranges on import.
REQUIREMENTS = [
    'torch>=2.6',  # first that loads checkpoints with weights_only=True by default
    'mmengine>=0.10.4,<0.11',
    'mmdet>=3.2.0,<3.4.0',
    'packaging',
    'numpy>=1.26,<2.3',  # nuscenes-devkit, which mmdet3d depends on, allows <2 only
    'opencv-python>=4.11,<4.13',
    'scipy>=1.10',
    'setuptools<81',  # mmengine imports pkg_resources, which 81 removed
]
EXTRAS = {
    # mmcv is needed, but pip fails with a riddle where it would have to compile it in isolation,
    # also for those who have mmcv-lite; without it here they get a clear error on import.
    # `pip install --no-build-isolation -e .[mmcv]` compiles it for the torch that is installed.
    'mmcv': ['mmcv>=2.1.0,<2.2.0'],  # mmdet 3.3 refuses 2.2
    # With a GPU install spconv-cu1xx yourself and take mmdet3d alone: both fill the folder spconv/.
    '3d': ['mmdet3d>=1.4.0,<1.5', 'spconv>=2.3.8,<2.4'],
    'test': ['pytest>=8', 'pytest-xdist>=3.6', 'filelock>=3.12'],
    'lint': ['ruff==0.17.5'],  # others may format differently
    'docs': ['mkdocs>=1.6,<2'],
    'plot': ['matplotlib>=3.8'],
    'deploy': ['onnx>=1.23,<1.24', 'onnxruntime>=1.31,<1.32', 'openvino>=2026.4,<2026.5'],
}


def read_version() -> str:
    """Returns the version without importing the package, which needs torch."""
    source = (ROOT / 'mmptq' / 'version.py').read_text()
    return re.search(r"^__version__ = '(.+)'$", source, re.MULTILINE).group(1)


class BuildWithEngine(build_py):
    """Compiles the sparse engine, too; without a compiler all else of mmptq works."""

    def run(self) -> None:
        super().run()
        engine = Path('mmptq', 'deploy', 'sparse_engine')
        compiler = runpy.run_path(str(ROOT / engine / 'build.py'))
        # An editable installation runs from the source folder.
        folder = ROOT if getattr(self, 'editable_mode', False) else Path(self.build_lib)
        try:
            compiler['build'](folder / engine)
        except compiler['BuildError'] as error:
            self.warn(f'sparse voxel encoders stay in PyTorch: {error}')


class PlatformDistribution(Distribution):
    """A wheel for one kind of processor, because it holds compiled code."""

    def has_ext_modules(self) -> bool:
        return True


readme = ROOT / 'README.md'
setup(
    name='mmptq',
    version=read_version(),
    description='Post-training quantization for MMDetection and MMDetection3D',
    long_description=readme.read_text() if readme.exists() else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['mmptq', 'mmptq.*']),
    # Configs, through the link mmptq/.mim/configs. Demo checkpoints (28 MB) stay in the repository.
    package_data={
        'mmptq': ['.mim/configs/**/*.py'],
        'mmptq.deploy.sparse_engine': ['src/*'],
        'mmptq.report.page': ['page.*'],
    },
    cmdclass={'build_py': BuildWithEngine},
    distclass=PlatformDistribution,
    python_requires='>=3.11',
    install_requires=REQUIREMENTS,
    extras_require=EXTRAS,
    zip_safe=False,
)
