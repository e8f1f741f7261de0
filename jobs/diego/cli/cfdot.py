"""The entry of `cfdot`: the original's operator tool, for scripts that were written for it.

The same commands, flags and environment variables (contract/config-and-metrics.md section 10), JSON on standard output
and nothing else there, the same exit statuses. `diego` is for people; both share their clients. What differs is in
docs/operations/cli.md.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
import urllib3
from google.protobuf.message import Message

from diego.bbs.client import BbsClient, EndpointNotFound, Event, Unreachable
from diego.cli.asking import Asker, NotAnswered, caller
from diego.cli.commands.options import cell_option, domain_option
from diego.cli.faults import Status
from diego.locket.client import LOCK, PRESENCE, LocketClient, LocketError
from diego.models.errors import BbsError
from diego.wire.actual_lrp_pb2 import ActualLRPKey
from diego.wire.cells_pb2 import CellPresence
from diego.wire.desired_lrp_pb2 import DesiredLRP, DesiredLRPUpdate
from diego.wire.error_pb2 import Error
from diego.wire.gojson import GoJsonError, from_go, to_go
from diego.wire.task_pb2 import Task

C = TypeVar("C", bound=Callable[..., None])
M = TypeVar("M", bound=Message)

NO_TIMEOUT = 86_400.0
"""Seconds: the original waits for ever."""

CELL_SECONDS = 10.0
TRUE, FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")


class CfdotError(Exception):
    """What is told on standard error, with the command's usage where arguments are wrong, and the status."""

    def __init__(self, text: str, status: Status) -> None:
        super().__init__(text)
        self.status = status
        self.usage = ""


def invalid(text: str) -> CfdotError:
    """Arguments or variables that cannot be used."""
    return CfdotError(text, Status.BAD_ARGUMENTS)


class Common:
    """The flags that all commands share, and the clients made of them."""

    def __init__(self, flags: Mapping[str, Any]) -> None:
        self._flags = flags
        self._made: list[BbsClient | LocketClient] = []

    def close(self) -> None:
        """Give back the connections that were made."""
        for client in self._made:
            client.close()

    def bbs(self) -> BbsClient:
        """Raises CfdotError."""
        url = self._value("bbs_url", "BBS_URL")
        if not url:
            raise invalid(
                "BBS URL not set. Please specify one with the '--bbsURL' flag or the 'BBS_URL' environment variable."
            )
        if not url.startswith(("https://", "http://")):
            raise invalid(
                f"The URL '{url}' does not have an 'http' or 'https' scheme. Please specify one with the '--bbsURL'"
                " flag or the 'BBS_URL' environment variable."
            )
        secure = url.startswith("https://")
        tls = self._tls("BBS_", "if using HTTPS and --skipCertVerify is not set") if secure else None
        try:
            client = BbsClient(url, tls=tls, timeout=self.timeout, attempts=1)
        except ValueError as error:
            raise invalid(str(error)) from error
        self._made.append(client)
        return client

    def locket(self) -> LocketClient:
        """Raises CfdotError."""
        address = self._value("locket_api_location", "LOCKET_API_LOCATION")
        if not address:
            raise invalid(
                "Locket API Location not set. Please specify one with the '--locketAPILocation' flag or the"
                " 'LOCKET_API_LOCATION' environment variable."
            )
        if self._skips_verification():
            raise invalid("Locket is only called with its certificate verified; please give --caCertFile")
        ca, cert, key = self._files("LOCKET_", "if --skipCertVerify is not set")
        try:
            client = LocketClient(address, ca_file=ca, cert_file=cert, key_file=key, timeout=self.timeout)
        except (OSError, ValueError) as error:
            raise invalid(str(error)) from error
        self._made.append(client)
        return client

    def cell(self) -> Asker:
        """Asks cells. Raises CfdotError."""
        tls = self._tls("BBS_", "if using HTTPS and --skipCertVerify is not set")
        return Asker(tls, min(self.timeout, CELL_SECONDS))

    @property
    def timeout(self) -> float:
        """Seconds for one call."""
        given = self._flags["timeout"] or os.environ.get("CFDOT_TIMEOUT") or 0
        try:
            return float(int(given)) or NO_TIMEOUT
        except ValueError as error:
            raise invalid(f"CFDOT_TIMEOUT: {error}") from error

    def _tls(self, older: str, when: str) -> Any:
        skips = self._skips_verification()
        if skips:
            # What the library would warn of is what was asked for.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        ca, cert, key = self._files(older, when, ca_needed=not skips)
        try:
            return caller(cert, key, ca, verify=not skips)
        except ValueError as error:
            raise invalid(str(error)) from error

    def _files(self, older: str, when: str, *, ca_needed: bool = True) -> tuple[str, str, str]:
        """CA, certificate and key. The variables of the oldest releases, `BBS_CERT_FILE` and so on, count too."""
        ca = self._value("ca_cert_file", "CA_CERT_FILE", f"{older}CA_CERT_FILE")
        cert = self._value("client_cert_file", "CLIENT_CERT_FILE", f"{older}CERT_FILE")
        key = self._value("client_key_file", "CLIENT_KEY_FILE", f"{older}KEY_FILE")
        if ca_needed and not ca:
            raise invalid(f"--caCertFile must be specified {when}")
        if not cert or not key:
            raise invalid("--clientCertFile and --clientKeyFile must both be specified for TLS connections.")
        for what, name in (("CA cert", ca if ca_needed else ""), ("key", key), ("cert", cert)):
            if name:
                _readable(what, name)
        return ca, cert, key

    def _value(self, flag: str, *variables: str) -> str:
        given = self._flags[flag] or next(
            (os.environ[name] for name in variables if os.environ.get(name)), ""
        )
        return str(given)

    def _skips_verification(self) -> bool:
        if self._flags["skip_cert_verify"] is not None:
            return bool(self._flags["skip_cert_verify"])
        text = os.environ.get("SKIP_CERT_VERIFY", "")
        if text and text not in (*TRUE, *FALSE):
            raise invalid(
                f"The value '{text}' is not a valid value for SKIP_CERT_VERIFY. Please specify one of the following"
                f" valid boolean values: {', '.join((*TRUE, *FALSE))}"
            )
        return text in TRUE


