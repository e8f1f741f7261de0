"""The download and upload steps: what they move, and what they say about it (contract/executor.md section 5)."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from diego.executor.archives import BadArchive
from diego.executor.core.journal import Failure
from diego.executor.core.steps import Download, Upload
from diego.executor.core.texts import byte_size, shortened_unpack_error
from diego.executor.downloads import Checksum, DownloadFailed
from diego.executor.garden import ConnectionLost, GardenError
from diego.executor.logs import Stream
from diego.executor.settling import StepFailed
from diego.executor.stage import Stage
from diego.executor.uploads import NothingToUpload, UploadFailed, is_url
from diego.runtime.logs import get_logger

PIECE = 256 << 10

log = get_logger("rep")


async def download(step: Download, stage: Stage) -> None:
    """Fetch an archive and unpack it in the container.

    Raises:
        StepFailed: with the text that the app's log got.
    """
    if step.artifact:
        stage.log.note(f"Downloading {step.artifact}...", source=step.source)
    checksum = Checksum(step.checksum_algorithm, step.checksum_value)
    try:
        async with stage.cache.tar(step.url, step.cache_key, checksum) as kept:
            await _put_into_container(step, stage, kept.path)
            fetched = kept.fetched
    except (DownloadFailed, BadArchive, OSError) as error:
        log.error("download.failed", guid=stage.guid, error=str(error))
        text = f"Downloading {step.artifact} failed" if step.artifact else "Downloading failed"
        stage.log.note(text, source=step.source, stream=Stream.ERR)
        raise StepFailed(Failure(text)) from error
    if step.artifact:
        size = f" ({byte_size(fetched)})" if fetched is not None else ""
        stage.log.note(f"Downloaded {step.artifact}{size}", source=step.source)


async def _put_into_container(step: Download, stage: Stage, tar: Path) -> None:
    try:
        await stage.garden.stream_in(stage.guid, step.user, step.to, _pieces(tar))
    except (GardenError, ConnectionLost) as error:
        what = f"Copying {step.artifact} into" if step.artifact else "Copying into"
        text = shortened_unpack_error(f"{what} the container failed: {error}")
        stage.log.note(text, source=step.source, stream=Stream.ERR)
        raise StepFailed(Failure(text)) from error


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(path.open, "rb")
    with file:
        while piece := await asyncio.to_thread(file.read, PIECE):
            yield piece


async def upload(step: Upload, stage: Stage) -> None:
    """Send the first file of a path of the container to a URL.

    Raises:
        StepFailed: with the text that the app's log got, unless that would show the URL.
    """
    if step.artifact:
        stage.log.note(f"Uploading {step.artifact}...", source=step.source)
    try:
        size = await _send(step, stage)
    except _UploadProblem as problem:
        text = f"{problem.text} for {step.artifact}"
        if step.artifact:
            stage.log.note(text, source=step.source, stream=Stream.ERR)
        failure = Failure(problem.text, displayable=False) if problem.internal else Failure(text)
        raise StepFailed(failure) from problem
    if step.artifact:
        stage.log.note(f"Uploaded {step.artifact} ({byte_size(size)})", source=step.source)


class _UploadProblem(Exception):
    def __init__(self, text: str, *, internal: bool = False) -> None:
        super().__init__(text)
        self.text = text
        self.internal = internal


async def _send(step: Upload, stage: Stage) -> int:
    if not is_url(step.url):
        raise _UploadProblem("Failed to parse URL", internal=True)
    async with stage.uploads:
        try:
            directory = tempfile.TemporaryDirectory(dir=stage.temporary)
        except OSError as error:
            raise _UploadProblem("Failed to create temp dir") from error
        with directory as place:
            tar = Path(place) / "upload.tar"
            await _take_out(step, stage, tar)
            try:
                return await asyncio.to_thread(stage.uploader.post_first_file, tar, step.url)
            except (NothingToUpload, BadArchive) as error:
                raise _UploadProblem("Failed to find first item in tar stream") from error
            except UploadFailed as error:
                log.error("upload.failed", guid=stage.guid, error=str(error))
                raise _UploadProblem("Failed to upload payload", internal=True) from error
            except OSError as error:
                raise _UploadProblem("Failed to copy stream contents into temp file") from error


async def _take_out(step: Upload, stage: Stage, tar: Path) -> None:
    try:
        with tar.open("wb") as file:
            async for piece in stage.garden.stream_out(stage.guid, step.user, step.path):
                await asyncio.to_thread(file.write, piece)
    except (GardenError, ConnectionLost) as error:
        raise _UploadProblem("Failed to establish stream from container") from error
    except OSError as error:
        raise _UploadProblem("Failed to copy stream contents into temp file") from error
