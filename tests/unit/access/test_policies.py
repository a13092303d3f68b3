import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from media_asgi import Location, MediaMiddleware
from media_asgi.access import ACCESS_POLICIES, policy_class
from media_asgi.access.base import AccessDenied, AccessPolicy, HeaderOverrides, Internal, Public
from media_asgi.access.predicate import Predicate
from media_asgi.access.signed import Signed

from ...support.servers import ROOT
from ..support import ask


async def application(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("is not called")


class Secret(AccessPolicy):
    """One more access mode: the query is a password."""

    value = "access='secret'"
    common_headers = ((b"x-secret", b"yes"),)

    async def authorize(
        self, scope: Any, path: str, urls: Sequence[str], host: str | None = None
    ) -> HeaderOverrides | None:
        if scope["query_string"] != b"sesame":
            raise AccessDenied(401, [(b"www-authenticate", b"Secret")])
        return HeaderOverrides(content_type=b"text/x-secret", headers=[(b"x-path", path.encode())])


@pytest.mark.parametrize(
    ("access", "policy"),
    [
        ("public", Public),
        ("internal", Internal),
        ("signed", Signed),
        (application, Predicate),
        ("secret", None),
        ("", None),
        (None, None),
        (True, None),
        (["public"], None),
    ],
)
def test_each_value_of_access_has_one_policy(access: Any, policy: type | None) -> None:
    assert policy_class(access) is policy


def test_a_new_access_mode_is_a_class_and_an_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("a")
    monkeypatch.setitem(ACCESS_POLICIES, "secret", Secret)
    location = Location(url="/m/", root=tmp_path, access="secret")  # type: ignore[arg-type]
    app = MediaMiddleware(application, location)
    refused = ask(app, "/m/a.txt", query_string=b"")
    assert (refused.status, refused.headers["www-authenticate"]) == (401, "Secret")
    assert refused.headers["x-secret"] == "yes"
    answer = ask(app, "/m/a.txt", query_string=b"sesame")
    assert (answer.status, answer.body) == (200, b"a")
    assert answer.headers["content-type"] == "text/x-secret"
    assert (answer.headers["x-secret"], answer.headers["x-path"]) == ("yes", "a.txt")
    assert answer.headers["cache-control"] == "private, no-cache"


def test_no_module_compares_a_mode() -> None:
    for module in (ROOT / "media_asgi").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Compare):
                values = {each.value for each in ast.walk(node) if isinstance(each, ast.Constant)}
                assert values.isdisjoint(ACCESS_POLICIES), f"{module}:{node.lineno}"
