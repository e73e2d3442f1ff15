"""``python -m benchmarks``: run the suites, print tables, write JSON and a chart, compare with the targets."""

import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from datetime import date
from pathlib import Path

from . import report
from .harness import Lab, Plan
from .suites import SUITES, Outcome


def main() -> None:
    """Read the command line and do what it says."""
    suites = "\n".join(f"  {name:13} {suite.__doc__}" for name, suite in SUITES.items())
    parser = ArgumentParser(
        "python -m benchmarks", description=f"suites:\n{suites}", formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("--suite", action="append", choices=SUITES, help="run this one only; may be repeated")
    parser.add_argument(
        "--dsn", default="", help="postgres://user:password@host:port/database of a server; default: SQLite"
    )
    parser.add_argument("--rounds", type=int, default=Plan.rounds, help=f"rounds that count (default: {Plan.rounds})")
    parser.add_argument("--quick", action="store_true", help="3 short rounds and small sizes: shows that it works")
    parser.add_argument("--full", action="store_true", help="1,000,000 sessions and denylist entries as well")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent / "results", help="directory of the results"
    )
    parser.add_argument("--page", type=Path, help="write tables and chart into this page as well")
    options = parser.parse_args()

    sizes = (*Plan.sizes, 1_000_000) if options.full else Plan.sizes
    plan = Plan(rounds=options.rounds, sizes=sizes)
    if options.quick:
        plan = Plan(rounds=3, batch=0.005, users=100, sizes=(1_000, 10_000))
    outcomes: dict[str, Outcome] = {}
    with Lab(plan, options.dsn) as lab:
        environment = report.environment(lab)
        print("\n".join(f"{name}: {value}" for name, value in environment.items()), flush=True)
        for name in options.suite or SUITES:
            start = time.perf_counter()
            outcomes[name] = SUITES[name](lab)
            report.show(outcomes[name])
            print(f"\n[{name}: {time.perf_counter() - start:.0f} s]", flush=True)
        figures = {key: figure for outcome in outcomes.values() for key, figure in outcome.figures.items()}
        report.show_targets(figures, lab.vendor)
        parts = [date.today().isoformat(), lab.vendor, *(options.suite or ()), *(["quick"] if options.quick else [])]
        report.write(options.output / "-".join(parts), lab, environment, outcomes)
        if options.page:
            report.write_into(options.page, lab, environment, outcomes)


if __name__ == "__main__":
    main()
