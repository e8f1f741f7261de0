"""Downloads, archives and the cache, against a server of the test."""

import asyncio
import contextlib
import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from diego.executor.archives import BadArchive, kind_of, to_tar, unpack
from diego.executor.cache import DownloadCache
from diego.executor.downloads import Checksum, Downloader, DownloadFailed
from diego.executor.uploads import NothingToUpload, Uploader, UploadFailed, is_url
from support.executor_bench import a_tar, a_transport

NONE = Checksum()


class Assets:
    """A server: contents by path, what was asked, and how often it fails before it answers."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.plain: set[str] = set()
        self.asked: list[tuple[str, str, str | None]] = []
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.failures = 0
        self.upload_status = 201
        self.url = ""


@pytest.fixture
def assets() -> Iterator[Assets]:
    found = Assets()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found.asked.append(("GET", self.path, self.headers.get("If-None-Match")))
            content = found.contents.get(self.path)
            if found.failures > 0:
                found.failures -= 1
                self._say(503, b"")
            elif self.path == "/moved":
                self._say(301, b"", {"Location": "/there.tar"})
            elif content is None:
                self._say(404, b"")
            else:
                etag = f'"{hashlib.sha256(content).hexdigest()}"'
                headers = {} if self.path in found.plain else {"ETag": etag}
                if self.headers.get("If-None-Match") == etag:
                    self._say(304, b"", headers)
                else:
                    self._say(200, content, headers)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.received.append((dict(self.headers), body))
            self._say(found.upload_status, b"")

        def _say(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def a_cache(directory: Path, limit: int = 1 << 20) -> DownloadCache:
    downloader = Downloader(a_transport(), attempts=3, first_pause=0.001)
    return DownloadCache(directory / "cache", downloader, limit=limit, at_a_time=2)


# Archives


def a_zip(files: dict[str, bytes]) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return whole.getvalue()


def stored(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "archive"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "make", [a_tar, lambda files: a_tar(files, "w:gz"), a_zip], ids=["tar", "tgz", "zip"]
)
def test_an_archive_is_known_by_its_content_and_unpacks(tmp_path: Path, make: object) -> None:
    content = make({"a/b": b"x", "c": b"yy"})  # type: ignore[operator]  # one of three makers

    size = unpack(stored(tmp_path, content), tmp_path / "tree", 1000)

    assert size == 3
    assert (tmp_path / "tree/a/b").read_bytes() == b"x"
    assert (tmp_path / "tree/c").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    "make", [a_tar, lambda files: a_tar(files, "w:gz"), a_zip], ids=["tar", "tgz", "zip"]
)
def test_an_archive_becomes_a_plain_tar(tmp_path: Path, make: object) -> None:
    content = make({"a/b": b"x"})  # type: ignore[operator]  # one of three makers

    to_tar(stored(tmp_path, content), tmp_path / "plain.tar", 100_000)

    assert kind_of(tmp_path / "plain.tar") == "tar"
    with tarfile.open(tmp_path / "plain.tar") as tar:
        assert tar.extractfile("a/b").read() == b"x"  # type: ignore[union-attr]  # it is a file


def test_anything_else_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(BadArchive, match="unknown archive format"):
        unpack(stored(tmp_path, b"hello"), tmp_path / "tree", 1000)


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil"])
def test_nothing_is_unpacked_outside(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadArchive, match="names something outside"):
        unpack(stored(tmp_path, a_tar({name: b"x"})), tmp_path / "tree", 1000)
    assert not (tmp_path / "evil").exists()


def test_nothing_is_unpacked_through_a_link_of_the_archives_own(tmp_path: Path) -> None:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        link = tarfile.TarInfo("way")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        tar.addfile(link)
        member = tarfile.TarInfo("way/evil")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))

    with pytest.raises(BadArchive, match="goes through a link"):
        unpack(stored(tmp_path, whole.getvalue()), tmp_path / "tree", 1000)
    assert not (tmp_path / "evil").exists()


def test_a_file_replaces_a_link_of_its_name_and_does_not_follow_it(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("safe")
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        link = tarfile.TarInfo("name")
        link.type, link.linkname = tarfile.SYMTYPE, str(victim)
        tar.addfile(link)
        member = tarfile.TarInfo("name")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))

    unpack(stored(tmp_path, whole.getvalue()), tmp_path / "tree", 1000)

    assert victim.read_text() == "safe"
    assert (tmp_path / "tree/name").read_bytes() == b"x"


@pytest.mark.parametrize("make", [lambda files: a_tar(files, "w:gz"), a_zip], ids=["tgz", "zip"])
def test_a_bomb_is_stopped_at_the_limit(tmp_path: Path, make: object) -> None:
    content = make({"zeros": bytes(200_000)})  # type: ignore[operator]  # one of two makers
    archive = stored(tmp_path, content)

    with pytest.raises(BadArchive, match="larger than 100000 bytes unpacked"):
        unpack(archive, tmp_path / "tree", 100_000)
    with pytest.raises(BadArchive, match="larger than 100000 bytes unpacked"):
        to_tar(archive, tmp_path / "plain.tar", 100_000)


def test_set_id_bits_do_not_survive_and_everything_is_readable(tmp_path: Path) -> None:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        member = tarfile.TarInfo("program")
        member.size, member.mode = 1, 0o6700
        tar.addfile(member, io.BytesIO(b"x"))

    unpack(stored(tmp_path, whole.getvalue()), tmp_path / "tree", 1000)

    assert (tmp_path / "tree/program").stat().st_mode & 0o7777 == 0o744


def test_a_truncated_archive_is_bad(tmp_path: Path) -> None:
    content = a_tar({"a": b"x" * 5000}, "w:gz")

    with pytest.raises(BadArchive):
        unpack(stored(tmp_path, content[:-20]), tmp_path / "tree", 100_000)


# Downloads


def fetch(
    assets: Assets, tmp_path: Path, path: str, checksum: Checksum = NONE, limit: int = 1 << 20
) -> bytes:
    target = tmp_path / "fetched"
    downloader = Downloader(a_transport(), attempts=3, first_pause=0.001)
    downloader.fetch(
        f"{assets.url}{path}", target, checksum=checksum, limit=limit, cancelled=threading.Event()
    )
    return target.read_bytes()


def test_a_download_is_tried_again_after_a_failure(assets: Assets, tmp_path: Path) -> None:
    assets.contents["/x"] = b"content"
    assets.failures = 2

    assert fetch(assets, tmp_path, "/x") == b"content"
    assert len(assets.asked) == 3


def test_a_download_follows_redirects(assets: Assets, tmp_path: Path) -> None:
    assets.contents["/there.tar"] = b"content"

    assert fetch(assets, tmp_path, "/moved") == b"content"


def test_a_download_gives_up_with_the_status(assets: Assets, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="Download failed: Status code 404"):
        fetch(assets, tmp_path, "/missing")


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256"])
def test_checksums_are_compared_and_may_be_quoted(assets: Assets, tmp_path: Path, algorithm: str) -> None:
    assets.contents["/x"] = b"content"
    value = hashlib.new(algorithm, b"content").hexdigest()

    assert fetch(assets, tmp_path, "/x", Checksum(algorithm, f'"{value}"')) == b"content"


@pytest.mark.parametrize(
    "checksum", [Checksum("sha256", "00"), Checksum("sha512", "00"), Checksum("md5", "")]
)
def test_a_wrong_checksum_is_not_tried_again(assets: Assets, tmp_path: Path, checksum: Checksum) -> None:
    assets.contents["/x"] = b"content"

    with pytest.raises(DownloadFailed, match=r"^Checksum failed:"):
        fetch(assets, tmp_path, "/x", checksum)
    assert len(assets.asked) == 1


def test_a_download_over_the_limit_is_refused(assets: Assets, tmp_path: Path) -> None:
    assets.contents["/x"] = bytes(2000)

    with pytest.raises(DownloadFailed, match="larger than 1000 bytes"):
        fetch(assets, tmp_path, "/x", limit=1000)


# The cache


def test_a_dependency_is_fetched_once_and_then_asked_for(assets: Assets, tmp_path: Path) -> None:
    assets.contents["/x"] = a_tar({"f": b"1"}, "w:gz")

    async def scene() -> None:
        cache = a_cache(tmp_path)
        first, second = await asyncio.gather(
            cache.tree(f"{assets.url}/x", "key", NONE), cache.tree(f"{assets.url}/x", "key", NONE)
        )
        assert first.name == second.name
        assert (second.fetched if first.fetched else first.fetched) is None
        assert (first.path / "f").read_bytes() == b"1"

    asyncio.run(scene())

    assert [asked[2] is None for asked in assets.asked] == [True, False]


def test_a_changed_asset_is_fetched_anew_and_the_old_one_stays_while_it_is_used(
    assets: Assets, tmp_path: Path
) -> None:
    assets.contents["/x"] = a_tar({"f": b"1"})

    async def scene() -> None:
        cache = a_cache(tmp_path)
        first = await cache.tree(f"{assets.url}/x", "key", NONE)
        assets.contents["/x"] = a_tar({"f": b"2"})
        second = await cache.tree(f"{assets.url}/x", "key", NONE)
        assert (first.path / "f").read_bytes() == b"1"
        assert (second.path / "f").read_bytes() == b"2"
        cache.release(first.name)
        assets.contents["/x"] = a_tar({"f": b"3"})
        await cache.tree(f"{assets.url}/x", "key", NONE)
        assert not first.path.exists()
        assert second.path.exists()

    asyncio.run(scene())


def test_an_asset_without_etag_cannot_be_a_dependency(assets: Assets, tmp_path: Path) -> None:
    assets.contents["/x"] = a_tar({"f": b"1"})
    assets.plain.add("/x")

    async def scene() -> None:
        with pytest.raises(DownloadFailed, match="cannot be cached"):
            await a_cache(tmp_path).tree(f"{assets.url}/x", "key", NONE)

    asyncio.run(scene())

    assert list((tmp_path / "cache").iterdir()) == []


def test_a_download_without_a_key_leaves_nothing(assets: Assets, tmp_path: Path) -> None:
    assets.contents["/x"] = a_tar({"f": b"1"}, "w:gz")

    async def scene() -> None:
        async with a_cache(tmp_path).tar(f"{assets.url}/x", "", NONE) as kept:
            assert kind_of(kept.path) == "tar"

    asyncio.run(scene())

    assert list((tmp_path / "cache").iterdir()) == []


def test_a_restarted_rep_knows_its_cache_and_removes_what_was_cut_off(assets: Assets, tmp_path: Path) -> None:
    assets.contents["/x"] = a_tar({"f": b"1"})

    async def first_life() -> str:
        return (await a_cache(tmp_path).tree(f"{assets.url}/x", "key", NONE)).name

    name = asyncio.run(first_life())
    (tmp_path / "cache" / "cut-off.part").write_text("x")

    async def second_life() -> None:
        cache = a_cache(tmp_path)
        cache.recover()
        kept = await cache.tree(f"{assets.url}/x", "key", NONE)
        assert (kept.name, kept.fetched) == (name, None)

    asyncio.run(second_life())

    assert {path.name for path in (tmp_path / "cache").iterdir()} == {name, "index.json"}


def test_a_damaged_index_empties_the_cache(assets: Assets, tmp_path: Path) -> None:
    cache = a_cache(tmp_path)
    (tmp_path / "cache" / "index.json").write_text("{nonsense")
    (tmp_path / "cache" / "old.tree").mkdir()

    cache.recover()

    assert not (tmp_path / "cache" / "old.tree").exists()


def test_the_cache_stays_below_its_limit(assets: Assets, tmp_path: Path) -> None:
    async def scene() -> None:
        cache = a_cache(tmp_path, limit=30_000)
        for number in range(6):
            assets.contents[f"/{number}"] = a_tar({"f": bytes(8_000)})
            kept = await cache.tree(f"{assets.url}/{number}", f"key-{number}", NONE)
            cache.release(kept.name)

    asyncio.run(scene())

    files = list((tmp_path / "cache").rglob("f"))
    assert 0 < sum(path.stat().st_size for path in files) <= 30_000


def test_a_cancelled_download_ends(assets: Assets, tmp_path: Path) -> None:
    assets.failures = 1000

    async def scene() -> None:
        downloader = Downloader(a_transport(), attempts=100, first_pause=0.05)
        cache = DownloadCache(tmp_path / "cache", downloader, limit=1000, at_a_time=1)
        task = asyncio.ensure_future(cache.tree(f"{assets.url}/x", "key", NONE))
        await asyncio.sleep(0.1)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.2)
        asked = len(assets.asked)
        await asyncio.sleep(0.2)
        assert len(assets.asked) == asked

    asyncio.run(scene())


# Uploads


def uploaded(assets: Assets, tmp_path: Path, tar: bytes) -> int:
    path = tmp_path / "up.tar"
    path.write_bytes(tar)
    return Uploader(a_transport()).post_first_file(path, f"{assets.url}/upload")


def test_an_upload_sends_the_first_file_with_its_digests(assets: Assets, tmp_path: Path) -> None:
    assert uploaded(assets, tmp_path, a_tar({"first": b"hello", "second": b"x"})) == 5

    headers, body = assets.received[0]
    assert body == b"hello"
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-MD5"] == "XUFAKrxLKna5cZ2REBfFkg=="
    assert headers["Content-Digest"] == "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:"


def test_an_upload_is_tried_three_times(assets: Assets, tmp_path: Path) -> None:
    assets.upload_status = 500

    with pytest.raises(UploadFailed, match="Upload failed: Status code 500"):
        uploaded(assets, tmp_path, a_tar({"first": b"hello"}))
    assert [body for _, body in assets.received] == [b"hello"] * 3


def test_an_empty_tar_uploads_nothing(assets: Assets, tmp_path: Path) -> None:
    with pytest.raises(NothingToUpload):
        uploaded(assets, tmp_path, a_tar({}))


def test_what_an_upload_takes_for_a_url() -> None:
    assert is_url("https://host/x")
    assert not is_url("host/x")
    assert not is_url("http://[bad")
