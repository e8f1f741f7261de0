"""The deployment's certificate authorities and leaves, made on the controller.

Called by the deploy (the role `certificates`, through `python -m diego.certificates`) and by the tests.
It calls nobody. Names, subjects and key usages are those of contract/deployment.md section 8.
"""

from diego.certificates.authority import Pair, issue, make_ca
from diego.certificates.catalogue import AUTHORITIES, LEAVES, Authority, Leaf
from diego.certificates.directory import CertificateError, Directory

__all__ = [
    "AUTHORITIES",
    "LEAVES",
    "Authority",
    "CertificateError",
    "Directory",
    "Leaf",
    "Pair",
    "issue",
    "make_ca",
]