def _readable(what: str, name: str) -> None:
    try:
        Path(name).open("rb").close()
    except OSError as error:
        raise invalid(f"{what} file '{name}' doesn't exist or is not readable: {error.strerror}") from error


COMMON = [
    click.Option(["--bbsURL", "bbs_url"], default="", help="URL of the BBS. [BBS_URL]"),
    click.Option(
        ["--locketAPILocation", "locket_api_location"],
        default="",
        help="Locket, HOST:PORT. [LOCKET_API_LOCATION]",
    ),
    click.Option(
        ["--caCertFile", "--bbsCACertFile", "--locketCACertFile", "ca_cert_file"],
        default="",
        help="Whom to trust. [CA_CERT_FILE]",
    ),
    click.Option(
        ["--clientCertFile", "--bbsCertFile", "--locketCertFile", "client_cert_file"],
        default="",
        help="Who calls. [CLIENT_CERT_FILE]",
    ),
    click.Option(
        ["--clientKeyFile", "--bbsKeyFile", "--locketKeyFile", "client_key_file"],
        default="",
        help="Its key. [CLIENT_KEY_FILE]",
    ),
    click.Option(
        ["--skipCertVerify", "--bbsSkipCertVerify", "--locketSkipCertVerify", "skip_cert_verify"],
        is_flag=True,
        default=None,
        help="Trust everybody. [SKIP_CERT_VERIFY]",
    ),
    click.Option(
        ["--timeout"], type=int, default=0, help="Seconds for one call; 0: for ever. [CFDOT_TIMEOUT]"
    ),
]


