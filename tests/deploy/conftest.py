"""The hosts of a deployed lab, as testinfra sees them."""

import pytest
import testinfra
from testinfra.host import Host

from support.lab import Lab


@pytest.fixture(scope="session")
def host(lab: Lab) -> Host:
    """The lab's first host. The default lab has only this one, with every group on it."""
    return testinfra.get_host(f"ansible://{lab.hosts[0]}?ansible_inventory={lab.inventory}")
