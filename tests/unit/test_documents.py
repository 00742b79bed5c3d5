"""Documents: their links lead somewhere, README stays short, and it lists every document."""

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"))
LINK: Final = re.compile(r"\]\(([^)\s#]+)?(?:#([^)]+))?\)")
# Issue 17 brought the live page, issue 19 the table of figures, whose bars | count as words.
MOST_WORDS: Final = 1850


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as code hosts make them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", title.replace("`", "").lower()) for title in titles]
    return {title.replace(" ", "-") for title in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for path, anchor in LINK.findall(page.read_text("utf-8")):
        if path.startswith(("https:", "http:", "mailto:")):
            continue
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name} links to {path}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {path}#{anchor}"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").split()) <= MOST_WORDS


def test_the_readme_lists_every_document() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    pages = [page for page in PAGES if page.name != "README.md"]
    missing = [page.name for page in pages if f"{page.relative_to(ROOT)})" not in text]
    assert len(pages) > 20
    assert not missing


def test_every_decoder_and_format_stands_in_the_document_of_tasks() -> None:
    from edge.dataset.annotations.read import FORMATS
    from edge.runtime.tasks.table import DECODERS

    text = (ROOT / "docs/tasks.md").read_text(encoding="utf-8")
    for name, entry in DECODERS.items():
        assert f"| `{name}` | {entry.task} | {entry.meaning} |" in text
    for name in FORMATS:
        assert f"| `{name}` |" in text
