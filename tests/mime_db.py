"""
Makes ``media_asgi/http/mime.types`` of the data of jshttp's mime-db, a package of npm::

    npm pack mime-db && tar xzf mime-db-*.tgz
    uv run python -m tests.mime_db package > media_asgi/http/mime.types
"""

import json
import sys
from pathlib import Path
from typing import Any

# Where several types claim an ending: a registered one, then those of Apache and nginx. Of these
# the one that is not "application/", and that has no "x-".
SOURCES = ["iana", "apache", "nginx", None]

HEAD = """\
# The types of jshttp's mime-db {version}, one for each ending. Made by tests/mime_db.py.
# Copyright (c) 2014 Jonathan Ong, (c) 2015-2022 Douglas Christopher Wilson. MIT licence:
# Permission is hereby granted, free of charge, to any person obtaining a copy of this data, to deal
# in it without restriction, including without limitation the rights to use, copy, modify, merge,
# publish, distribute, sublicense, and/or sell copies, and to permit persons to whom it is furnished
# to do so, subject to the following conditions: the above copyright notice and this permission
# notice shall be included in all copies or substantial portions of the data. It is provided "as
# is", without warranty of any kind."""


def rank(type_: str, source: str | None) -> tuple[Any, ...]:
    kind, _, subtype = type_.partition("/")
    return SOURCES.index(source), kind == "application", subtype.startswith("x-"), type_


def endings(database: dict[str, Any]) -> dict[str, list[str]]:
    """The endings of each type, without the default type and those of no kind of media."""
    chosen: dict[str, str] = {}
    for type_ in sorted(database, key=lambda type_: rank(type_, database[type_].get("source"))):
        for ending in database[type_].get("extensions", ()):
            chosen.setdefault(ending, type_)
    types: dict[str, list[str]] = {}
    for ending, type_ in sorted(chosen.items()):
        if type_ != "application/octet-stream" and not type_.startswith("x-"):
            types.setdefault(type_, []).append(ending)
    return types


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    version = json.loads((folder / "package.json").read_text())["version"]
    print(HEAD.format(version=version))
    for type_, names in sorted(endings(json.loads((folder / "db.json").read_text())).items()):
        print(type_, *names)
