"""What a broken rule is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Break:
    """One rule, the words in the source that carry it, what they are replaced by, and the test that must notice.

    Attributes:
        module: one of diego/bbs/core; where it has a folder (`models/errors`), one below diego/.
        words: they stand there once.
        test: below tests/unit/bbs; where it has a folder (`unit/models/test_errors.py`), below tests/.
    """

    section: str
    rule: str
    module: str
    words: str
    instead: str
    test: str
