"""Ping, domains and cells."""

from diego.bbs.service import RegistryService
from diego.bbs.views.routes import Routes
from diego.wire import domain_pb2, ping_pb2

PONG = ping_pb2.PingResponse(available=True).SerializeToString()


def add_to(routes: Routes, registry: RegistryService) -> None:
    routes.add_bare("/v1/ping", lambda: PONG)
    routes.add_bare("/v1/domains/list", registry.domains)
    routes.add("/v1/domains/upsert", domain_pb2.UpsertDomainRequest, registry.upsert_domain)
    routes.add_bare("/v1/cells/list.r1", registry.cells)
