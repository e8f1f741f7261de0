import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from lab.cache import Artefact, Cache
from lab.identity import LabError


class Bakery:
    """Makes an artefact and counts how often."""

    def __init__(self) -> None:
        self.baked = 0

    def bake(self, directory: Path) -> None:
        self.baked += 1
        (directory / "bread").write_text("fresh")


def artefact(make: Callable[[Path], None], *, by_content: bool = True, flour: str = "rye") -> Artefact:
    return Artefact("bread", {"flour": flour}, make, takes="a while", by_content=by_content)


def test_what_is_there_and_whole_is_not_made_again(tmp_path: Path) -> None:
    bakery, cache = Bakery(), Cache(tmp_path)

    first = cache.ensure(artefact(bakery.bake))
    second = cache.ensure(artefact(bakery.bake))

    assert first == second
    assert bakery.baked == 1


def test_other_parts_are_another_artefact(tmp_path: Path) -> None:
    bakery, cache = Bakery(), Cache(tmp_path)

    assert cache.ensure(artefact(bakery.bake)) != cache.ensure(artefact(bakery.bake, flour="wheat"))
    assert bakery.baked == 2


@pytest.mark.parametrize("by_content", [True, False])
def test_what_was_changed_since_is_not_trusted(tmp_path: Path, by_content: bool) -> None:
    bakery, cache = Bakery(), Cache(tmp_path)
    bread = cache.ensure(artefact(bakery.bake, by_content=by_content)) / "bread"
    bread.write_text("stale")

    cache.ensure(artefact(bakery.bake, by_content=by_content))

    assert bakery.baked == 2
    assert bread.read_text() == "fresh"


def test_what_was_cut_short_leaves_nothing_that_is_trusted(tmp_path: Path) -> None:
    cache, bakery = Cache(tmp_path), Bakery()

    def burn(directory: Path) -> None:
        (directory / "bread").write_text("half")
        raise LabError("the oven is out")

    with pytest.raises(LabError):
        cache.ensure(artefact(burn))

    assert cache.find(artefact(burn)) is None
    assert (cache.ensure(artefact(bakery.bake)) / "bread").read_text() == "fresh"


def test_two_who_want_the_same_make_it_once(tmp_path: Path) -> None:
    cache, bakery = Cache(tmp_path), Bakery()

    def slowly(directory: Path) -> None:
        time.sleep(0.1)
        bakery.bake(directory)

    both = [threading.Thread(target=cache.ensure, args=(artefact(slowly),)) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()

    assert bakery.baked == 1


def test_old_artefacts_go_but_none_that_a_lab_stands_on(tmp_path: Path) -> None:
    cache, bakery = Cache(tmp_path), Bakery()
    made = [cache.ensure(artefact(bakery.bake, flour=flour)) for flour in ("a", "b", "c", "d")]
    for age, content in enumerate(reversed(made)):
        mark = content.parent / "mark.json"
        when = time.time() - 100 * age
        mark.touch()
        os.utime(mark, (when, when))

    cache.prune(in_use={made[0]})

    assert [content.exists() for content in made] == [True, False, True, True]


def test_a_cache_that_a_lab_stands_on_is_not_dropped(tmp_path: Path) -> None:
    cache, bakery = Cache(tmp_path / "cache"), Bakery()
    made = cache.ensure(artefact(bakery.bake))

    with pytest.raises(LabError, match="make down"):
        cache.clear(in_use={made})
    cache.clear(in_use=set())

    assert not (tmp_path / "cache").exists()
