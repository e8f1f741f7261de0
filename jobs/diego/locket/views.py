"""A read-only look at who holds what, beside health and metrics on the debug listener.

`/locks` and `/presences` list, `/locks/KEY` and `/presences/KEY` tell of one. Everything is read from the database but
`expires_in_seconds`: that is how this locket sees it, since the table holds no time (contract/locket.md section 3).
"""

import json

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from diego.database import DatabaseError
from diego.locket.core.locks import Kind, NotFound, Row
from diego.locket.service import LocketService


def lock_views(service: LocketService) -> Blueprint:
    views = Blueprint("locks", __name__)

    @views.get("/locks")
    def locks() -> ResponseReturnValue:
        return _listed(service, Kind.LOCK)

    @views.get("/locks/<path:key>")
    def lock(key: str) -> ResponseReturnValue:
        return _one(service, Kind.LOCK, key)

    @views.get("/presences")
    def presences() -> ResponseReturnValue:
        return _listed(service, Kind.PRESENCE)

    @views.get("/presences/<path:key>")
    def presence(key: str) -> ResponseReturnValue:
        return _one(service, Kind.PRESENCE, key)

    @views.errorhandler(DatabaseError)
    def database_away(error: DatabaseError) -> ResponseReturnValue:
        return jsonify(error=error.text), 503

    return views


def _listed(service: LocketService, kind: Kind) -> ResponseReturnValue:
    rows = sorted(service.fetch_all(kind), key=lambda row: row.path)
    return jsonify([_told(service, row) for row in rows])


def _one(service: LocketService, kind: Kind, key: str) -> ResponseReturnValue:
    try:
        row = service.fetch(key)
    except NotFound as error:
        return jsonify(error=error.text), 404
    if row.type != kind.text:
        return jsonify(error=NotFound.text), 404
    return jsonify(_told(service, row))


def _told(service: LocketService, row: Row) -> dict[str, object]:
    left = service.left(row.path)
    told: dict[str, object] = {
        "key": row.path,
        "owner": row.owner,
        "value": row.value,
        "type": row.type,
        "ttl_in_seconds": row.ttl,
        "expires_in_seconds": None if left is None else round(max(left, 0.0), 1),
        "modified_index": row.modified_index,
        "modified_id": row.modified_id,
    }
    if row.type == Kind.PRESENCE.text:
        told["cell"] = _cell(row.value)
    return told


def _cell(value: str) -> object:
    """What a cell says of itself; None where its value is no JSON."""
    try:
        return json.loads(value)
    except ValueError:
        return None
