"""Credentials in URLs: none is shown or kept, and nothing else is changed."""

import pytest

from flowkd.config import dump_config
from flowkd.credentials import values_without_credentials, without_credentials
from flowkd.data.importers.table import TableConfig
from flowkd.data.manifest import LeftOut, Manifest
from flowkd.errors import DataError


@pytest.mark.parametrize(
    "url",
    [
        "https://alice:s3cret@host/a.csv",
        "https://s3cret@host/a.csv",
        "ftp://alice:p@s3cret@host/a.csv",
        "zip://a.csv::https://alice:s3cret@host/a.zip",
        "https://host/a.csv?X-Amz-Credential=s3cret&X-Amz-Signature=s3cret",
        "https://host/a.csv?x=1&sig=s3cret%2B&se=2",
        "https://host/a.csv?access_token=s3cret",
        "https://host/a.csv?x-goog-signature=s3cret",
        "https://host/a.csv?AWSAccessKeyId=s3cret&Signature=s3cret&Expires=1",
        "https://host/#token=s3cret",
        "abfs://container@account.dfs.core.windows.net/a.csv?sig=s3cret",
    ],
)
def test_secrets_are_gone_from_texts_messages_and_manifests(url):
    said = str(DataError(f"no file {url!r}: see there"))
    assert "s3cret" not in without_credentials(url) + said
    assert "a.csv" in said or "#" in said
    manifest = Manifest(
        name="a", kind="table", event_shape=(2,), splits={}, source=f"10 rows of {url}",
        config={"source": url, "more": [{"source": url}]}, remarks=[f"{url} is small"],
        left_out=[LeftOut(what="files", count=1, why=f"{url} is none", names=[url])],
    )  # fmt: skip
    assert "s3cret" not in manifest.model_dump_json()
    assert "s3cret" not in dump_config(TableConfig(name="a", source=url))


@pytest.mark.parametrize(
    "text",
    [
        "a table of user:name@host",
        "https://host/a@b.csv?columns=token&sort=key",
        "s3://bucket/prefix/key=1/token=2/a@b.parquet",
        "abfs://container@account.dfs.core.windows.net/a.csv",
        "wasbs://container@account.blob.core.windows.net/a.csv",
    ],
)
def test_what_is_no_secret_stays(text):
    assert without_credentials(text) == text
    assert values_without_credentials({"a": [text, 1, None]}) == {"a": [text, 1, None]}
