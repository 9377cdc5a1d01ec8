"""The pages as tests read them: README, docs/ and the benchmarks' own, with their fences, links and headings."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SITE = sorted((ROOT / "docs").glob("*.md"))
USER_PAGES = [ROOT / "README.md", *SITE]
BENCHMARKS = [ROOT / "benchmarks" / "README.md", ROOT / "benchmarks" / "gain" / "LOG.md"]
DEVELOPER_PAGES = [ROOT / name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")]
ALL_PAGES = [*USER_PAGES, *BENCHMARKS, *DEVELOPER_PAGES]
FENCE = re.compile(
    r"(?:<!-- (?P<mark>[^>]+) -->\n)?^```(?P<language>[\w{}-]*)\n(?P<text>.*?)^```", re.S | re.M
)


@dataclass(frozen=True)
class Fence:
    """A block of code in a page.

    Attributes:
        page: Path of the page below the repository.
        mark: Text of the HTML comment in the line before it, or empty.
        language: As the fence names it.
        text: Its lines.
    """

    page: str
    mark: str
    language: str
    text: str

    @property
    def reason_not_to_run(self) -> str:
        """What the comment before it says, empty where it is to be run."""
        return self.mark.removeprefix("not run: ") if self.mark.startswith("not run: ") else ""

    @property
    def is_run_elsewhere(self) -> bool:
        """Whether it is one of the commands that .ci/run reads from the page."""
        return self.mark.startswith("command: ")


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def fences(*paths, language=None):
    found = []
    for path in paths:
        for block in FENCE.finditer(path.read_text(encoding="utf-8")):
            fence = Fence(name_of(path), block["mark"] or "", block["language"], block["text"])
            if language in (None, fence.language):
                found.append(fence)
    return found


def marked_command(name, path=ROOT / "README.md"):
    """Return the single line in the fence below the marker of a command."""
    found = [fence.text for fence in fences(path) if fence.mark == f"command: {name}"]
    assert len(found) == 1 and found[0].count("\n") == 1, f"{path.name} has no single-line command {name}"
    return found[0].strip()


def augsynth_words(line):
    """Return the words after `augsynth` of a shell line's last command, or None where it calls something else."""
    words = shlex.split(line.split(" && ")[-1], comments=True)
    for at, word in enumerate(words):
        if word.rsplit("/", 1)[-1] == "augsynth":
            return words[at + 1 :]
    return None


def augsynth_lines(blocks):
    return [(b, line) for b in blocks for line in b.text.splitlines() if augsynth_words(line) is not None]


def headings(path):
    """Return the anchors of a page's headings, as they are made on GitHub."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.S | re.M)
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(path):
    """Yield target and anchor of every link and picture that stays in the repository."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.S | re.M)
    found = re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", text)
    found += [(target, "") for target in re.findall(r'(?:src|srcset)="([^"]+)"', text)]
    return [(target, anchor) for target, anchor in found if "://" not in target]
