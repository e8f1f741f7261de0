"""Domains and cells: who keeps the wanted state up to date, and where things can run."""

from diego.bbs.core import validation
from diego.bbs.outside import cells_answer
from diego.bbs.service.context import Context
from diego.bbs.wire_answers import error_answer
from diego.models import BbsError, Domain
from diego.runtime.api import Answer
from diego.wire import domain_pb2


class RegistryService:
    """Use-cases of domains and cells."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def domains(self) -> bytes:
        """The fresh domains."""
        now = self._context.now()
        names = [domain.name for domain in self._context.memory.domains.values() if domain.fresh(now=now)]
        return domain_pb2.DomainsResponse(domains=names).SerializeToString()

    def upsert_domain(self, asked: domain_pb2.UpsertDomainRequest) -> Answer:
        """The wanted state of a domain is complete, and stays so for a while."""
        validation.refuse([] if asked.domain else [validation.field("domain")])
        transaction = self._context.committer.begin()
        transaction.domain(asked.domain, Domain.upserted(asked.domain, asked.ttl, now=self._context.now()))
        return transaction.commit()

    def cells(self) -> Answer:
        """Every cell whose presence is in Locket."""

        def ask() -> Answer:
            try:
                return cells_answer(self._context.cells.all())
            except BbsError as error:
                return error_answer(error)

        return self._context.from_outside(ask)
