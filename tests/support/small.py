"""A lab of several hosts seen whole: that everything runs, where the sample app is, and when a write succeeds."""

import json
import time
from collections.abc import Callable

from diego.bbs.client import BbsClient
from diego.models import BbsError
from support.faults import Faults
from support.lab import Lab
from support.observe import ask, eventually, instances, running

WHOLE_WITHIN = 180.0

Desire = Callable[..., str]
"""Desire an app of so many instances; its process guid."""

SERVER = (
    "import http.server,os,json;"
    "H=type('H',(http.server.BaseHTTPRequestHandler,),{'do_GET':lambda s:(s.send_response(200),"
    "s.end_headers(),s.wfile.write(json.dumps(dict(os.environ)).encode())),'log_message':lambda *a:None});"
    "http.server.ThreadingHTTPServer(('',8080),H).serve_forever()"
)


def until_whole(lab: Lab, faults: Faults) -> None:
    """Wait until everything runs, each lock has one holder, and the sample app runs in both zones."""
    eventually(faults.all_well, within=WHOLE_WITHIN, what="every host is well", every=1.0)
    for job in ("bbs", "auctioneer"):
        faults.holder(job)
    cells = len(lab.groups["diego-cell"])
    eventually(
        lambda: len(cells_of(lab)) == cells, within=WHOLE_WITHIN, what="every cell is present", every=1.0
    )
    eventually(
        lambda: running(lab, "web", 3), within=WHOLE_WITHIN, what="three instances of web run", every=1.0
    )
    spread(lab)
    for router in lab.routers:
        reaches_all(lab, router)


def spread(lab: Lab) -> None:
    """Nothing moves an instance whose cell lives: after a cell was lost, one goes back by being retired."""
    if len(zones(lab)) > 1:
        return
    retired = lab.diego("retire-actual-lrp", "web", "2")
    assert retired.returncode == 0, retired.stderr
    eventually(
        lambda: running(lab, "web", 3) and len(zones(lab)) > 1,
        within=90,
        what="web runs in both zones",
        every=1.0,
    )


def zones(lab: Lab) -> set[str]:
    """The zones in which an instance of the sample app runs."""
    return {cells_of(lab)[one["cell_id"]] for one in instances(lab, "web") if one["state"] == "RUNNING"}


def cells_of(lab: Lab) -> dict[str, str]:
    """The zone of each cell that is present."""
    shown = lab.diego("cells", "--json")
    assert shown.returncode == 0, shown.stderr
    rows = [json.loads(line) for line in shown.stdout.splitlines()]
    return {row["cell_id"]: row["zone"] for row in rows}


def answering(lab: Lab, router: str) -> set[str]:
    """The instances of the sample app that answer through a router."""
    pages = [ask(lab, router=router) for _ in range(12)]
    return {page.page["CF_INSTANCE_GUID"] for page in pages if page.status == 200}


def reaches_all(lab: Lab, router: str, count: int = 3) -> None:
    """Wait until all instances of the sample app answer through a router."""
    eventually(
        lambda: len(answering(lab, router)) == count, within=60, what=f"{router} reaches {count} instances"
    )


def answers(lab: Lab, host: str, router: str) -> None:
    """Wait until a router knows an app."""
    eventually(
        lambda: ask(lab, "/", host=host, router=router).status == 200,
        within=60,
        what=f"{router} knows {host}",
    )


def runs(lab: Lab, guid: str, count: int) -> list[str]:
    """Wait until an app's instances run; the cells they are on."""
    found = eventually(lambda: running(lab, guid, count), within=120, what=f"{count} instances of {guid} run")
    return [one["cell_id"] for one in found]


def first_write(bbs: BbsClient, *, within: float) -> float:
    """Write until it succeeds; the seconds that took. Each try is short, as a busy client's would be."""
    began = time.monotonic()
    while True:
        try:
            bbs.upsert_domain("first-write", 120)
        except BbsError as error:
            if time.monotonic() - began > within:
                raise AssertionError(f"no write succeeded within {within} s") from error
            time.sleep(0.1)
        else:
            return time.monotonic() - began
