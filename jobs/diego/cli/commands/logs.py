"""What the apps say: read from the cells that run them."""

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, urlencode

import click

from diego.cli.core.log_lines import in_order, lines
from diego.cli.faults import Fault, Status
from diego.cli.session import Session, pass_session
from diego.models.errors import BbsError, ErrorType
from diego.runtime.http import ConnectionFailed, Stream
from diego.wire.cells_pb2 import CellPresence

WAITING = 10_000


@dataclass(frozen=True, slots=True)
class Place:
    """A container's log, and the cell that has it."""

    container: str
    cell: CellPresence


@click.command("logs")
@click.argument("guid")
@click.option("-i", "--index", type=click.IntRange(min=0), default=None, help="Only this instance.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until interrupted.")
@click.option("-n", "--tail", type=click.IntRange(min=0), default=None, help="Only the last lines of each.")
@pass_session
def logs(session: Session, guid: str, index: int | None, follow: bool, tail: int | None) -> None:  # noqa: FBT001 (click's form)
    """Print what the instances of a process, an instance, or a task said. GUID is any of the three.

    Example: diego logs web --index 0 --follow

    Example: diego logs sample-task
    """
    streams = [
        stream for place in places(session, guid, index) if (stream := _open(session, place, follow, tail))
    ]
    if not streams:
        raise Fault(
            f"no cell has a log of {guid}",
            hint="`diego actual-lrps` and `diego tasks` list the guids",
            status=Status.REFUSED,
        )
    try:
        for line in _together(streams) if follow else in_order([lines(stream) for stream in streams]):
            print(line, flush=follow)
    except ConnectionFailed as error:
        raise Fault(f"the log broke off: {error}") from error
    finally:
        for stream in streams:
            stream.close()


def places(session: Session, guid: str, index: int | None) -> list[Place]:
    """Where the logs are: of a process's instances, of a task, or, of any other guid, wherever a cell has one."""
    cells = {cell.cell_id: cell for cell in session.bbs.cells()}
    instances = [
        lrp.actual_lrp_instance_key
        for lrp in sorted(
            session.bbs.actual_lrps(process_guid=guid, index=index), key=lambda lrp: lrp.actual_lrp_key.index
        )
        if lrp.actual_lrp_instance_key.instance_guid
    ]
    if instances or index is not None:
        return [Place(key.instance_guid, cells[key.cell_id]) for key in instances if key.cell_id in cells]
    try:
        cell_id = session.bbs.task(guid).cell_id
    except BbsError as error:
        if error.type is not ErrorType.RESOURCE_NOT_FOUND:
            raise
        cell_id = ""
    if cell_id in cells:
        return [Place(guid, cells[cell_id])]
    return [Place(guid, cell) for _, cell in sorted(cells.items())]


def _open(session: Session, place: Place, follow: bool, tail: int | None) -> Stream | None:  # noqa: FBT001 (click's form)
    """A log as it is handed out, or None when the cell has none of this guid."""
    query = {"follow": "1"} if follow else {}
    if tail is not None:
        query["tail"] = str(tail)
    path = f"/v1/logs/{quote(place.container, safe='')}" + (f"?{urlencode(query)}" if query else "")
    try:
        stream = session.cell(place.cell.rep_url or place.cell.rep_address).stream("GET", path)
    except (ConnectionFailed, ValueError) as error:
        raise Fault(f"cell {place.cell.cell_id} cannot be reached: {error}") from error
    if stream.status == 200:
        return stream
    stream.close()
    if stream.status == 404:
        return None
    raise Fault(f"cell {place.cell.cell_id} answers {stream.status} to {path}", status=Status.REFUSED)


def _together(streams: list[Stream]) -> Iterator[str]:
    """Lines of several logs as they come; ends when all have ended."""
    waiting: queue.Queue[str | ConnectionFailed | None] = queue.Queue(WAITING)
    for stream in streams:
        threading.Thread(target=_collect, args=(stream, waiting), name="log", daemon=True).start()
    still_open = len(streams)
    while still_open:
        line = waiting.get()
        if isinstance(line, ConnectionFailed):
            raise line
        if line is None:
            still_open -= 1
        else:
            yield line


def _collect(stream: Stream, waiting: "queue.Queue[str | ConnectionFailed | None]") -> None:
    try:
        for line in lines(stream):
            waiting.put(line)
        waiting.put(None)
    except ConnectionFailed as error:
        waiting.put(error)
