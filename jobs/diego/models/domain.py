"""A domain: a name under which somebody keeps the wanted state up to date, and until when."""

from dataclasses import dataclass

NEVER = 2**63 - 1
SECOND = 10**9


@dataclass(frozen=True, slots=True)
class Domain:
    """Until `expires_at` (Unix nanoseconds; NEVER for a ttl of 0) the wanted state of `name` is complete."""

    name: str
    expires_at: int

    @classmethod
    def upserted(cls, name: str, ttl_seconds: int, *, now: int) -> "Domain":
        """The domain as an upsert with this ttl leaves it (contract/lifecycle.md section 2)."""
        return cls(name, NEVER if ttl_seconds == 0 else now + ttl_seconds * SECOND)

    def fresh(self, *, now: int) -> bool:
        """Whether extra and orphaned instances of this domain may be retired."""
        return self.expires_at > round_to_second(now)

    def expired(self, *, now: int) -> bool:
        """Whether convergence prunes the domain."""
        return self.expires_at <= now


def round_to_second(now: int) -> int:
    """The nearest full second, halves upwards, as Go's Time.Round has it."""
    return (now + SECOND // 2) // SECOND * SECOND
