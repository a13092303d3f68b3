"""The command line: all parts, or one."""

import argparse
import os
import sys
from pathlib import Path
from types import ModuleType

import benchmarks
from benchmarks import (
    asgi,
    beside,
    compare,
    crowd,
    growth,
    http,
    objects,
    predicate,
    soak,
    stalled,
    targets,
)
from benchmarks.report import console

PARTS: dict[str, ModuleType] = {
    module.__name__.rpartition(".")[2]: module
    # The predicate part configures Django for the whole process: after the others.
    for module in (
        asgi,
        http,
        objects,
        growth,
        stalled,
        crowd,
        beside,
        soak,
        targets,
        predicate,
        compare,
    )
}


def common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="does it work? proves nothing else")
    parser.add_argument("--output", type=Path, help="folder for the results")


def main() -> int:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=benchmarks.__doc__, formatter_class=plain
    )
    common(parser)
    parts = parser.add_subparsers(dest="part", title="parts", metavar="PART")
    for name, module in PARTS.items():
        about = module.__doc__ or ""
        part = parts.add_parser(
            name, help=about.splitlines()[0], description=about, formatter_class=plain
        )
        common(part)
        module.arguments(part)
    arguments = parser.parse_args()
    if not hasattr(os, "sched_setaffinity"):
        console.print("The benchmarks need Linux.")
        return 2
    if arguments.part:
        arguments.command = " ".join(["python -m benchmarks", *sys.argv[1:]])
        chosen = [(PARTS[arguments.part], arguments)]
    else:
        chosen = []
        for name, module in PARTS.items():
            if module is compare:  # it must be told with what
                continue
            # Each with its own defaults.
            own = parser.parse_args([name, *sys.argv[1:]])
            own.command = " ".join(["python -m benchmarks", *sys.argv[1:]])
            chosen.append((module, own))
    passed = True
    for module, own in chosen:
        try:
            passed &= module.run(own)
        except Exception:  # the other parts are still worth an hour
            console.print_exception()
            passed = False
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
