"""URLs to test with: a file system in this process's memory, and an S3 server that runs here."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from augsynth.core.storage import Remote


def put(url: str, files: dict[str, bytes]) -> None:
    """Write files to a URL."""
    for name, data in files.items():
        Remote(url).write(name, data)


def held(url: str) -> dict[str, bytes]:
    """What is at a URL, but for the report of a run, which says when it was written."""
    there = Remote(url)
    names = sorted(name for name in there.list() if name not in ("report.html", "report.json"))
    return {name: there.read(name) or b"" for name in names}


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """The address of an S3 server."""
    pytest.importorskip("s3fs", reason="s3fs isn't installed")
    server = pytest.importorskip("moto.server", reason="moto's server isn't installed")
    running = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a new bucket."""
    import s3fs

    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    bucket = f"bucket-{uuid.uuid4().hex}"
    s3fs.S3FileSystem().mkdir(bucket)
    return f"s3://{bucket}"


@pytest.fixture(params=["memory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty folder; what is fetched goes to a cache of the test's own."""
    monkeypatch.setenv("AUGSYNTH_CACHE", str(tmp_path / "cache"))
    if request.param == "s3":
        return str(request.getfixturevalue("s3"))
    return f"memory://{uuid.uuid4().hex}"
