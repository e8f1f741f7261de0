"""A deployed lab, as the tests reach it: over SSH as root, and through the command line as an operator."""

import os
import re
import shlex
import subprocess
from functools import cached_property
from pathlib import Path

from lab.topology import groups_of

CHECKOUT = Path(__file__).resolve().parents[2]
EXPORT = re.compile(r"export (\w+)=(.*)")


class Lab:
    """The lab named by DIEGO_LAB, or the one that `make up` makes.

    The names of the deployment must resolve: run the tests through scripts/in-lab, or against the lab of `make up`,
    which has its names in the machine's hosts file.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.directory = CHECKOUT / ".lab" / name
        self.inventory = self.directory / "inventory"
        text = (self.directory / "env").read_text()
        self.env = {found[1]: shlex.split(found[2])[0] for found in EXPORT.finditer(text)}
        self.hosts = list(self._addresses)

    @cached_property
    def groups(self) -> dict[str, list[str]]:
        """The hosts of each group: `groups["diego-api"][1]` is where the instance diego-api-1 is."""
        return groups_of(self.inventory / "topology.ini")

    def address(self, host: str) -> str:
        """Where the host is reached."""
        return self._addresses[host]

    @property
    def routers(self) -> list[str]:
        """Where each router takes requests, as host:port."""
        return [f"{self.address(host)}:80" for host in self.groups["router"]]

    @cached_property
    def _addresses(self) -> dict[str, str]:
        """Each host's address by its name, in the topology's order."""
        text = (self.inventory / "hosts.yml").read_text()
        return dict(re.findall(r"^    (\S+):\n      ansible_host: (\S+)$", text, re.MULTILINE))

    def run(
        self, command: str, host: str | None = None, timeout: float = 30
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a host as root; whether it failed is for the caller to see."""
        options = re.search(r'ansible_ssh_common_args: "(.*)"', (self.inventory / "hosts.yml").read_text())
        key = re.search(r"ansible_ssh_private_key_file: (.*)", (self.inventory / "hosts.yml").read_text())
        assert options, "the inventory says nothing about host keys"
        assert key, "the inventory names no key"
        address = self._addresses[host or self.hosts[0]]
        words = ["ssh", "-i", key[1], *shlex.split(options[1]), "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"]
        return self._done([*words, f"root@{address}", command], timeout)

    def diego(
        self, *words: str, timeout: float = 60, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """The operator's command line with the lab's addresses and certificates."""
        return self._done([str(CHECKOUT / ".venv/bin/diego"), *words], timeout, stdin=stdin, env=self.env)

    def deploy(self, *words: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Deploy to the lab as `make up` does, with further words for ansible-playbook."""
        script = str(CHECKOUT / "scripts/deploy")
        return self._done([script, self.name, *words], timeout, env={"NO_COLOR": "1"})

    def lab(self, *words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """The lab tool, with the lab's name put behind the command: `lab("kill", "diego-0")`."""
        command = ["/usr/bin/python3", "-m", "lab", words[0], self.name, *words[1:]]
        return self._done(command, timeout)

    def nonce(self) -> str:
        """What reached the sample app's containers only inside its tarball."""
        return (self.directory / "workloads/nonce.txt").read_text().strip()

    def containers(self, host: str | None = None) -> str:
        """The container runtime's own list."""
        return self.run("runc list", host=host).stdout

    @staticmethod
    def _done(
        command: list[str],
        timeout: float,
        *,
        stdin: str | None = None,
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd=CHECKOUT,
            env={**os.environ, **(env or {})},
        )


def chosen_lab() -> Lab | None:
    """The lab that the tests are to use, None when it is not there."""
    name = os.environ.get("DIEGO_LAB", "dev")
    return Lab(name) if (CHECKOUT / ".lab" / name / "env").exists() else None
