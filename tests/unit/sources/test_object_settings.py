"""What a store is made with, of a URL or of a storage of django-storages."""

from pathlib import Path
from typing import Any

import obstore
import pytest
from azure.core.credentials import AccessToken
from botocore import UNSIGNED
from botocore.config import Config
from django.core.exceptions import ImproperlyConfigured
from google.auth.credentials import AnonymousCredentials
from google.oauth2.service_account import Credentials as ServiceAccount
from storages.backends.azure_storage import AzureStorage
from storages.backends.gcloud import GoogleCloudStorage
from storages.backends.s3 import S3Storage

from media_asgi.sources import object_settings
from media_asgi.sources.django_storage import kind_of
from media_asgi.sources.object_settings import StoreSettings, from_storage, from_url
from media_asgi.sources.objects import ObjectSource

from ...objects.raw import raw_store, send_object

KEYS = {"access_key": "key", "secret_key": "secret"}
SAID = {"access_key_id": "key", "secret_access_key": "secret"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Nothing of this machine's own."""
    import os

    for name in os.environ:
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_", "STORAGE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setattr(object_settings, "_ADC", tmp_path / "adc.json")
    return monkeypatch


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> list[StoreSettings]:
    settings: list[StoreSettings] = []

    def source(make: Any, prefix: str) -> ObjectSource:
        settings.append(make.__self__)
        return ObjectSource(make, prefix)

    monkeypatch.setattr(object_settings, "ObjectSource", source)
    return settings


def refusal(call: Any, *args: Any, **options: Any) -> str:
    with pytest.raises(ImproperlyConfigured) as raised:
        call(*args, **options)
    return str(raised.value)


def read(storage: Any, credentials: Any = None, made: Any = None) -> StoreSettings:
    from_storage(storage, "STORAGES['default']", credentials)
    settings: StoreSettings = made[-1]
    settings.make()  # obstore takes it
    return settings


S3: list[Any] = [
    ({}, SAID, {}),
    ({"security_token": "token"}, {**SAID, "session_token": "token"}, {}),
    ({"region_name": "eu-central-1"}, {**SAID, "region": "eu-central-1"}, {}),
    (
        {"endpoint_url": "http://minio:9000"},
        {**SAID, "endpoint": "http://minio:9000", "aws_endpoint_url_s3": "http://minio:9000"},
        {"allow_http": True},
    ),
    (
        {"endpoint_url": "https://store.example", "addressing_style": "virtual"},
        {
            **SAID,
            "endpoint": "https://bucket.store.example",
            "aws_endpoint_url_s3": "https://bucket.store.example",
            "virtual_hosted_style_request": True,
        },
        {},
    ),
    ({"addressing_style": "path"}, SAID, {}),
    ({"proxies": {"https": "http://proxy:3128"}}, SAID, {"proxy_url": "http://proxy:3128"}),
    ({"proxies": {"http": "http://proxy:3128"}}, SAID, {}),
    ({"verify": False}, SAID, {"allow_invalid_certificates": True}),
    ({"verify": True}, SAID, {}),
    (
        {"client_config": Config(s3={"addressing_style": "virtual"}, region_name="eu-west-1")},
        {**SAID, "virtual_hosted_style_request": True, "region": "eu-west-1"},
        {},
    ),
    ({"client_config": Config(signature_version=UNSIGNED)}, {"skip_signature": True}, {}),
    ({"gzip": True, "querystring_auth": False, "custom_domain": "a.example"}, SAID, {}),
]


@pytest.mark.parametrize(
    ("options", "config", "client"), S3, ids=[" ".join(case[0]) or "keys" for case in S3]
)
def test_an_s3_storage(
    made: list[StoreSettings], options: Any, config: dict[str, Any], client: dict[str, Any]
) -> None:
    storage = S3Storage(bucket_name="bucket", location="media", **KEYS, **options)
    settings = read(storage, made=made)
    assert (settings.kind, settings.bucket, settings.prefix) == ("s3", "bucket", "media")
    assert settings.config == config
    assert settings.client_options == client


def test_an_s3_storage_with_a_certificate_of_its_own(
    made: list[StoreSettings], tmp_path: Path
) -> None:
    from ...support.servers import certificate

    storage = S3Storage(bucket_name="b", verify=str(certificate().chain), **KEYS)
    settings = read(storage, made=made)
    assert settings.client_options == {"root_certificate": certificate().chain.read_bytes()}


def test_an_s3_storage_with_a_profile(
    made: list[StoreSettings], tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    (tmp_path / "credentials").write_text(
        "[media]\naws_access_key_id = a\naws_secret_access_key = b\n[empty]\n"
    )
    settings = read(S3Storage(bucket_name="b", session_profile="media"), made=made)
    assert settings.provider is not None
    given = settings.provider()
    assert (given["access_key_id"], given["secret_access_key"]) == ("a", "b")
    message = refusal(from_storage, S3Storage(bucket_name="b", session_profile="empty"), "S")
    assert "'empty'" in message
    assert "credentials=" in message


REFUSED = [
    {"client_config": Config(s3={"use_accelerate_endpoint": True})},
    {"client_config": Config(use_dualstack_endpoint=True)},
    {"client_config": Config(use_fips_endpoint=True)},
    {"client_config": Config(client_cert="/a.pem")},
    {"client_config": Config(proxies_config={"proxy_ca_bundle": "/a.pem"})},
    {"signature_version": "s3"},
    {"use_ssl": False},
    {"object_parameters": {"SSECustomerKey": "x"}},
    {"object_parameters": {"RequestPayer": "requester"}},
]
WORDS = [
    *("use_accelerate_endpoint", "use_dualstack_endpoint", "use_fips_endpoint", "client_cert"),
    *("proxies_config", "signature_version", "use_ssl", "SSECustomerKey", "RequestPayer"),
]


@pytest.mark.parametrize(("options", "word"), [*zip(REFUSED, WORDS, strict=True)], ids=WORDS)
def test_what_an_s3_storage_can_not_have_here(options: Any, word: str) -> None:
    storage = S3Storage(bucket_name="bucket", **KEYS, **options)
    message = refusal(from_storage, storage, "STORAGES['default']")
    assert message.startswith("STORAGES['default'] has ")
    assert word in message


def test_a_google_storage(made: list[StoreSettings], environment: pytest.MonkeyPatch) -> None:
    storage = GoogleCloudStorage(
        bucket_name="bucket",
        location="media",
        credentials=AnonymousCredentials(),
    )
    settings = read(storage, made=made)
    assert (settings.kind, settings.bucket, settings.prefix) == ("gs", "bucket", "media")
    assert settings.config == {"skip_signature": True}
    account = object.__new__(ServiceAccount)
    account.__dict__.update(_scopes=None, _default_scopes=None)
    environment.setattr(ServiceAccount, "with_scopes", lambda self, *a, **k: self)
    environment.setattr(ServiceAccount, "requires_scopes", property(lambda self: True))
    storage = GoogleCloudStorage(bucket_name="bucket", credentials=account)
    assert read(storage, made=made).provider is not None


class Token:
    def get_token(self, scope: str) -> AccessToken:
        assert scope == "https://storage.azure.com/.default"
        return AccessToken("token", 2_000_000_000)


AZURE = [
    (
        {"account_name": "me", "account_key": "a2V5"},
        {
            "account_name": "me",
            "account_key": "a2V5",
            "endpoint": "https://me.blob.core.windows.net",
        },
    ),
    (
        {"account_name": "me", "sas_token": "sig=a", "endpoint_suffix": "core.example"},
        {"account_name": "me", "sas_key": "sig=a", "endpoint": "https://me.blob.core.example"},
    ),
    (
        {"connection_string": "AccountName=me;AccountKey=a2V5;BlobEndpoint=http://az:10000/me;"},
        {"account_name": "me", "account_key": "a2V5", "endpoint": "http://az:10000/me"},
    ),
    (
        {"connection_string": "DefaultEndpointsProtocol=https;AccountName=me;AccountKey=a2V5=="},
        {
            "account_name": "me",
            "account_key": "a2V5==",
            "endpoint": "https://me.blob.core.windows.net",
        },
    ),
]


@pytest.mark.parametrize(("options", "config"), AZURE, ids=["key", "sas", "string", "default"])
def test_an_azure_storage(made: list[StoreSettings], options: Any, config: Any) -> None:
    from_storage(AzureStorage(azure_container="box", location="media", **options), "S")
    settings = made[-1]
    assert (settings.kind, settings.bucket, settings.prefix) == ("az", "box", "media")
    assert settings.config == config
    assert settings.client_options == (
        {"allow_http": True} if config["endpoint"].startswith("http:") else {}
    )


def test_an_azure_storage_with_a_token(made: list[StoreSettings]) -> None:
    storage = AzureStorage(azure_container="box", account_name="me", token_credential=Token())
    settings = read(storage, made=made)
    assert settings.provider is not None
    assert settings.provider()["token"] == "token"
    refused = AzureStorage(
        azure_container="box", account_name="me", account_key="a2V5", client_options={"a": 1}
    )
    assert "client_options" in refusal(from_storage, refused, "S")


@pytest.mark.parametrize(
    "storage",
    [
        S3Storage(bucket_name="b", access_key=None, secret_key=None),
        GoogleCloudStorage(bucket_name="b"),
        AzureStorage(azure_container="b", account_name="me"),
    ],
    ids=["s3", "gs", "az"],
)
def test_a_storage_without_keys_is_refused_and_both_cures_are_named(
    storage: Any, made: list[StoreSettings]
) -> None:
    message = refusal(from_storage, storage, "STORAGES['default']")
    assert message.startswith("STORAGES['default']: there are no credentials")
    assert 'credentials="instance"' in message
    assert "OPTIONS" in message
    from_storage(storage, "STORAGES['default']", "instance")
    assert made[-1].provider is None


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_a_url_without_credentials_is_refused_and_both_cures_are_named(
    scheme: str, made: list[StoreSettings]
) -> None:
    message = refusal(from_url, f"{scheme}://bucket/pre/fix/", "root")
    assert 'credentials="instance"' in message
    assert object_settings._GIVEN_BY[scheme][0][0] in message
    from_url(f"{scheme}://bucket/pre/fix/", "root", "instance")
    settings = made[-1]
    assert (settings.kind, settings.bucket, settings.prefix) == (scheme, "bucket", "pre/fix")


GIVEN = [(kind, group) for kind, groups in object_settings._GIVEN_BY.items() for group in groups]


@pytest.mark.parametrize(("kind", "group"), GIVEN, ids=[" ".join(group) for _, group in GIVEN])
def test_credentials_of_the_environment(
    environment: pytest.MonkeyPatch, kind: str, group: tuple[str, ...]
) -> None:
    for number, name in enumerate(group):
        assert "credentials" in refusal(from_url, f"{kind}://bucket", "root"), group[:number]
        environment.setenv(name, "AccountName=me;AccountKey=a2V5" if "STRING" in name else "a2V5")
    from_url(f"{kind}://bucket", "root")


def test_an_endpoint_of_the_environment(
    environment: pytest.MonkeyPatch, made: list[StoreSettings]
) -> None:
    environment.setenv("AWS_ACCESS_KEY_ID", "a")
    environment.setenv("AWS_SECRET_ACCESS_KEY", "b")
    environment.setenv("AWS_ENDPOINT_URL", "http://minio:9000")
    from_url("s3://bucket", "root")
    assert made[-1].client_options == {"allow_http": True}


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_an_endpoint_of_a_storage_counts_before_the_environments(
    environment: pytest.MonkeyPatch, made: list[StoreSettings], name: str
) -> None:
    environment.setenv(name, "http://127.0.0.1:1")
    with raw_store(lambda client, request: send_object(client, request, b"content")) as raw:
        settings = read(S3Storage(bucket_name="b", endpoint_url=raw.url, **KEYS), made=made)
        assert bytes(obstore.get(settings.make(), "a").bytes()) == b"content"


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_an_endpoint_of_the_environment_is_a_storages_that_has_none(
    environment: pytest.MonkeyPatch, made: list[StoreSettings], name: str
) -> None:
    with raw_store(lambda client, request: send_object(client, request, b"content")) as raw:
        environment.setenv(name, raw.url)
        settings = read(S3Storage(bucket_name="b", **KEYS), made=made)
        assert bytes(obstore.get(settings.make(), "a").bytes()) == b"content"


def test_an_emulator_of_the_environment(
    environment: pytest.MonkeyPatch, made: list[StoreSettings]
) -> None:
    environment.setenv("STORAGE_EMULATOR_HOST", "127.0.0.1:4443")
    from_url("gs://bucket", "root")
    assert made[-1].config == {"base_url": "http://127.0.0.1:4443", "skip_signature": True}
    assert made[-1].client_options == {"allow_http": True}


def test_a_storage_that_is_derived_is_known() -> None:
    class Own(S3Storage):  # type: ignore[misc]
        pass

    assert kind_of(Own(bucket_name="b")) == "s3"
    assert kind_of(object()) is None
    assert "bucket_name" in refusal(from_storage, Own(**KEYS), "S")
