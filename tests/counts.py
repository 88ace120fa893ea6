"""Counts of what a reader meets in a checkout: words to avoid, long lines, crowded folders, repeated module names.

    python -m tests.counts [PATH]             prints the counts of a checkout, by default of this one
    python -m tests.counts --check [PATH]     names every line that is too long; exit status 1 if there is one

Only files that git tracks count. Left out: this file, generated files, and the data of earlier commits.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parent.parent
CODE_COLUMNS, PROSE_COLUMNS = 120, 100
LARGEST = 5
CODE = (".py", ".toml", ".yml", ".yaml", "Dockerfile", "Makefile")
PACKAGES = ("uniapl", "store", "api", "worker")
LEFT_OUT = re.compile(r"tests/counts\.py|tests/compatibility/[^/]+/.*|client/uniapl_client/_sync/.*")
MAY_BE_LONG = re.compile(r"migrations/versions/.*|tests/mutants\.py|docker/grafana/.*|.*\.json")
"""Migrations are frozen as they were written, the other two are tables and a tool's own format."""
PRAGMA = re.compile(r"\s+# (noqa|type: ignore)\b.*")
WORDS = (  # a pattern, and in the comment what to write in its place
    "tell|tells|telling|told",  # report, pass, state; "detailed in"
    "say|says|saying|said",  # specify, define, report
    "lie|lies|lay|lying",  # is in, is stored in
    "ask|asks|asking|asked",  # request, query, call
    "knows|knew|known to",  # has, stores, supports
    "wants|wanted|wish|wishes",  # requires, needs, requests
    "minds|heeds|heed",  # handles, applies
    "looks at|looks for|looks after|look at|look for|look after",  # reads, searches, manages
    "hears|heard|unheard",  # receives, unnoticed
    "stands|stand for|stand in",  # is, names, is written in
    "goes on|go on|going on|went on",  # continues
    "is over|are over|was over|be over",  # has ended, terminal
    "mend|mends|mended",  # fix
    "nobody",  # no process, no user; or the passive voice
    "somebody|someone",  # another client, a process
    "everybody|everyone",  # all processes, all users
    "whoever",  # the caller, the process that
    "whatever",  # all, any
    "he|his|him",  # the user, the caller
    "of ours|of yours|of its own|of their own",  # this project's; "separate"
    "so many|so much|so long",  # the limit, n
    "here and there|by hand|by the way",  # name the place
    "bury|buries|buried",  # kill leftover processes
    "excuse|excused",  # reset
    "insist|insists",  # retry
    "judge|judges|judged",  # score, evaluate
    "companion|companions",  # servers of an attempt
)


@dataclass(frozen=True)
class Line:
    """One line of a tracked file."""

    file: str
    number: int
    text: str
    kind: str
    """`code` (also in Markdown), `table` or `prose`."""

    @property
    def limit(self) -> int:
        """Columns that it may have."""
        return PROSE_COLUMNS if self.kind == "prose" else CODE_COLUMNS

    def is_too_long(self, limit: int) -> bool:
        """Whether it exceeds the limit without a comment for ruff or mypy, or an address that cannot be broken."""
        text = PRAGMA.sub("", self.text)
        return len(text) > limit and not _has_unbreakable_address(text, limit)


