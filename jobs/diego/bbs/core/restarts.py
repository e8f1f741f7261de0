"""When a crashed instance starts again (contract/lifecycle.md sections 1 and 5, crash rules).

The first crashes are forgiven at once. After that an instance waits, twice as long each time, and after very
many it is left alone until somebody changes what is wanted.
"""

SECOND = 10**9
FORGIVEN_AFTER = 5 * 60 * SECOND
IMMEDIATE_BELOW = 3
FIRST_WAIT = 30 * SECOND
LONGEST_WAIT = 16 * 60 * SECOND
LARGEST_EXPONENT = 5
GIVE_UP_AT = 200


def next_count(count: int, *, running: bool, since: int, now: int) -> int:
    """The crash count after one more crash: anew when the instance had run for more than five minutes."""
    if running and now - since > FORGIVEN_AFTER:
        return 1
    return count + 1


def immediate(count: int) -> bool:
    """Whether an instance that crashed for the `count`-th time goes back to auction at once."""
    return count < IMMEDIATE_BELOW


def wait(count: int) -> int | None:
    """Nanoseconds between the `count`-th crash and its restart by convergence; None: never."""
    if count < IMMEDIATE_BELOW:
        return 0
    if count >= GIVE_UP_AT:
        return None
    exponent = min(count - IMMEDIATE_BELOW, LARGEST_EXPONENT)
    return min(FIRST_WAIT << exponent, LONGEST_WAIT)


def due(count: int, *, since: int, now: int) -> bool:
    """Whether convergence restarts an instance that crashed for the `count`-th time at `since`."""
    pause = wait(count)
    return pause is not None and now - since >= pause
