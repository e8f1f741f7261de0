"""Whatever happened before, convergence makes what runs equal to what is wanted.

An imaginary world: cells that come and go, that lose messages and repeat them, an auctioneer that forgets, somebody
who wants more, less, or something else; and the BBS's pure core deciding on the records. Any history of it is
followed by quiet times, in which cells are there, do what they are told, and tell what they have. Then every wanted
index must run exactly once, and nothing else may be left.
"""

from dataclasses import dataclass, field, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from diego.bbs.core import desired_lrps, evacuation, lifecycle, restarts
from diego.bbs.core.convergence import Circumstances, converge_index
from diego.bbs.core.events import resolved_group
from diego.bbs.core.lifecycle import Change, Instance, Key, Outcome, Rows, Started
from diego.bbs.core.retire import Way, way
from diego.models import ActualLRP, ActualLRPState, BbsError, DesiredLRP, Presence
from support.records import MINUTE, NET_INFO, NOW, SECOND, a_desired_lrp

GUIDS = ("one", "two")
CELLS = ("cell-a", "cell-b", "cell-c")
MOST = 3
ROUNDS = 40
"""Rounds of quiet: more than enough for every back-off and every message to come through."""


@dataclass
class Container:
    """What a cell has of an instance."""

    key: Key
    instance: Instance
    running: bool = False