class CfdotCommand(click.Command):
    """A command with the common flags behind its own."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.params.extend(COMMON)

    def invoke(self, ctx: click.Context) -> Any:
        flags = {option.name: ctx.params.pop(option.name) for option in COMMON if option.name}
        common = Common(flags)
        try:
            return None if self.callback is None else ctx.invoke(self.callback, common, **ctx.params)
        except CfdotError as error:
            error.usage = ctx.get_usage() if error.status is Status.BAD_ARGUMENTS else ""
            raise
        finally:
            common.close()


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def cfdot() -> None:
    """A command-line tool to interact with a Cloud Foundry Diego deployment, as the original of this name."""


def command(name: str) -> Callable[[C], click.Command]:
    return cfdot.command(name, cls=CfdotCommand)


spec_argument = click.argument("spec", metavar="(SPEC|@FILE)")


def holder_options(command: C) -> C:
    """What is held in Locket, and by whom."""
    key = click.option("--key", "-k", default="", help="The key.")
    owner = click.option("--owner", "-o", default="", help="The owner.")
    return key(owner(command))


def claim_options(command: C) -> C:
    value = click.option("--value", "-v", default="", help="The value that goes with the key.")
    ttl = click.option("--ttl", "-t", type=int, default=0, help="Seconds to live.")
    return holder_options(value(ttl(command)))


def line(value: Any) -> None:
    """One value as Go's encoder writes it."""
    shown = to_go(value) if isinstance(value, Message) else value
    text = json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
    print(as_go(text), flush=True)


def as_go(text: str) -> str:
    """JSON in which what could end a script or a line of HTML is escaped, as Go's encoder does."""
    for character in "<>&\u2028\u2029":
        if character in text:
            text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def lines(values: Iterable[Any]) -> None:
    for value in values:
        line(value)


def given(text: str, what: str) -> str:
    """An argument that must not be empty."""
    if not text:
        raise invalid(f"{what} should be non empty string")
    return text


def number(text: str) -> int:
    """An index."""
    if not text.isdecimal():
        raise invalid("Index must be a non-negative integer")
    return int(text)


def spec_of(cls: type[M], text: str) -> M:
    """A record from JSON text or from @FILE; keys that it does not have are ignored, as in Go."""
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise invalid(str(error)) from error
    try:
        return from_go(cls, json.loads(text))
    except (GoJsonError, ValueError) as error:
        raise invalid(f"Invalid JSON: {error}") from error


# ---- cells and domains


@command("cells")
def cells(common: Common) -> None:
    """List registered cell presences."""
    lines(common.bbs().cells())


@command("cell")
@click.argument("cell_id")
def cell(common: Common, cell_id: str) -> None:
    """Show the specified cell presence."""
    line(_registered(common, cell_id))


@command("cell-states")
def cell_states(common: Common) -> None:
    """Show cell states for all cells."""
    asker, faults = common.cell(), []
    for each in common.bbs().cells():
        try:
            line(_state(asker, each))
        except NotAnswered as error:
            faults.append(f"Rep error: Failed to get cell state for cell {each.cell_id}: {error}")
    if faults:
        raise CfdotError("\n".join(faults), Status.REFUSED)


@command("cell-state")
@click.argument("cell_id")
def cell_state(common: Common, cell_id: str) -> None:
    """Show the specified cell state."""
    try:
        line(_state(common.cell(), _registered(common, cell_id)))
    except NotAnswered as error:
        raise CfdotError(
            f"Rep error: Failed to get cell state for cell {cell_id}: {error}", Status.REFUSED
        ) from error


def _registered(common: Common, cell_id: str) -> CellPresence:
    for each in common.bbs().cells():
        if each.cell_id == cell_id:
            return each
    raise CfdotError("Cell not found", Status.FAILED)


def _state(asker: Asker, presence: CellPresence) -> Any:
    return asker.json(presence.rep_url or presence.rep_address, "/state")


@command("domains")
def domains(common: Common) -> None:
    """List domains."""
    lines(common.bbs().domains())


@command("set-domain")
@click.argument("domain")
@click.option("--ttl", "-t", default="", help="Seconds that the domain stays fresh; without it for ever.")
def set_domain(common: Common, domain: str, ttl: str) -> None:
    """Set domain: keep it fresh for the seconds given, or for ever."""
    if not domain:
        raise invalid("No domain given")
    try:
        seconds = int(ttl or "0")
    except ValueError as error:
        raise invalid("ttl is non-numeric") from error
    if seconds < 0:
        raise invalid("ttl is negative")
    common.bbs().upsert_domain(domain, seconds)


# ---- LRPs


@command("desired-lrps")
@domain_option
def desired_lrps(common: Common, domain: str) -> None:
    """List desired LRPs."""
    lines(common.bbs().desired_lrps(domain=domain))


