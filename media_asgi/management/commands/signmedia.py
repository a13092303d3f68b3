"""
``manage.py signmedia URL --expires 1h``: a signed link.
"""

import re
from argparse import ArgumentTypeError
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...signing import sign_prefix, sign_url

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Command(BaseCommand):
    help = "Prints a signed link to a file, or to a folder if the URL ends with a slash."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("url", help="percent-encoded, such as /private/a.pdf")
        parser.add_argument(
            "--expires", type=_time, default="1h", help="such as 90s, 15m, 1h or 7d (default: 1h)"
        )
        parser.add_argument("--host", help="that of a location with the option host")

    def handle(
        self, *args: Any, url: str, expires: timedelta, host: str | None, **options: Any
    ) -> None:
        sign = sign_prefix if url.endswith("/") else sign_url
        try:
            self.stdout.write(sign(url, expires_in=expires, host=host))
        except ValueError as error:
            raise CommandError(str(error)) from error


def _time(text: str) -> timedelta:
    match = re.fullmatch("([0-9]{1,6})([smhd])", text)
    if not match:
        raise ArgumentTypeError(f"{text!r} is not a time. Give one such as 90s, 15m, 1h or 7d.")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
