"""`python -m diego.certificates DIRECTORY --system-domain DOMAIN`: make what is missing there.

Prints the names of what was made, one a line; nothing when all was good.
"""

import argparse
import sys
from pathlib import Path

from diego.certificates import AUTHORITIES, LEAVES, CertificateError, Directory


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m diego.certificates", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--system-domain", required=True)
    asked = parser.parse_args()
    try:
        made = Directory(asked.directory).ensure(
            AUTHORITIES, [leaf.within(asked.system_domain) for leaf in LEAVES]
        )
    except (CertificateError, OSError) as error:
        sys.exit(f"{asked.directory}: {error}")
    sys.stdout.writelines(f"{name}\n" for name in made)


if __name__ == "__main__":
    main()
