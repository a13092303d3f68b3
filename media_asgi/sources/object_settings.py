"""
Stores from what a project says: a URL such as ``s3://bucket/prefix`` with the credentials of the
environment, or a storage of django-storages.

No store is made here, only what makes it at the first request. Without credentials obstore asks the
cloud's metadata address for the machine's own role. That is done only if the project says so.
"""

import os
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from .django_storage import kind_of
from .object_clients import CLIENT_OPTIONS, RETRY_CONFIG, STORES
from .objects import ObjectSource

Credentials = Literal["instance"] | None

# Variables of the environment with credentials. All of one group are needed.
_GIVEN_BY = {
    "s3": (
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"),
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI",),
    ),
    "gs": (("GOOGLE_APPLICATION_CREDENTIALS",), ("STORAGE_EMULATOR_HOST",)),
    "az": (
        ("AZURE_STORAGE_CONNECTION_STRING",),
        ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_KEY"),
        ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_SAS_TOKEN"),
        ("AZURE_STORAGE_ACCOUNT", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID"),
        ("AZURE_STORAGE_ACCOUNT", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"),
    ),
}
_BUCKET = re.compile(r"[a-z0-9$][a-z0-9._-]*")  # $web and $root are Azure's own

_ADC = Path("~/.config/gcloud/application_default_credentials.json")


class StoreSettings(NamedTuple):
    """What makes a store."""

    kind: str
    bucket: str
    prefix: str
    config: Mapping[str, Any] = {}
    client_options: Mapping[str, Any] = {}
    provider: Callable[[], Any] | None = None
    """Gives credentials that end, whenever they are needed."""

    def make(self) -> Any:
        options = {**CLIENT_OPTIONS, **self.client_options}
        if self.kind == "gs":
            # Else Google's store unpacks what is stored with gzip, without a length.
            options["default_headers"] = {"accept-encoding": "gzip"}
        return STORES[self.kind](
            self.bucket,
            config=dict(self.config),
            client_options=options,
            retry_config=RETRY_CONFIG,
            credential_provider=self.provider,
        )


def from_url(url: str, option: str, credentials: Credentials = None) -> ObjectSource:
    """The store of ``s3://bucket/prefix``, ``gs://…`` or ``az://…``. ``option``: for errors."""
    kind, _, place = url.partition("://")
    bucket, _, prefix = place.partition("/")
    if not _BUCKET.fullmatch(bucket) or "?" in prefix or "#" in prefix:
        raise ImproperlyConfigured(
            f"{option} is {url!r}. Give a bucket, in lower case, and perhaps a prefix: "
            f'"{kind}://bucket/prefix". Credentials are for the environment.'
        )
    config, options = _environment(kind)
    if credentials is None and not _has_credentials(kind):
        raise ImproperlyConfigured(_lacking(f"{option} is {url!r}", kind))
    found = StoreSettings(kind, bucket, prefix.strip("/"), config, options)
    return ObjectSource(found.make, found.prefix)


def from_storage(storage: Any, name: str, credentials: Credentials = None) -> ObjectSource:
    """The store of a storage whose ``kind_of`` is known. ``name``: what an error calls it."""
    kind = kind_of(storage)
    assert kind is not None
    setting = "azure_container" if kind == "az" else "bucket_name"
    if not (bucket := getattr(storage, setting)):
        raise ImproperlyConfigured(f"{name} has no {setting}. Set it in its OPTIONS.")
    read = {"s3": _s3, "gs": _google, "az": _azure}[kind]
    config, options, provider = read(storage, name, credentials)
    if not (config.keys() & _KEYS or provider or credentials or _has_credentials(kind)):
        raise ImproperlyConfigured(_lacking(name, kind))
    found = StoreSettings(kind, bucket, storage.location or "", config, options, provider)
    return ObjectSource(found.make, found.prefix)


_KEYS = {"access_key_id", "bearer_token", "skip_signature", "account_key", "sas_key"}

_Read = tuple[dict[str, Any], dict[str, Any], Callable[[], Any] | None]


def _lacking(name: str, kind: str) -> str:
    return (
        f"{name}: there are no credentials for it. Give keys, in the storage's OPTIONS or by the "
        f"environment ({' and '.join(_GIVEN_BY[kind][0])}); or, for the role of the machine that "
        'it runs on, credentials="instance".'
    )


def _has_credentials(kind: str) -> bool:
    if kind == "gs" and _ADC.expanduser().exists():
        return True
    return any(all(map(os.environ.get, group)) for group in _GIVEN_BY[kind])


def _environment(kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the tools of a cloud read of the environment, and obstore doesn't."""
    environment = os.environ
    if kind == "s3":
        return {}, _plain(_aws_endpoint())
    if kind == "gs":
        emulator = environment.get("STORAGE_EMULATOR_HOST")
        if not emulator:
            return {}, {}
        base = emulator if "://" in emulator else f"http://{emulator}"
        return {"base_url": base, "skip_signature": True}, _plain(base)
    if connection := environment.get("AZURE_STORAGE_CONNECTION_STRING"):
        return _connection_string(connection)
    names = {
        "account_name": "AZURE_STORAGE_ACCOUNT",
        "account_key": "AZURE_STORAGE_KEY",
        "sas_key": "AZURE_STORAGE_SAS_TOKEN",
    }
    return {key: value for key, name in names.items() if (value := environment.get(name))}, {}


def _aws_endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def _plain(endpoint: str | None) -> dict[str, Any]:
    return {"allow_http": True} if endpoint and endpoint.startswith("http://") else {}


def _refuse(name: str, **options: object) -> None:
    """Refuse the options that are set, and that nothing here stands for."""
    for option, value in options.items():
        if value:
            raise ImproperlyConfigured(
                f"{name} has {option}={value!r}, which can't be done here. Leave it out, or give "
                "the location a source of your own: source=ObjectSource(store)."
            )


def _s3(storage: Any, name: str, credentials: Credentials) -> _Read:
    from botocore import UNSIGNED

    # django-storages keeps addressing_style, signature_version and proxies in it.
    client = storage.client_config
    s3 = client.s3 or {}
    parameters = storage.object_parameters
    _refuse(
        name,
        use_accelerate_endpoint=s3.get("use_accelerate_endpoint"),
        use_dualstack_endpoint=s3.get("use_dualstack_endpoint") or client.use_dualstack_endpoint,
        use_fips_endpoint=client.use_fips_endpoint,
        client_cert=client.client_cert,
        proxies_config=client.proxies_config,
        signature_version=client.signature_version not in (None, "s3v4", UNSIGNED)
        and client.signature_version,
        use_ssl=None if storage.use_ssl or storage.endpoint_url else "False without endpoint_url",
        SSECustomerKey="SSECustomerKey" in parameters,
        RequestPayer=parameters.get("RequestPayer"),
    )
    region, endpoint = storage.region_name or client.region_name, storage.endpoint_url
    endpoint = endpoint or _aws_endpoint()  # as boto3 does
    options = _plain(endpoint)
    config: dict[str, Any] = {"region": region} if region else {}
    is_virtual = s3.get("addressing_style") == "virtual"
    if is_virtual:
        config["virtual_hosted_style_request"] = True
    if endpoint:
        if is_virtual:
            scheme, _, host = endpoint.partition("://")
            endpoint = f"{scheme}://{storage.bucket_name}.{host}"
        # The second one since the environment's AWS_ENDPOINT_URL_S3 would count before the first.
        config |= {"endpoint": endpoint, "aws_endpoint_url_s3": endpoint}
    if proxy := (client.proxies or {}).get("http" if options else "https"):
        options["proxy_url"] = proxy
    if storage.verify is False:
        options["allow_invalid_certificates"] = True
    elif isinstance(storage.verify, str):
        options["root_certificate"] = Path(storage.verify).read_bytes()
    if client.signature_version is UNSIGNED:
        config["skip_signature"] = True
    elif storage.session_profile:
        return config, options, _profile(storage.session_profile, credentials)
    elif storage.access_key and storage.secret_key:
        config["access_key_id"] = storage.access_key
        config["secret_access_key"] = storage.secret_key
        if storage.security_token:
            config["session_token"] = storage.security_token
    return config, options, None


def _profile(profile: str, credentials: Credentials) -> Callable[[], Any]:
    """The credentials of a profile in AWS's own files."""
    import botocore.session
    from obstore.auth.boto3 import Boto3CredentialProvider

    session = botocore.session.Session(profile=profile)
    if credentials is None:
        resolver = session.get_component("credential_provider")
        for source in ("container-role", "iam-role"):
            resolver.remove(source)
    if session.get_credentials() is None:
        raise ImproperlyConfigured(
            f"session_profile is {profile!r}, which has no credentials. Give it some, or, for the "
            'role of the machine, credentials="instance".'
        )
    return Boto3CredentialProvider(session, ttl=timedelta(minutes=10))


def _google(storage: Any, name: str, credentials: Credentials) -> _Read:
    config, options = _environment("gs")
    given = storage.credentials
    if given is None or "skip_signature" in config:
        return config, options, None
    from google.auth.credentials import AnonymousCredentials, with_scopes_if_required
    from google.auth.transport.requests import Request

    if isinstance(given, AnonymousCredentials):
        return {"skip_signature": True}, {}, None
    scoped: Any = with_scopes_if_required(
        given, ["https://www.googleapis.com/auth/devstorage.read_only"]
    )

    def provide() -> dict[str, Any]:
        # obstore's own provider keeps one connection, which has ended when the next token is due.
        scoped.refresh(Request())
        return {"token": scoped.token, "expires_at": scoped.expiry.replace(tzinfo=UTC)}

    return {}, {}, provide


def _azure(storage: Any, name: str, credentials: Credentials) -> _Read:
    _refuse(name, client_options=storage.client_options, api_version=storage.api_version)
    if storage.connection_string is not None:
        return *_connection_string(storage.connection_string), None
    if not storage.account_name:
        config, options = _environment("az")
        return config, options, None
    scheme = "https" if storage.azure_ssl else "http"
    endpoint = f"{scheme}://{storage.account_name}.blob.{storage.endpoint_suffix}"
    config = {"account_name": storage.account_name, "endpoint": endpoint}
    provider = None
    if storage.account_key:
        config["account_key"] = storage.account_key
    elif storage.sas_token:
        config["sas_key"] = storage.sas_token
    elif storage.token_credential:

        def provider() -> dict[str, Any]:
            token = storage.token_credential.get_token("https://storage.azure.com/.default")
            return {
                "token": token.token,
                "expires_at": datetime.fromtimestamp(token.expires_on, UTC),
            }

    return config, _plain(endpoint), provider


def _connection_string(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    parts = dict(part.strip().split("=", 1) for part in text.split(";") if "=" in part)
    account = parts.get("AccountName", "")
    endpoint = parts.get("BlobEndpoint") or "{}://{}.blob.{}".format(
        parts.get("DefaultEndpointsProtocol", "https"),
        account,
        parts.get("EndpointSuffix", "core.windows.net"),
    )
    config = {
        "account_name": account or (urlsplit(endpoint).hostname or "").partition(".")[0],
        "account_key": parts.get("AccountKey"),
        "sas_key": parts.get("SharedAccessSignature"),
        "endpoint": endpoint.rstrip("/"),
    }
    return {name: value for name, value in config.items() if value}, _plain(endpoint)
