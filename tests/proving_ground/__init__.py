"""The proving ground: the promise of docs/revocation.md against real servers, real clients and real databases.

Small by default. ``python -m tests.proving_ground --full`` is the full size, and writes down the worst delays.
"""