@command("desired-lrp")
@click.argument("process_guid")
def desired_lrp(common: Common, process_guid: str) -> None:
    """Show the specified desired LRP."""
    line(common.bbs().desired_lrp(given(process_guid, "Process guid")))


@command("desired-lrp-scheduling-infos")
@domain_option
def desired_lrp_scheduling_infos(common: Common, domain: str) -> None:
    """List desired LRP scheduling infos."""
    lines(common.bbs().desired_lrp_scheduling_infos(domain=domain))


@command("create-desired-lrp")
@spec_argument
def create_desired_lrp(common: Common, spec: str) -> None:
    """Create a desired LRP."""
    wanted = spec_of(DesiredLRP, spec)
    common.bbs().desire_lrp(wanted)


@command("update-desired-lrp")
@click.argument("process_guid")
@spec_argument
def update_desired_lrp(common: Common, process_guid: str, spec: str) -> None:
    """Update a desired LRP."""
    update = spec_of(DesiredLRPUpdate, spec)
    common.bbs().update_desired_lrp(process_guid, update)


@command("delete-desired-lrp")
@click.argument("process_guid")
def delete_desired_lrp(common: Common, process_guid: str) -> None:
    """Delete a desired LRP."""
    common.bbs().remove_desired_lrp(given(process_guid, "Process guid"))


@command("actual-lrps")
@domain_option
@cell_option
@click.option("--process-guid", "-p", "process_guid", default="", help="Only those of this process.")
@click.option("--index", "-i", type=int, default=None, help="Only those of this index.")
def actual_lrps(common: Common, domain: str, cell_id: str, process_guid: str, index: int | None) -> None:
    """List actual LRPs."""
    lines(common.bbs().actual_lrps(domain=domain, cell_id=cell_id, process_guid=process_guid, index=index))


@command("actual-lrp-groups")
@domain_option
@cell_option
def actual_lrp_groups(common: Common, domain: str, cell_id: str) -> None:
    """List actual LRP groups."""
    lines(common.bbs().actual_lrp_groups(domain=domain, cell_id=cell_id))


@command("actual-lrp-groups-for-guid")
@click.argument("process_guid")
@click.option("--index", "-i", default="", help="Only this index.")
def actual_lrp_groups_for_guid(common: Common, process_guid: str, index: str) -> None:
    """List actual LRP groups for a process guid."""
    given(process_guid, "Process guid")
    if index:
        line(common.bbs().actual_lrp_group(process_guid, number(index)))
    else:
        lines(common.bbs().actual_lrp_groups_by_process_guid(process_guid))


@command("retire-actual-lrp")
@click.argument("process_guid")
@click.argument("index")
def retire_actual_lrp(common: Common, process_guid: str, index: str) -> None:
    """Retire actual LRP by index and process guid."""
    given(process_guid, "Process guid")
    at = number(index)
    bbs = common.bbs()
    domain = bbs.desired_lrp(process_guid).domain
    bbs.retire_actual_lrp(ActualLRPKey(process_guid=process_guid, index=at, domain=domain))


@command("lrp-events")
@cell_option
@click.option(
    "--exclude-actual-lrp-groups", "-x", "without_groups", is_flag=True, help="Instance events alone."
)
def lrp_events(common: Common, cell_id: str, without_groups: bool) -> None:  # noqa: FBT001 (click's form)
    """Subscribe to BBS LRP events."""
    bbs = common.bbs()
    with bbs.lrp_instance_events(cell_id) if without_groups else bbs.lrp_group_events(cell_id) as stream:
        _follow(stream)


# ---- tasks


@command("tasks")
@domain_option
@cell_option
def tasks(common: Common, domain: str, cell_id: str) -> None:
    """List tasks in BBS."""
    lines(common.bbs().tasks(domain=domain, cell_id=cell_id))


@command("task")
@click.argument("task_guid")
def task(common: Common, task_guid: str) -> None:
    """Display task."""
    line(common.bbs().task(given(task_guid, "Task guid")))


@command("create-task")
@spec_argument
def create_task(common: Common, spec: str) -> None:
    """Create a Task."""
    wanted = spec_of(Task, spec)
    common.bbs().desire_task(wanted.task_guid, wanted.domain, wanted.task_definition)


@command("cancel-task")
@click.argument("task_guid")
def cancel_task(common: Common, task_guid: str) -> None:
    """Cancel task."""
    common.bbs().cancel_task(given(task_guid, "Task guid"))


