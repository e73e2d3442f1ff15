"""How thoroughly the fuzz tests look: small and the same in every run, or at length where the environment says so.

``JWTAUTH_FUZZ_EXAMPLES`` is the number of examples of each fuzz test.
docs/project/assurance/fuzzing.md has the commands.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

EXAMPLES = int(os.environ.get("JWTAUTH_FUZZ_EXAMPLES") or 0)

# Fixtures are shared by all examples, and each test undoes what an example did. Times are measured elsewhere.
UNHURRIED = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
settings.register_profile("small", UNHURRIED, derandomize=True, database=None)
settings.register_profile("large", UNHURRIED, max_examples=EXAMPLES or 1)
settings.load_profile("large" if EXAMPLES else "small")


def examples(small: int) -> settings:
    """Return the settings of a fuzz test that makes so many examples where nothing else is asked for."""
    return settings(max_examples=EXAMPLES or small)
