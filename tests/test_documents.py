"""Files, modules, links and make targets that documents name exist; decisions have no gaps; prose is plain."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.plain_english import NOT_PLAIN

pytestmark = pytest.mark.unit

CHANGELOG = ROOT / "CHANGELOG.md"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("client/*.md"), *ROOT.glob("docs/**/*.md")])
DECISIONS = [page for page in PAGES if re.match(r"\d{4}-", page.name)]
HISTORY = 12
"""Decisions up to this number, like the change log, keep the names of their time."""
CURRENT = [page for page in PAGES if page != CHANGELOG and (page not in DECISIONS or int(page.name[:4]) > HISTORY)]
WIDTH, LINES = 100, 150
PACKAGES = ("admin", "api", "benchmarks", "embedded", "examples", "experiments", "store", "tests", "uniapl", "worker")
FOLDERS = (*PACKAGES, "client", "docker", "docs", "migrations")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^    .+$", re.MULTILINE)
MAKEFILE = (ROOT / "Makefile").read_text()


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)
each_current_page = pytest.mark.parametrize("page", CURRENT, ids=name_of)
each_page_of_today = pytest.mark.parametrize("page", [page for page in PAGES if page != CHANGELOG], ids=name_of)


def words_in_backticks(page: Path) -> Iterator[str]:
    """Words of the code spans of a page, without the first column of tables of old names."""
    of_today = re.compile(r"^\| then \| today \|\n(\|.*\n)+", re.MULTILINE)
    text = of_today.sub(lambda table: re.sub(r"^\|[^|]*", "", table[0], flags=re.MULTILINE), page.read_text())
    for span in spans(text):
        yield from span.split()


def spans(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", INDENTED.sub("", FENCED.sub("", text)))


def is_defined(dotted: str) -> bool:
    """Whether a dotted name is a package or module, or a name that one of them defines."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:length])
        module = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if module.exists():
            source = module.read_text()
            return all(
                re.search(rf"^\s*((async )?def|class) {part}\b", source, re.MULTILINE) for part in parts[length:]
            )
    return False


def anchors(page: Path) -> set[str]:
    """The anchors that a web page of this document has."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[tuple[Path, str]]:
    """File and anchor of each link inside the repository."""
    found = re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", page.read_text())
    return [((page.parent / file).resolve() if file else page, anchor) for file, anchor in found]


@each_current_page
def test_files_and_folders_exist(page: Path) -> None:
    path = re.compile(rf"({'|'.join(FOLDERS)})/([\w.-]+/)*([\w-]+\.\w+)?")
    named = {word for word in words_in_backticks(page) if path.fullmatch(word)}
    assert {word for word in named if not (ROOT / word).exists()} == set()


@each_current_page
def test_modules_and_what_they_define_exist(page: Path) -> None:
    module = re.compile(rf"({'|'.join(PACKAGES)})(\.[A-Za-z_]\w*)+")
    named = {word for word in words_in_backticks(page) if module.fullmatch(word)}
    assert {word for word in named if not is_defined(word)} == set()


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for file, anchor in links(page):
        assert file.exists()
        assert not anchor or anchor in anchors(file), f"{file.name}#{anchor}"


@each_page_of_today
def test_make_targets_exist(page: Path) -> None:
    text = page.read_text()
    code = [*FENCED.findall(text), *INDENTED.findall(text), *spans(text)]
    named = {target for part in code for target in re.findall(r"(?:^|\s)make ([a-z][a-z-]*)", part)}
    assert named <= set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def test_contributing_lists_the_targets_that_help_prints() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("| target | |\n")[2].partition("\n\n")[0]
    listed = set(re.findall(r"`make ([a-z-]+)`", table))
    assert listed | {"help"} == set(re.findall(r"^([a-z-]+):.*##", MAKEFILE, re.MULTILINE))


def test_decisions_have_numbers_without_gaps_and_the_index_lists_each_with_its_title() -> None:
    assert [int(page.name[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    index = (ROOT / "docs" / "adr" / "README.md").read_text().replace("\n  ", " ")
    titles = [(page.read_text().partition("\n")[0].removeprefix("# "), page.name) for page in DECISIONS]
    assert re.findall(r"^- \[(.+?)\]\(([\w.-]+)\) \(\w+\): \w", index, re.MULTILINE) == titles


def test_the_readme_is_a_page_and_has_the_command_that_ci_runs() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= LINES
    assert {"demo", "serve", "check", "test", "help"} <= set(re.findall(r"^    make ([a-z]+)", text, re.MULTILINE))


def test_every_document_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    assert set(PAGES) - {file for file, _ in links(index)} - {index, *DECISIONS} == set()


@each_page_of_today
def test_prose_is_wrapped(page: Path) -> None:
    prose = [line for line in FENCED.sub("", page.read_text()).splitlines() if not line.startswith(("|", "    ", "#"))]
    assert [line for line in prose if len(line) > WIDTH] == []


@each_page_of_today
def test_prose_is_plain(page: Path) -> None:
    prose = re.sub(r"`[^`]+`", "", FENCED.sub("", page.read_text()))
    assert NOT_PLAIN.findall(prose) == []
