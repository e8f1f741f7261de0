"""The lab's commands."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lab import artefacts, network
from lab.cache import Cache
from lab.cgroups import Cgroups
from lab.identity import Lab, LabError
from lab.lifecycle import Labs, Record, Wanted


def main() -> None:
    asked = _parser().parse_args()
    try:
        artefacts.needs_root()
        asked.act(asked, Labs(Cache(), Cgroups.of_machine()))
    except LabError as error:
        sys.exit(f"lab: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m lab", description="Test hosts on this machine.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, act: object, help_: str, *words: str, aliases: Sequence[str] = ()
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, aliases=aliases, help=help_, description=help_)
        sub.set_defaults(act=act)
        for word in words:
            sub.add_argument(word)
        return sub

    up = command("up", _up, "make a lab, or continue with the one that is there", "name")
    up.add_argument("--topology", type=Path, default=artefacts.CHECKOUT / "inventory/lab/single.ini")
    up.add_argument("--owner", type=int, default=0, help="the process whose end makes the lab a dead one")
    command("down", _down, "take a lab down and leave nothing of it", "name")
    command("kill", _kill, "cut a host's power; its disk stays", "name", "host", aliases=["power-off"])
    command("start", _start, "switch a host's power on again", "name", "host", aliases=["power-on"])
    command("unplug", _unplug, "pull a host's cable for good: only a start plugs it in again", "name", "host")
    cut = command("cut", _cut, "let nothing through between a host and the others", "name", "host")
    cut.add_argument("--from", dest="peers", nargs="+", default=[], metavar="PEER", help="only these hosts")
    cut.add_argument(
        "--one-way", action="store_true", help="what HOST sends is lost, what it is sent arrives"
    )
    command("heal", _heal, "undo every cut of a lab", "name")
    command("pause", _pause, "stop all of a host's processes where they are", "name", "host")
    command("resume", _resume, "let a paused host go on", "name", "host")
    status = command("status", _status, "what runs")
    status.add_argument("name", nargs="?")
    command("clean-cache", _clean_cache, "drop what was cached for making labs")
    return parser


def _up(asked: argparse.Namespace, labs: Labs) -> None:
    scripts = artefacts.CHECKOUT / "scripts"
    build = (
        ("venv: the project's Python environment", (str(scripts / "venv"),)),
        ("release: the wheel and what it needs", (str(scripts / "build-release"),)),
    )
    wanted = Wanted(asked.topology.resolve(), artefacts.CHECKOUT, asked.owner, build)
    labs.up(Lab(asked.name), wanted)


def _down(asked: argparse.Namespace, labs: Labs) -> None:
    labs.down(Lab(asked.name))


def _kill(asked: argparse.Namespace, labs: Labs) -> None:
    labs.host(Lab(asked.name), asked.host).kill()


def _start(asked: argparse.Namespace, labs: Labs) -> None:
    labs.host(Lab(asked.name), asked.host).start()


def _unplug(asked: argparse.Namespace, labs: Labs) -> None:
    network.unplug(labs.host(Lab(asked.name), asked.host).identity)


def _cut(asked: argparse.Namespace, labs: Labs) -> None:
    lab = Lab(asked.name)
    host = labs.host(lab, asked.host).identity
    if not asked.peers:
        if asked.one_way:
            raise LabError("one way to whom? name the peers with --from")
        network.silence(host)
    for peer in (labs.host(lab, name).identity for name in asked.peers):
        network.part(host, peer)
        if not asked.one_way:
            network.part(peer, host)


def _heal(asked: argparse.Namespace, _labs: Labs) -> None:
    network.heal(Lab(asked.name))


def _pause(asked: argparse.Namespace, labs: Labs) -> None:
    labs.host(Lab(asked.name), asked.host).pause()


def _resume(asked: argparse.Namespace, labs: Labs) -> None:
    labs.host(Lab(asked.name), asked.host).resume()


def _status(asked: argparse.Namespace, labs: Labs) -> None:
    names = [asked.name] if asked.name else labs.names()
    if not names:
        print("no lab")
    for name in names:
        lab = Lab(name)
        record = Record.read(lab)
        print(f"{name}: " + (f"{record.topology}, for {record.checkout}" if record else "no such lab"))
        for host in labs.hosts(lab):
            state = "runs" if host.runs() else "off"
            print(f"  {host.identity.name:<20} {host.identity.address!s:<16} {state}")


def _clean_cache(_asked: argparse.Namespace, labs: Labs) -> None:
    labs.cache.clear(labs.layers_in_use())


if __name__ == "__main__":
    main()
