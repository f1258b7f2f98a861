"""Hook of mkdocs.yml: pages outside of docs/, under the paths that they have in the repository."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
PAGES = ('README.md', 'docs/**/*.md', 'configs/*/README.md', 'configs/*/*.png')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replaces the pages that mkdocs found in docs/; what belongs to the theme stays."""
    for page in files.documentation_pages():
        files.remove(page)
    for pattern in PAGES:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files