@dataclass
class World:
    """Records, cells with their containers, and a clock."""

    now: int = NOW
    desired: dict[str, DesiredLRP] = field(default_factory=dict)
    rows: dict[tuple[str, int], Rows] = field(default_factory=dict)
    present: set[str] = field(default_factory=lambda: set(CELLS))
    containers: dict[str, Container] = field(default_factory=dict)
    auctions: set[tuple[str, int]] = field(default_factory=set)
    fresh: bool = True
    guids: int = 0

    def of(self, guid: str, index: int) -> Rows:
        return self.rows.get((guid, index), Rows())

    def apply(self, guid: str, index: int, changes: tuple[Change, ...]) -> None:
        self.rows[guid, index] = lifecycle.applied(self.of(guid, index), changes)

    def carry_out(self, guid: str, index: int, outcome: Outcome) -> None:
        self.apply(guid, index, outcome.changes)
        if outcome.auction and guid in self.desired:
            self.auctions.add((guid, index))

    def records(self) -> list[ActualLRP]:
        return [
            row
            for rows in self.rows.values()
            for row in (rows.ordinary, rows.evacuating, rows.suspect)
            if row is not None
        ]

    # ---- what the BBS does

    def want(self, guid: str, instances: int) -> None:
        self.desired[guid] = a_desired_lrp(guid, instances=instances, metric_tags={"a": {"static": "b"}})
        for index in desired_lrps.missing([r for r in self.records() if r.process_guid == guid], instances):
            row = lifecycle.unclaimed(Key(guid, index, "domain"), now=self.now, epoch=f"e{self.now}")
            self.apply(guid, index, (Change(None, row),))
            self.auctions.add((guid, index))
        self.scale_down(guid, instances)

    def unwant(self, guid: str) -> None:
        self.desired.pop(guid, None)
        self.scale_down(guid, 0)

    def scale_down(self, guid: str, instances: int) -> None:
        down = desired_lrps.scale_down([r for r in self.records() if r.process_guid == guid], instances)
        for row in down.delete:
            self.apply(guid, row.index, (Change(row, None),))
        for row in down.stop:
            self.stop(row)

    def stop(self, row: ActualLRP) -> None:
        """The cell stops the container and removes the record, if it is there to be asked."""
        if row.cell_id in self.present:
            self.containers.pop(row.instance_guid, None)
            self.report(
                row.process_guid,
                row.index,
                lambda rows: lifecycle.remove(rows, Instance(row.instance_guid, row.cell_id)),
            )

    def retire(self, row: ActualLRP) -> None:
        if way(row) is Way.DELETE or row.cell_id not in self.present:
            rows = self.of(row.process_guid, row.index)
            if rows.ordinary is not None and rows.ordinary.held_by(row.instance_guid, row.cell_id):
                self.apply(row.process_guid, row.index, (Change(rows.ordinary, None),))
        else:
            self.stop(row)

    def converge(self) -> None:
        keys = set(self.rows) | {
            (guid, index) for guid, lrp in self.desired.items() for index in range(lrp.instances)
        }
        around = Circumstances(frozenset(self.present), listed=self.fresh, fresh=self.fresh, now=self.now)
        for guid, index in sorted(keys):
            decision = converge_index(
                Key(guid, index, "domain"),
                self.of(guid, index),
                self.desired.get(guid),
                around,
                epoch=f"c{self.now}",
            )
            for unit in decision.units:
                self.apply(guid, index, unit)
            if decision.start:
                self.auctions.add((guid, index))
            if decision.retire is not None:
                self.retire(decision.retire)

    # ---- what cells do

    def report(self, guid: str, index: int, decide: object) -> bool:
        """A cell's call; whether it was accepted."""
        try:
            outcome = decide(self.of(guid, index))  # type: ignore[operator]  # a function of rows
        except BbsError:
            return False
        self.carry_out(guid, index, outcome)
        return True

    def place(self, guid: str, index: int, cell: str) -> None:
        """The auctioneer gives the index to a cell, which makes a container and claims."""
        self.guids += 1
        instance = Instance(f"i{self.guids}", cell)
        key = Key(guid, index, "domain")
        self.containers[instance.instance_guid] = Container(key, instance)
        self.claim(self.containers[instance.instance_guid])

    def claim(self, container: Container) -> None:
        key = container.key
        accepted = self.report(
            key.process_guid,
            key.index,
            lambda rows: lifecycle.claim(rows, container.instance, now=self.now),
        )
        if not accepted:
            self.containers.pop(container.instance.instance_guid, None)

    def start(self, container: Container) -> None:
        container.running = True
        key = container.key
        told = Started(key, container.instance, NET_INFO)
        accepted = self.report(
            key.process_guid,
            key.index,
            lambda rows: lifecycle.start(rows, told, now=self.now, epoch=f"s{self.now}"),
        )
        if not accepted:
            self.containers.pop(container.instance.instance_guid, None)

    def crash(self, container: Container) -> None:
        key = container.key
        self.containers.pop(container.instance.instance_guid, None)
        self.report(
            key.process_guid,
            key.index,
            lambda rows: lifecycle.crash(rows, container.instance, "exit 1", now=self.now),
        )

    def evacuate(self, container: Container) -> None:
        key = container.key
        told = Started(key, container.instance, NET_INFO)
        rows = self.of(key.process_guid, key.index)
        found = evacuation.still_running(
            rows,
            told,
            self.desired.get(key.process_guid),
            running_ordinary=sum(
                r.state is ActualLRPState.RUNNING and r.presence is Presence.ORDINARY
                for r in self.records()
                if r.process_guid == key.process_guid
            ),
            now=self.now,
            epoch=f"v{self.now}",
        )
        self.carry_out(key.process_guid, key.index, found.outcome)
        if not found.keep_container:
            self.containers.pop(container.instance.instance_guid, None)

    def sync(self, cell: str) -> None:
        """A cell compares its containers with the records that name it (every 30 s)."""
        for container in [c for c in self.containers.values() if c.instance.cell_id == cell]:
            if container.running:
                self.start(container)
            else:
                self.claim(container)
        for row in self.records():
            if row.cell_id != cell or row.instance_guid in self.containers:
                continue
            instance = Instance(row.instance_guid, row.cell_id)
            if row.presence is Presence.EVACUATING:
                self.report(
                    row.process_guid,
                    row.index,
                    lambda rows, instance=instance: evacuation.remove_evacuating(rows, instance),
                )
            else:
                self.report(
                    row.process_guid,
                    row.index,
                    lambda rows, instance=instance: lifecycle.remove(rows, instance),
                )

    def quiet(self) -> None:
        """One round in which everybody does what is expected."""
        self.now += 31 * SECOND
        for cell in sorted(self.present):
            self.sync(cell)
        self.converge()
        for guid, index in sorted(self.auctions):
            rows = self.of(guid, index)
            if rows.ordinary is not None and rows.ordinary.state is ActualLRPState.UNCLAIMED:
                self.place(guid, index, sorted(self.present)[index % len(self.present)])
        self.auctions.clear()
        for container in list(self.containers.values()):
            if container.instance.cell_id in self.present:
                self.start(container)


