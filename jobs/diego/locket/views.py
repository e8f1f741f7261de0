"""A read-only look at who holds what, beside health and metrics on the debug listener."""

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from diego.database import DatabaseError
from diego.locket.core.locks import Kind
from diego.locket.service import LocketService


def lock_views(service: LocketService) -> Blueprint:
    views = Blueprint("locks", __name__)

    @views.get("/locks")
    def locks() -> ResponseReturnValue:
        return _listed(service, Kind.LOCK)

    @views.get("/presences")
    def presences() -> ResponseReturnValue:
        return _listed(service, Kind.PRESENCE)

    @views.errorhandler(DatabaseError)
    def database_away(error: DatabaseError) -> ResponseReturnValue:
        return jsonify(error=error.text), 503

    return views


def _listed(service: LocketService, kind: Kind) -> ResponseReturnValue:
    rows = sorted(service.fetch_all(kind), key=lambda row: row.path)
    return jsonify(
        [
            {
                "key": row.path,
                "owner": row.owner,
                "value": row.value,
                "type": row.type,
                "ttl_in_seconds": row.ttl,
                "modified_index": row.modified_index,
            }
            for row in rows
        ]
    )
