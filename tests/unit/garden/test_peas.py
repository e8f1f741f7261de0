"""What garden remembers of peas."""

from pathlib import Path

import pytest

from diego.garden.cgroups import Cgroups
from diego.garden.depot import Depot, write
from diego.garden.images import Layer
from diego.garden.peas import Pea, Peas
from diego.garden.runtime import Runtime

LAYER = Layer("key", Path("/images/key/rootfs"), 1000)


@pytest.fixture
def peas(tmp_path: Path) -> Peas:
    return Peas(Depot(tmp_path), Runtime("/runc", tmp_path / "runc"), Cgroups("garden", {}))


def test_a_pea_lives_in_its_containers_group_unless_it_has_limits_of_its_own(peas: Peas) -> None:
    within = peas.new("h", "check", LAYER, own_limits=False)
    beside = peas.new("h", "check", LAYER, own_limits=True)

    assert within.group == f"h/{within.name}"
    assert beside.group == f"h:{beside.name}"
    assert within.name != beside.name  # a process's id may come again while its pea is being removed
    assert within.runtime_id == f"h.{within.name}"


def test_peas_are_found_again_and_those_half_written_by_their_name(peas: Peas, tmp_path: Path) -> None:
    written = Pea("h", "a", "check", "key", 1000, 5, own_limits=True)
    for name in ("a", "b"):
        (tmp_path / "h/peas" / name).mkdir(parents=True)
    write(tmp_path / "h/peas/a/record.json", {**vars_of(written)})
    (tmp_path / "h/peas/b/record.json").write_text("{")

    assert list(peas.of("h")) == [written, Pea("h", "b")]
    assert list(peas.of("other")) == []


def vars_of(pea: Pea) -> dict[str, object]:
    return {name: getattr(pea, name) for name in Pea.__slots__}