class Histories(RuleBasedStateMachine):
    """What may happen, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.dead: set[str] = set()

    @rule(guid=st.sampled_from(GUIDS), instances=st.integers(0, MOST))
    def somebody_wants(self, guid: str, instances: int) -> None:
        self.world.want(guid, instances)

    @rule(guid=st.sampled_from(GUIDS))
    def somebody_no_longer_wants(self, guid: str) -> None:
        self.world.unwant(guid)

    @rule(cell=st.sampled_from(CELLS))
    def a_cell_vanishes(self, cell: str) -> None:
        self.world.present.discard(cell)

    @rule(cell=st.sampled_from(CELLS))
    def a_cell_comes_back(self, cell: str) -> None:
        if cell not in self.dead:
            self.world.present.add(cell)

    @rule(cell=st.sampled_from(CELLS))
    def a_cell_loses_everything(self, cell: str) -> None:
        self.world.containers = {
            guid: c for guid, c in self.world.containers.items() if c.instance.cell_id != cell
        }

    @rule(data=st.data(), cell=st.sampled_from(CELLS))
    def the_auctioneer_places(self, data: st.DataObject, cell: str) -> None:
        """Most often what waits for a cell, sometimes what it was asked for long ago."""
        waiting = sorted(
            (row.process_guid, row.index)
            for row in self.world.records()
            if row.state is ActualLRPState.UNCLAIMED
        )
        key = data.draw(st.sampled_from([*waiting, ("one", 0), ("two", 1)]))
        self.world.auctions.discard(key)
        self.world.place(*key, cell)

    @rule()
    def all_is_quiet_for_a_while(self) -> None:
        if self.world.present:
            self.world.quiet()

    @rule(cell=st.sampled_from(CELLS[1:]))
    def a_cell_dies_for_good(self, cell: str) -> None:
        self.world.present.discard(cell)
        self.dead.add(cell)

    @rule()
    def the_auctioneer_forgets(self) -> None:
        self.world.auctions.clear()

    @rule(data=st.data(), what=st.sampled_from(["start", "claim", "crash", "evacuate"]))
    def a_container_reports(self, data: st.DataObject, what: str) -> None:
        if self.world.containers:
            guid = data.draw(st.sampled_from(sorted(self.world.containers)))
            getattr(self.world, what)(self.world.containers[guid])

    @rule(cell=st.sampled_from(CELLS), what=st.sampled_from(["start", "crash"]), index=st.integers(0, MOST))
    def an_old_message_arrives(self, cell: str, what: str, index: int) -> None:
        stranger = Container(Key("one", index, "domain"), Instance("long-gone", cell), running=True)
        getattr(self.world, what)(stranger)

    @rule(cell=st.sampled_from(CELLS))
    def a_cell_syncs(self, cell: str) -> None:
        if cell in self.world.present:
            self.world.sync(cell)

    @rule()
    def convergence_runs(self) -> None:
        self.world.converge()

    @rule(nanoseconds=st.sampled_from([SECOND, 31 * SECOND, 6 * MINUTE, 20 * MINUTE]))
    def time_passes(self, nanoseconds: int) -> None:
        self.world.now += nanoseconds

    @rule(fresh=st.booleans())
    def the_domain_is_bumped_or_expires(self, fresh: bool) -> None:
        self.world.fresh = fresh

    @invariant()
    def no_cell_stands_behind_what_nobody_holds(self) -> None:
        for row in self.world.records():
            held = row.state in {ActualLRPState.CLAIMED, ActualLRPState.RUNNING}
            assert held == bool(row.instance_guid) == bool(row.cell_id)
            assert row.presence is Presence.ORDINARY or held
            if row.state is not ActualLRPState.RUNNING:
                assert row.net_info == b""

    @invariant()
    def an_index_has_one_face(self) -> None:
        for rows in self.world.rows.values():
            if rows:
                assert resolved_group(rows) is not None

    def teardown(self) -> None:
        world = self.world
        world.present = set(CELLS) - self.dead
        world.fresh = True
        for _ in range(ROUNDS):
            world.quiet()

        wanted = {(guid, index) for guid, lrp in world.desired.items() for index in range(lrp.instances)}
        given_up = {
            key
            for key, rows in world.rows.items()
            if rows.ordinary is not None and rows.ordinary.crash_count >= restarts.GIVE_UP_AT
        }
        records = world.records()
        assert {(row.process_guid, row.index) for row in records} == wanted
        assert all(row.presence is Presence.ORDINARY for row in records)
        assert len(records) == len(wanted)
        running = {(row.process_guid, row.index) for row in records if row.state is ActualLRPState.RUNNING}
        assert running == wanted - given_up
        containers = [
            (c.key.process_guid, c.key.index)
            for c in world.containers.values()
            if c.instance.cell_id in world.present
        ]
        assert sorted(containers) == sorted(running)


TestConvergenceHistories = Histories.TestCase
TestConvergenceHistories.settings = settings(max_examples=300, stateful_step_count=30, deadline=None)


def test_two_hundred_crashes_are_given_up_and_everything_else_still_converges() -> None:
    world = World()
    world.want("one", 2)
    for _ in range(ROUNDS):
        world.quiet()
    row = world.of("one", 0).ordinary
    assert row is not None
    tired = replace(row, crash_count=199, since=world.now)
    world.rows["one", 0] = Rows(tired)

    world.crash(world.containers[tired.instance_guid])
    for _ in range(ROUNDS):
        world.quiet()

    states = {row.index: row.state for row in world.records()}
    assert states == {0: ActualLRPState.CRASHED, 1: ActualLRPState.RUNNING}
