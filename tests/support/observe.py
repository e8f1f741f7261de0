"""What an outsider sees of a deployed lab: requests that fail, and processes that are not the same any more."""

import http.client
import json
import shlex
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Answering(Protocol):
    """What the observers need of a lab."""

    env: dict[str, str]

    def run(self, command: str, host: str | None = None, timeout: float = 30) -> "Result": ...

    def diego(self, *words: str, timeout: float = 60, stdin: str | None = None) -> "Result": ...

    def nonce(self) -> str: ...

    def containers(self, host: str | None = None) -> str: ...


class Result(Protocol):
    @property
    def stdout(self) -> str: ...
    @property
    def stderr(self) -> str: ...
    @property
    def returncode(self) -> int: ...


@dataclass(frozen=True)
class Answer:
    """One request to the sample app, as its page tells it."""

    status: int
    body: str

    @property
    def page(self) -> dict[str, str]:
        page: dict[str, str] = json.loads(self.body)
        return page


def ask(
    lab: Answering,
    path: str = "/json",
    host: str | None = None,
    timeout: float = 5.0,
    router: str | None = None,
) -> Answer:
    """One request through the router, or through the one at `router`, on a connection of its own."""
    address, _, port = (router or lab.env["ROUTER_ADDRESS"]).partition(":")
    connection = http.client.HTTPConnection(address, int(port or 80), timeout=timeout)
    try:
        connection.request("GET", path, headers={"Host": host or f"web.{lab.env['APPS_DOMAIN']}"})
        response = connection.getresponse()
        return Answer(response.status, response.read().decode())
    finally:
        connection.close()


@dataclass
class Poll:
    """The requests of a poller: how many, and which failed, with the second they failed in."""

    asked: int = 0
    failed: list[str] = field(default_factory=list)


@contextmanager
def polling(
    lab: Answering, per_second: float = 20.0, host: str | None = None, router: str | None = None
) -> Iterator[Poll]:
    """Ask the sample app all the time, on an absolute schedule; what is not a 200 is a failure."""
    poll, stop = Poll(), threading.Event()

    def go_on() -> None:
        began = time.monotonic()
        while not stop.is_set():
            wait = began + poll.asked / per_second - time.monotonic()
            if wait > 0 and stop.wait(wait):
                return
            poll.asked += 1
            try:
                answer = ask(lab, host=host, router=router)
            except (OSError, http.client.HTTPException) as error:
                poll.failed.append(f"{time.monotonic() - began:.2f} s: {type(error).__name__} {error}")
            else:
                if answer.status != 200:
                    poll.failed.append(
                        f"{time.monotonic() - began:.2f} s: {answer.status} {answer.body[:120]}"
                    )

    thread = threading.Thread(target=go_on, name="poller")
    thread.start()
    try:
        yield poll
    finally:
        stop.set()
        thread.join(timeout=15)


def eventually(fact: Callable[[], T], *, within: float, what: str, every: float = 0.2) -> T:
    """Wait until `fact` gives something true, and return it; say what never came."""
    deadline = time.monotonic() + within
    last: object = None
    while time.monotonic() < deadline:
        try:
            found = fact()
        except (OSError, http.client.HTTPException, ValueError) as error:
            last = error
        else:
            if found:
                return found
            last = found
        time.sleep(every)
    raise AssertionError(f"{what}: not within {within} s, last seen: {last!r}")


def instances(lab: Answering, process_guid: str) -> list[dict[str, Any]]:
    """The ActualLRPs of a process as the command line's programs get them."""
    listed = lab.diego("actual-lrps", "--json", "--process-guid", process_guid)
    assert listed.returncode == 0, listed.stderr
    return [json.loads(line) for line in listed.stdout.splitlines()]


def running(lab: Answering, process_guid: str, count: int) -> list[dict[str, Any]]:
    """The instances when exactly `count` are there and each runs, else nothing."""
    found = instances(lab, process_guid)
    return found if len(found) == count and all(one["state"] == "RUNNING" for one in found) else []


@dataclass(frozen=True, order=True)
class Process:
    """A process of a host: who it is, whatever is reused later. `began` is in clock ticks since boot."""

    pid: int
    began: int
    parent: int
    words: str


def processes(lab: Answering, having: str, host: str | None = None) -> list[Process]:
    """The host's processes whose command line has `having`, oldest first; the looking itself left out."""
    script = (
        "import os,sys\n"
        "for p in filter(str.isdigit, os.listdir('/proc')):\n"
        "  try:\n"
        "    w=open('/proc/%s/cmdline'%p,'rb').read().replace(b'\\0',b' ').decode(errors='replace')\n"
        "    s=open('/proc/%s/stat'%p).read().rpartition(')')[2].split()\n"
        "  except OSError: continue\n"
        "  if s[0]!='Z' and int(p)!=os.getpid(): print(p,s[19],s[1],w)\n"
    )
    found = lab.run(f"python3 -c {shlex.quote(script)}", host=host)
    assert found.returncode == 0, found.stderr
    rows = (line.split(" ", 3) for line in found.stdout.splitlines())
    every = [Process(int(r[0]), int(r[1]), int(r[2]), r[3].strip()) for r in rows if len(r) == 4]
    return sorted(
        (one for one in every if having in one.words and "python3 -c import os,sys" not in one.words),
        key=lambda one: one.began,
    )
