"""Globs on an object store: what they match is what the same globs match in a folder."""

import glob
import os

import obstore
import pytest
from obstore.store import S3Store

from patchmill.workflows.errors import RecipeError
from patchmill.workflows.remote_globs import list_remote

FILES = (
    "a.tif",
    "b.TIF",
    "plate1/A01/s1.tif",
    "plate1/A01/s2.tif",
    "plate1/A02/s1.tif",
    "plate1/A02/notes.txt",
    "plate1/.hidden/s1.tif",
    "plate1/A02/.s3.tif",
    "plate10/A01/s1.tif",
    "plate10/deep/er/s9.tif",
    "odd/[1] x#y %20é/s1.tif",
)
ZARR = (
    "zarr/five.zarr/zarr.json",
    "zarr/five.zarr/0/zarr.json",
    "zarr/five.zarr/0/c/0/0",
    "zarr/four.zarr/.zattrs",
    "zarr/four.zarr/.zgroup",
    "zarr/four.zarr/0/.zarray",
    "zarr/four.zarr/0/0.0",
    "zarr/sub/array.zarr/.zarray",
    "zarr/plate.zarr/.zattrs",
    "zarr/plate.zarr/A/1/0/.zattrs",
    "zarr/plate.zarr/A/1/1/.zattrs",
    "zarr/plate.zarr/A/1/1/0/.zarray",
    "zarr/beside.txt",
)


@pytest.fixture(scope="module")
def bucket(s3):
    """Options of a server whose bucket has these files."""
    store = S3Store("bucket", **s3, client_options={"allow_http": True})
    for name in (*FILES, *ZARR):
        obstore.put(store, name, b"x")
    return tuple(s3.items())


def found(pattern, bucket):
    urls = list_remote(f"s3://bucket/{pattern}", bucket)
    assert urls == sorted(set(urls))
    return [url.removeprefix("s3://bucket/") for url in urls]


@pytest.mark.parametrize(
    "pattern",
    [
        "*.tif",
        "plate1/*/s1.tif",
        "plate?/**/*.tif",
        "plate*/A0[12]/*.tif",
        "plate1/**",
        "**/s[!1].tif",
        "plate*/**/er/*",
        "plate1/A02/.s*",
        "plate1/.h*/*",
        "odd/[[]1*/*.tif",
        "odd/**/*é/s1.tif",
    ],
)
def test_they_match_what_they_match_in_a_folder(pattern, bucket, tmp_path):
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    local = glob.glob(pattern, root_dir=tmp_path, recursive=True)  # noqa: PTH207
    files = sorted(name for name in local if os.path.isfile(tmp_path / name))  # noqa: PTH113
    assert files
    assert found(pattern, bucket) == files


@pytest.mark.parametrize(
    ("pattern", "images"),
    [
        ("zarr/*.zarr", ["zarr/five.zarr", "zarr/four.zarr", "zarr/plate.zarr"]),
        ("zarr/*.zarr/", ["zarr/five.zarr", "zarr/four.zarr", "zarr/plate.zarr"]),
        ("zarr/f*/0", ["zarr/five.zarr/0", "zarr/four.zarr/0"]),
        ("zarr/plate.zarr/*/*/*", ["zarr/plate.zarr/A/1/0", "zarr/plate.zarr/A/1/1"]),
        (
            "zarr/**",
            [
                "zarr/beside.txt",
                "zarr/five.zarr",
                "zarr/four.zarr",
                "zarr/plate.zarr",
                "zarr/sub/array.zarr",
            ],
        ),
        ("**/array*", ["zarr/sub/array.zarr"]),
    ],
)
def test_zarr_folders_are_images(pattern, images, bucket):
    assert found(pattern, bucket) == images


@pytest.mark.parametrize("pattern", ["*.png", "nothing/**", "plate1/*", "zarr/five.zarr/**"])
def test_nothing(pattern, bucket):
    with pytest.raises(
        RecipeError, match=r'^images.paths: "s3://bucket/.*" matches no file; check'
    ):
        found(pattern, bucket)


def test_a_name_with_brackets(bucket, s3):
    store = S3Store("bucket", **s3, client_options={"allow_http": True})
    obstore.put(store, "tiles/[2,3].tif", b"x")
    assert found("tiles/[2,3].tif", bucket) == ["tiles/[2,3].tif"]


def test_a_url_without_wildcards_is_itself():
    for url in ("s3://bucket/plate1/a.tif", "https://host/a.tif", "https://host/a.tif?key=1"):
        assert list_remote(url, ()) == [url]


def test_only_folders_that_may_match_are_listed(bucket, monkeypatch):
    from patchmill.reader.remote_client import RemoteClient

    listed = []
    original = RemoteClient.list_folder
    monkeypatch.setattr(
        RemoteClient,
        "list_folder",
        lambda self, name: (listed.append(name), original(self, name))[1],
    )
    found("plate1/A*/*.tif", bucket)
    assert sorted(listed) == ["plate1", "plate1/A01", "plate1/A02"]
    listed.clear()
    found("zarr/**/*.txt", bucket)
    assert sorted(listed) == [
        *("zarr", "zarr/five.zarr", "zarr/four.zarr", "zarr/plate.zarr"),
        *("zarr/sub", "zarr/sub/array.zarr"),
    ]


def test_what_cannot_be_listed(bucket):
    with pytest.raises(RecipeError, match=r'^images.paths: "https://host/\*.tif" has wildcards'):
        list_remote("https://host/*.tif", ())
    with pytest.raises(RecipeError, match=r"^images.paths: s3://nobucket.* (not there|cannot be)"):
        list_remote("s3://nobucket/*.tif", bucket)
    options = (("endpoint", "http://127.0.0.1:1"), ("retry_config.max_retries", "0"))
    with pytest.raises(RecipeError, match=r"s3://bucket cannot be read .*; check the address"):
        list_remote("s3://bucket/*.tif", (*options, *bucket[1:]))
    with pytest.raises(RecipeError, match=r"images.paths: ftp://.*: is no address that is read"):
        list_remote("ftp://host/*.tif", ())
