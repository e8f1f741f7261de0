"""What is between a DesiredLRP that exists and the one that a file asks for."""

from diego.wire.desired_lrp_pb2 import DesiredLRP, DesiredLRPUpdate
from diego.wire.gojson import to_go

CHANGEABLE = frozenset(
    {"instances", "routes", "annotation", "metric_tags", "image_username", "image_password"}
)
"""JSON keys that an update may change; all others need another process guid (contract/lifecycle.md section 3)."""

KEPT_BY_THE_SERVER = frozenset({"modification_tag", "metrics_guid"})


def fixed_differences(existing: DesiredLRP, wanted: DesiredLRP) -> list[str]:
    """The keys that differ and that no update can change."""
    before, after = to_go(_as_stored(existing)), to_go(_as_stored(wanted))
    keys = dict.fromkeys([*before, *after])
    return [
        key
        for key in keys
        if key not in CHANGEABLE | KEPT_BY_THE_SERVER and before.get(key) != after.get(key)
    ]


def update_between(existing: DesiredLRP, wanted: DesiredLRP) -> DesiredLRPUpdate | None:
    """The update that makes the one into the other as far as it may, or None when there is nothing to do."""
    existing, wanted = _as_stored(existing), _as_stored(wanted)
    update = DesiredLRPUpdate()
    if existing.instances != wanted.instances:
        update.instances = wanted.instances
    if existing.annotation != wanted.annotation:
        update.annotation = wanted.annotation
    if to_go(existing).get("routes", {}) != to_go(wanted).get("routes", {}):
        update.routes.CopyFrom(wanted.routes)
        update.routes.SetInParent()
    if to_go(existing).get("metric_tags") != to_go(wanted).get("metric_tags"):
        for name, tag in wanted.metric_tags.items():
            update.metric_tags[name].CopyFrom(tag)
    credentials = (wanted.image_username, wanted.image_password)
    if (existing.image_username, existing.image_password) != credentials and all(credentials):
        update.image_username, update.image_password = credentials
    return update if update.ByteSize() else None


def _as_stored(lrp: DesiredLRP) -> DesiredLRP:
    """As the BBS reads it back: ports once each, and the source id's two homes alike."""
    stored = DesiredLRP()
    stored.CopyFrom(lrp)
    ports = list(dict.fromkeys(stored.ports))
    del stored.ports[:]
    stored.ports.extend(ports)
    if stored.metrics_guid and "source_id" not in stored.metric_tags:
        stored.metric_tags["source_id"].static = stored.metrics_guid
    return stored
