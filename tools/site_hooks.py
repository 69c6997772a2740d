"""What the site has beyond the files of docs/: pages of the project's root, and links out of docs/.

MkDocs calls these. A link to a file that is no page (an example, a benchmark) becomes its text: the site knows no address of the
repository. That such a file exists is checked with all links, in tests/unit/docs.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent

# Files of the root, and the page that each is on the site.
FROM_ROOT = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
_ELSEWHERE = {**FROM_ROOT, "README.md": "index.md"}

_FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    from mkdocs.structure.files import File

    for source, page in FROM_ROOT.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    source = next((each for each, made in FROM_ROOT.items() if made == page.file.src_uri), f"docs/{page.file.src_uri}")
    return relink(markdown, source, page.file.src_uri)


def relink(markdown: str, source: str, page: str) -> str:
    """The text of the file `source` (from the root), with its links as they are right on `page` (from docs/)."""
    parts = _FENCE.split(markdown)
    parts[::2] = [_LINK.sub(lambda link: _relinked(link, source, page), part) for part in parts[::2]]
    return "".join(parts)


def _relinked(link: re.Match[str], source: str, page: str) -> str:
    text, target = link.groups()
    path, sharp, anchor = target.partition("#")
    if not path or ":" in path:
        return link.group()
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    wanted = path.removeprefix("docs/") if path.startswith("docs/") else _ELSEWHERE.get(path)
    if wanted is None:
        return text
    if (ROOT / "docs" / wanted).is_dir():
        wanted += "/README.md"
    return f"[{text}]({os.path.relpath(wanted, posixpath.dirname(page) or '.')}{sharp}{anchor})"