def main(argv: list[str] | None = None) -> int:
    """Print the counts, or check the lines; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.counts", description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, nargs="?", default=ROOT, help="a checkout")
    parser.add_argument("--check", action="store_true", help="fail if a line is too long")
    arguments = parser.parse_args(argv)
    return check(arguments.path) if arguments.check else show(arguments.path)


def check(root: Path) -> int:
    """Name the lines that are too long."""
    found = [line for line in lines(root) if line.is_too_long(line.limit)]
    for line in found:
        print(f"{line.file}:{line.number}: {len(line.text)} columns of {line.kind}, at most {line.limit}")
    return 1 if found else 0


def show(root: Path) -> int:
    """Print all counts."""
    names = tracked(root)
    _show_words(root, names)
    _show_long_lines(list(lines(root)))
    _show_folders(names)
    _show_repeated(names)
    return 0


def tracked(root: Path) -> list[str]:
    """Paths of the files that count, with `/`."""
    listed = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True, text=True, check=True)
    names = [name for name in listed.stdout.split("\0") if name and not LEFT_OUT.fullmatch(name)]
    return [name for name in names if (root / name).is_file()]


def lines(root: Path) -> Iterator[Line]:
    """The lines whose length matters."""
    for name in tracked(root):
        if MAY_BE_LONG.fullmatch(name) or not name.endswith((*CODE, ".md")):
            continue
        texts = (root / name).read_text().splitlines()
        kinds = _kinds(texts) if name.endswith(".md") else ["code"] * len(texts)
        for number, (text, kind) in enumerate(zip(texts, kinds, strict=True), 1):
            yield Line(name, number, text, kind)


def _kinds(texts: list[str]) -> list[str]:
    """What each line of a Markdown file is. An indented block is code unless it continues an item of a list."""
    kinds: list[str] = []
    fenced = in_list = False
    for before, text in zip(["", *texts], texts, strict=False):
        fence = text.lstrip().startswith(("```", "~~~"))
        fenced ^= fence
        if re.match(r"\s*([-*+]|\d+[.)])\s", text):
            in_list = True
        elif text and not text.startswith(" ") and not before.strip():
            in_list = False
        continues_code = not before.strip() or bool(kinds and kinds[-1] == "code")
        indented = text.startswith("    ") and not in_list and continues_code
        if fenced or fence or indented:
            kinds.append("code")
        else:
            kinds.append("table" if text.lstrip().startswith("|") else "prose")
    return kinds


def _has_unbreakable_address(text: str, limit: int) -> bool:
    indent = len(text) - len(text.lstrip())
    return any("://" in word and indent + len(word) > limit for word in text.split())


def _show_words(root: Path, names: list[str]) -> None:
    counts = {kind: _count_words(root, [name for name in names if name.endswith(kind)]) for kind in (".py", ".md")}
    print(f"{'words':58}{'Python':>8}{'Markdown':>10}")
    for words in WORDS:
        print(f"{words.replace('|', ', '):58}{counts['.py'][words]:>8}{counts['.md'][words]:>10}")
    print(f"{'all':58}{counts['.py'].total():>8}{counts['.md'].total():>10}")


def _count_words(root: Path, names: list[str]) -> Counter[str]:
    """Case is ignored, and a phrase may be broken over two lines, of comments too."""
    patterns = {words: re.compile(rf"\b({words})\b".replace(" ", r"[\s#]+"), re.IGNORECASE) for words in WORDS}
    counts: Counter[str] = Counter()
    for name in names:
        text = (root / name).read_text()
        counts.update({words: len(pattern.findall(text)) for words, pattern in patterns.items()})
    return counts


def _show_long_lines(found: list[Line]) -> None:
    print(f"\n{'long lines':58}{'lines':>8}{'files':>10}")
    for title, kinds, limit in (
        (f"code over {CODE_COLUMNS} columns, outside Markdown", ("code",), CODE_COLUMNS),
        (f"Markdown over {CODE_COLUMNS}: prose", ("prose",), CODE_COLUMNS),
        (f"Markdown over {CODE_COLUMNS}: tables", ("table",), CODE_COLUMNS),
        (f"Markdown over {CODE_COLUMNS}: code blocks", ("md code",), CODE_COLUMNS),
        (f"Markdown over {PROSE_COLUMNS}: prose", ("prose",), PROSE_COLUMNS),
    ):
        long = [line for line in found if _shown_kind(line) in kinds and line.is_too_long(limit)]
        print(f"{title:58}{len(long):>8}{len({line.file for line in long}):>10}")


def _shown_kind(line: Line) -> str:
    return "md code" if line.kind == "code" and line.file.endswith(".md") else line.kind


def _show_folders(names: list[str]) -> None:
    folders = Counter(str(PurePosixPath(name).parent) for name in names)
    for title, in_tests in (("largest folders", False), ("largest folders of tests", True)):
        print(f"\n{title:58}{'files':>8}")
        counts = Counter({folder: n for folder, n in folders.items() if (folder.split("/")[0] == "tests") == in_tests})
        for folder, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:LARGEST]:
            print(f"{folder:58}{count:>8}")


def _show_repeated(names: list[str]) -> None:
    places = defaultdict(list)
    for name in names:
        path = PurePosixPath(name)
        if path.suffix == ".py" and path.parts[0] in PACKAGES and not path.stem.startswith("__"):
            places[path.stem].append(name)
    repeated = {stem: found for stem, found in places.items() if len(found) > 1}
    print(f"\n{'module names that occur more than once':58}{'files':>8}")
    for stem in sorted(repeated):
        print(f"{stem:58}{len(repeated[stem]):>8}")
    print(f"{f'{len(repeated)} names':58}{sum(map(len, repeated.values())):>8}")


if __name__ == "__main__":
    sys.exit(main())
