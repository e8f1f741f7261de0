"""`scripts/upgrade`: upgrade a lab under load, and say whether anybody noticed.

    python -m upgrade LAB [--keep] [words for ansible-playbook...]

Runs where the lab's names resolve (scripts/in-lab). The status is 0 when every row of the verdict holds.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import yaml
from lab.cgroups import Cgroups

from support.lab import CHECKOUT, Lab
from upgrade import watcher
from upgrade.traffic import App, LoadBalancer, Traffic, failures, not_found_spans
from upgrade.watcher import Watched, Watcher

PER_SECOND = 20.0
MOST_NOT_FOUND = 1.0
MOST_UNSEEN = 0.25
CALM_BEFORE, CALM_AFTER = 5.0, 5.0
ROUTES_PATIENCE = 120.0
APPS = (("two-a", 2), ("two-b", 2), ("one-a", 1), ("one-b", 1))


@dataclass(frozen=True, slots=True)
class Row:
    what: str
    wanted: str
    seen: str
    good: bool


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/upgrade", description=__doc__)
    parser.add_argument("lab")
    parser.add_argument("words", nargs=argparse.REMAINDER, help="further words for ansible-playbook")
    asked = parser.parse_args()
    lab = Lab(asked.lab)
    return asyncio.run(upgrade(lab, asked.words))


async def upgrade(lab: Lab, words: Sequence[str]) -> int:
    apps = [App(f"{name}.{lab.env['APPS_DOMAIN']}", count) for name, count in APPS]
    desire(lab)
    balancer = LoadBalancer(lab.routers)
    looking = asyncio.create_task(balancer.look())
    await answering(balancer, apps)
    several = Traffic(balancer, [app for app in apps if app.instances > 1], PER_SECOND)
    single = Traffic(balancer, [app for app in apps if app.instances == 1], PER_SECOND)
    instances = watcher.instances_of(lab.name, lab.groups, zones_of(lab))
    watch = Watcher(instances, Cgroups.of_machine())
    pollers = [asyncio.create_task(traffic.run()) for traffic in (several, single)]
    watch.start()
    await asyncio.sleep(CALM_BEFORE)
    began, began_at = time.monotonic(), datetime.now(UTC).replace(microsecond=0)
    code = await playbook(lab, words)
    took = time.monotonic() - began
    await asyncio.sleep(CALM_AFTER)
    watch.stop()
    for task in (*pollers, looking):
        task.cancel()
    await asyncio.gather(*pollers, looking, return_exceptions=True)
    rows = verdict(code, several, single, watch, instances, record_of(lab, began_at))
    show(rows, took, balancer, watch)
    for one in [*failures(several.asked), *failures(single.asked)][:40]:
        print(f"  {one.sent - began:8.2f} s  {one.app}  {one.said}  after {one.ended - one.sent:.2f} s")
    return 0 if all(row.good for row in rows) else 1


def desire(lab: Lab) -> None:
    """Have the apps of the test run: copies of the sample app."""
    sample = yaml.safe_load((CHECKOUT / "manifests/workloads/web.yml").read_text())["desired_lrps"][0]
    wanted = []
    for name, count in APPS:
        app = json.loads(json.dumps(sample))
        app |= {"process_guid": name, "instances": count, "log_guid": name}
        app["routes"]["cf-router"][0]["hostnames"] = [f"{name}.${{APPS_DOMAIN}}"]
        wanted.append(app)
    manifest = lab.directory / "upgrade-apps.yml"
    manifest.write_text(yaml.safe_dump({"desired_lrps": wanted}))
    done = lab.diego("run", str(manifest), timeout=240)
    if done.returncode:
        sys.exit(f"the apps do not run: {done.stdout}{done.stderr}")


async def answering(balancer: LoadBalancer, apps: Sequence[App]) -> None:
    """Wait until each app has answered through each router."""
    deadline = time.monotonic() + ROUTES_PATIENCE
    missing = {(app.host, router) for app in apps for router in balancer.routers}
    while missing:
        for host, router in sorted(missing):
            if await LoadBalancer([router]).ask(host) == "200":
                missing.discard((host, router))
        if time.monotonic() > deadline:
            sys.exit(f"no answer: {sorted(missing)}")
        await asyncio.sleep(0.2)


async def playbook(lab: Lab, words: Sequence[str]) -> int:
    command = [
        str(CHECKOUT / ".venv/bin/ansible-playbook"),
        *("--inventory", str(lab.inventory), "playbooks/upgrade.yml", *words),
    ]
    print(f"==> {' '.join(command)}", flush=True)
    process = await asyncio.create_subprocess_exec(*command, cwd=CHECKOUT, stdin=subprocess.DEVNULL)
    return await process.wait()


def zones_of(lab: Lab) -> dict[str, str]:
    done = subprocess.run(
        [str(CHECKOUT / ".venv/bin/ansible-inventory"), "--inventory", str(lab.inventory), "--list"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    variables = json.loads(done.stdout)["_meta"]["hostvars"]
    return {host: str(found.get("zone", "")) for host, found in variables.items()}


def record_of(lab: Lab, since: datetime) -> dict[str, dict[str, str]]:
    """What the controller has noted of the instances that this upgrade began."""
    found: dict[str, dict[str, str]] = json.loads((lab.directory / "upgrade.json").read_text())["instances"]
    return {name: entry for name, entry in found.items() if datetime.fromisoformat(entry["began"]) >= since}


def verdict(
    code: int,
    several: Traffic,
    single: Traffic,
    watch: Watcher,
    instances: Sequence[Watched],
    record: dict[str, dict[str, str]],
) -> list[Row]:
    failed_several = list(failures(several.asked))
    failed_single = list(failures(single.asked, allowed=("404",)))
    spans = not_found_spans(single.asked)
    longest = max((span for _, span in spans), default=0.0)
    zone = watcher.most_of_a_zone(watch.looks, instances)
    zones = watcher.most_zones_of_a_group(watch.looks, instances)
    unfinished = sorted(name for name, entry in record.items() if entry["state"] != "finished")
    seen = watcher.changed(watch.looks)
    unseen = sorted(set(record) - seen)
    pause, after = watcher.longest_pause(watch.looks)
    return [
        Row("the playbook ends", "status 0", f"status {code}", code == 0),
        Row("instances that were changed", "all", told(unfinished, record), bool(record) and not unfinished),
        Row(
            "apps with two instances, requests failed",
            "0",
            f"{len(failed_several)} of {len(several.asked)}",
            not failed_several and bool(several.asked),
        ),
        Row(
            "apps with one instance, failed but 404",
            "0",
            f"{len(failed_single)} of {len(single.asked)}",
            not failed_single and bool(single.asked),
        ),
        Row(
            "apps with one instance, longest 404",
            f"≤ {MOST_NOT_FOUND:g} s",
            f"{longest:.2f} s, {len(spans)} times",
            longest <= MOST_NOT_FOUND,
        ),
        Row(
            "requests that the load left out",
            "0",
            f"{several.skipped + single.skipped}",
            not several.skipped + single.skipped,
        ),
        Row("instances of a zone at once", "≤ 1", str(zone), zone <= 1 and bool(watch.looks)),
        Row("zones of a group at once", "≤ 1", str(zones), zones <= 1),
        Row(
            "the watcher",
            "saw every change",
            watch.fault or ("yes" if not unseen else f"not {unseen}"),
            not watch.fault and not unseen,
        ),
        Row(
            "the watcher's longest pause",
            f"≤ {MOST_UNSEEN:g} s",
            f"{pause:.2f} s of {len(watch.looks)} looks",
            after is not None and pause <= MOST_UNSEEN,
        ),
    ]


def told(unfinished: list[str], record: dict[str, dict[str, str]]) -> str:
    return f"{len(record) - len(unfinished)} of {len(record)}" + (
        f", not {', '.join(unfinished)}" if unfinished else ""
    )


def show(rows: Sequence[Row], took: float, balancer: LoadBalancer, watch: Watcher) -> None:
    width = max(len(row.what) for row in rows)
    print()
    for row in rows:
        print(f"{'ok ' if row.good else 'BAD'}  {row.what:{width}}  wanted {row.wanted:17} seen {row.seen}")
    print(
        f"it took {took:.0f} s; {balancer.redirected} connections refused by a router went to another one;",
        end=" ",
    )
    cost = sum(look.processes + look.marks for look in watch.looks) / max(1, len(watch.looks))
    print(f"{len(watch.looks)} looks ({watch.priority}), {cost * 1000:.1f} ms each", end="")
    pause, after = watcher.longest_pause(watch.looks)
    if after is not None:
        print(f"; the longest pause was {pause:.2f} s, {after.late:.2f} s of it for its turn", end="")
    print()


if __name__ == "__main__":
    sys.exit(main())
