"""Who may have a file: one class for each value of a location's ``access``."""

from collections.abc import Awaitable, Callable
from typing import Literal

from django.core.exceptions import ImproperlyConfigured

from .base import AccessPolicy, Internal, LocationOptions, Public
from .predicate import Answer, Predicate, authenticated
from .signed import Signed

__all__ = ["ACCESS_POLICIES", "Access", "access_policy", "authenticated", "policy_class"]

Access = Literal["public", "internal", "signed"] | Callable[..., Answer | Awaitable[Answer]]

ACCESS_POLICIES: dict[str, type[AccessPolicy]] = {
    "public": Public,
    "internal": Internal,
    "signed": Signed,
}


def policy_class(access: object) -> type[AccessPolicy] | None:
    """The policy for a value of ``access``; ``None`` if the value is invalid."""
    if callable(access):
        return Predicate
    return ACCESS_POLICIES.get(access) if isinstance(access, str) else None


def access_policy(location: LocationOptions) -> AccessPolicy:
    """The policy of a location.

    Raises ``ImproperlyConfigured`` if ``access`` is invalid, or if an option is set that only
    another policy reads.
    """
    chosen = policy_class(location.access)
    if chosen is None:
        raise ImproperlyConfigured(
            f"access of the location {location.url!r} is {location.access!r}. Give "
            f"{', '.join(map(repr, ACCESS_POLICIES))}, or a callable of the request and the path."
        )
    policies: list[type[AccessPolicy]] = [*ACCESS_POLICIES.values(), Predicate]
    for policy in policies:
        for name in policy.options - chosen.options:
            if value := getattr(location, name):
                raise ImproperlyConfigured(
                    f"{name} of the location {location.url!r} is {value!r}, but only a location "
                    f"with {policy.value} reads it. Set {policy.value}, or leave {name} out."
                )
    return chosen(location)