@command("delete-task")
@click.argument("task_guid")
def delete_task(common: Common, task_guid: str) -> None:
    """Delete a Task."""
    bbs = common.bbs()
    bbs.resolving_task(given(task_guid, "Task guid"))
    bbs.delete_task(task_guid)


@command("task-events")
def task_events(common: Common) -> None:
    """Subscribe to BBS Task events."""
    with common.bbs().task_events() as stream:
        _follow(stream)


def _follow(stream: Iterator[Event]) -> None:
    for event in stream:
        line({"type": event.name, "data": to_go(event.message)})


# ---- Locket


@command("locks")
def locks(common: Common) -> None:
    """List Locket locks."""
    lines(common.locket().fetch_all(LOCK))


@command("presences")
def presences(common: Common) -> None:
    """List Locket presences."""
    lines(common.locket().fetch_all(PRESENCE))


@command("claim-lock")
@claim_options
def claim_lock(common: Common, key: str, owner: str, value: str, ttl: int) -> None:
    """Claim Locket lock."""
    _check_claim(key, owner, ttl)
    common.locket().lock(key, owner, value=value, kind=LOCK, ttl=ttl)


@command("claim-presence")
@claim_options
def claim_presence(common: Common, key: str, owner: str, value: str, ttl: int) -> None:
    """Claim Locket presence."""
    _check_claim(key, owner, ttl)
    common.locket().lock(key, owner, value=value, kind=PRESENCE, ttl=ttl)


@command("release-lock")
@holder_options
def release_lock(common: Common, key: str, owner: str) -> None:
    """Release Locket lock."""
    _check_holder(key, owner)
    common.locket().release(key, owner)


@command("release-presence")
@holder_options
def release_presence(common: Common, key: str, owner: str) -> None:
    """Release Locket presence."""
    _check_holder(key, owner)
    common.locket().release(key, owner)


def _check_holder(key: str, owner: str) -> None:
    if not key:
        raise invalid("key cannot be empty")
    if not owner:
        raise invalid("owner cannot be empty")


def _check_claim(key: str, owner: str, ttl: int) -> None:
    _check_holder(key, owner)
    if ttl <= 0:
        raise invalid("ttl should be an integer greater than zero")


# ---- the entry


@cfdot.command("help")
@click.argument("name", required=False)
@click.pass_context
def show_help(context: click.Context, name: str | None) -> None:
    """Get help on [command]."""
    found = cfdot.get_command(context, name) if name else None
    if name and found is None:
        raise click.UsageError(f'unknown command "{name}" for "cfdot"', context.parent)
    top = context.find_root()
    print(cfdot.get_help(top) if found is None else found.get_help(click.Context(found, top, name)))


def main(words: Sequence[str] | None = None) -> None:
    """Run a command and end the process with its status."""
    from diego.cli.session import quiet

    quiet()
    try:
        cfdot.main(None if words is None else list(words), "cfdot", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
    except click.UsageError as error:
        fail(error.format_message(), Status.BAD_ARGUMENTS, error.ctx.get_usage() if error.ctx else "")
    except click.ClickException as error:
        fail(error.format_message(), Status.BAD_ARGUMENTS)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(Status.INTERRUPTED)
    except CfdotError as error:
        fail(str(error), error.status, error.usage)
    except (Unreachable, EndpointNotFound) as error:
        fail(error.message, Status.FAILED)
    except BbsError as error:
        fail(
            f"BBS error\nType {int(error.type)}: {_type_name(error)}\nMessage: {error.message}",
            Status.REFUSED,
        )
    except LocketError as error:
        code = "".join(part.capitalize() for part in error.code.split("_"))
        fail(f"rpc error: code = {code} desc = {error.text}", Status.REFUSED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _type_name(error: BbsError) -> str:
    return Error.Type.Name(int(error.type))  # type: ignore[arg-type]  # the stubs want the enum's own int type


def fail(text: str, status: Status, usage: str = "") -> NoReturn:
    """Say what is wrong, and end."""
    print(f"Error: {text}", file=sys.stderr)
    if usage:
        print(usage, file=sys.stderr)
    sys.exit(int(status))


if __name__ == "__main__":
    main()
