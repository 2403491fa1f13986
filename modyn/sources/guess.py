"""Guessing the format of files by their endings."""

from collections import Counter

from modyn.errors import DataError
from modyn.policy import policies
from modyn.sources import FileSource, Source
from modyn.sources.paths import find_files


def guess_format(path: str) -> str:
    """The name of the format of the files at a path. Raises DataError if their endings do not tell, or nothing is there.

    >>> guess_format("https://example.org/flights.CSV")
    'csv'
    """
    endings = _endings()
    found = _format_of(path, endings)
    if found is not None:
        return found
    files = find_files(path, suffixes=(), include=None)
    votes = Counter(_format_of(file.path, endings) for file in files)
    votes.pop(None, None)
    if not votes:
        known = ", ".join(sorted(set(endings.values())))
        raise DataError(f"the format of {path} does not show in its name: say --format, one of {known}, ...")
    return votes.most_common(1)[0][0]  # type: ignore[return-value]


def _endings() -> dict[str, str]:
    found: dict[str, str] = {}
    for name, cls in policies(Source).items():  # type: ignore[type-abstract,unused-ignore]
        if issubclass(cls, FileSource):
            found |= dict.fromkeys(cls.suffixes, name)
    return found


def _format_of(path: str, endings: dict[str, str]) -> str | None:
    matching = [ending for ending in endings if path.lower().endswith(ending)]
    return endings[max(matching, key=len)] if matching else None
