"""The promise of revocation against real servers, real clients and real databases.

docs/explanation/revocation.md has the promise, docs/project/assurance/revocation.md the results.

Small by default. ``python -m tests.proving_ground --full`` is the full size, and writes down the worst delays.
"""
