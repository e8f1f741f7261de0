"""An actual LRP: one instance of a wanted process, as the BBS knows it.

The key is process guid, index and presence: an index can have up to three records at once, one ORDINARY,
one EVACUATING and one SUSPECT (contract/lifecycle.md section 5). A record is a row of the table
`actual_lrps`, field for column; `evacuating` and `expire_time` are left from older versions and unused.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from diego.models.entries import list_entry
from diego.wire import actual_lrp_pb2, modification_tag_pb2


class ActualLRPState(StrEnum):
    UNCLAIMED = "UNCLAIMED"
    CLAIMED = "CLAIMED"
    RUNNING = "RUNNING"
    CRASHED = "CRASHED"


class Presence(IntEnum):
    """ORDINARY is the record that counts; the others run while a replacement is placed."""

    ORDINARY = 0
    EVACUATING = 1
    SUSPECT = 2


@dataclass(frozen=True, slots=True)
class ModificationTag:
    """`epoch` is a new UUID per record, `index` counts its changes."""

    epoch: str
    index: int

    def next(self) -> "ModificationTag":
        return ModificationTag(self.epoch, (self.index + 1) & 0xFFFFFFFF)

    def newer_than(self, other: "ModificationTag") -> bool:
        """Whether this tag replaces `other` for one who holds both (contract/lifecycle.md section 4)."""
        if not self.epoch or not other.epoch or self.epoch != other.epoch:
            return True
        return other.index < self.index


NO_TAG = ModificationTag("", 0)
Identity = tuple[str, int, Presence]


@dataclass(frozen=True, slots=True)
class ActualLRP:
    """One record.

    Attributes:
        net_info: the encoded ActualLRPNetInfo message, deterministic, so that equal content is equal bytes;
            empty when there is none.
        internal_routes: host names; None where the column holds `null`.
        metric_tags: None where the column holds `null`, which convergence leaves alone.
        crash_reason, placement_error: already cut to the width of their columns.
        since: Unix nanoseconds.
    """

    process_guid: str
    index: int
    domain: str
    presence: Presence = Presence.ORDINARY
    state: ActualLRPState = ActualLRPState.UNCLAIMED
    instance_guid: str = ""
    cell_id: str = ""
    net_info: bytes = b""
    internal_routes: tuple[str, ...] | None = ()
    metric_tags: Mapping[str, str] | None = None
    routable: bool = False
    availability_zone: str = ""
    crash_count: int = 0
    crash_reason: str = ""
    placement_error: str = ""
    since: int = 0
    tag: ModificationTag = NO_TAG
    _frame: bytes = field(default=b"", init=False, compare=False, repr=False)

    @property
    def identity(self) -> Identity:
        """What no two records share: the primary key of the table."""
        return self.process_guid, self.index, self.presence

    def held_by(self, instance_guid: str, cell_id: str) -> bool:
        """Whether the record names exactly this instance on exactly this cell."""
        return self.instance_guid == instance_guid and self.cell_id == cell_id

    @property
    def frame(self) -> bytes:
        """The encoded message as an entry of a list answer; made when first asked for."""
        if not self._frame:
            object.__setattr__(self, "_frame", list_entry(self.message().SerializeToString()))
        return self._frame

    def message(self) -> actual_lrp_pb2.ActualLRP:
        """The record as the API and the events tell it; always with keys, net info, tag and `routable`."""
        told = actual_lrp_pb2.ActualLRP(
            actual_lrp_key=actual_lrp_pb2.ActualLRPKey(
                process_guid=self.process_guid, index=self.index, domain=self.domain
            ),
            crash_count=self.crash_count,
            crash_reason=self.crash_reason,
            state=self.state,
            placement_error=self.placement_error,
            since=self.since,
            modification_tag=modification_tag_pb2.ModificationTag(epoch=self.tag.epoch, index=self.tag.index),
            presence=int(self.presence),  # type: ignore[arg-type]  # the stubs want the enum's own int type
            routable=self.routable,
            availability_zone=self.availability_zone,
        )
        key = told.actual_lrp_instance_key
        key.SetInParent()
        if self.instance_guid or self.cell_id:
            key.instance_guid, key.cell_id = self.instance_guid, self.cell_id
        told.actual_lrp_net_info.SetInParent()
        if self.net_info:
            told.actual_lrp_net_info.MergeFromString(self.net_info)
        for hostname in self.internal_routes or ():
            told.actual_lrp_internal_routes.add(hostname=hostname)
        if self.metric_tags:
            told.metric_tags.update(self.metric_tags)
        return told
