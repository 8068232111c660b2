"""Measures Campanile and other servers side by side; see `scripts/bench-compare --help`."""

import argparse
import datetime
import json
import os
import resource
import sys
from pathlib import Path

import host
import measure
import plots
import report
from results import Results
from servers import CAMPANILE, ROOT, SERVERS, TARGET, Earlier, Server, Unavailable
from workloads import WORKLOADS, Workload

HELP = """\
Builds the servers, runs every workload against each of them, and writes raw.json, README.md and SVG
plots. Runs are interleaved: all servers for one workload, then for the next, then the same again in
another order. Each run has a fresh server, on the first core; the load (`campanile load`) is on the
second. Nobody else should use the machine meanwhile.

uWebSockets is measured if UWEBSOCKETS_DIR and USOCKETS_DIR name its source folders. What else is
needed: cargo, npm and Node.js, g++, Python 3.11 with venv. A server that cannot be built is left out,
and one that loses a message or refuses a connection is reported as failed; the comparison goes on.
Exit status: 0, or 1 if Campanile itself failed in a run.
"""


# Length of a measurement in a trial, seconds.
TRIAL_S = 0.3


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench-compare", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    principal = ", ".join(server.label for server in SERVERS if server.principal)
    workloads = " ".join(workload.id for workload in WORKLOADS)
    servers = " ".join(server.id for server in SERVERS)
    parser.add_argument("--workloads", nargs="+", metavar="ID", help=f"of {workloads}; all without")
    parser.add_argument("--servers", nargs="+", metavar="ID", help=f"of {servers}; all without")
    before = "also Campanile as it was at that commit of this repository"
    parser.add_argument("--before", metavar="COMMIT", help=before)
    parser.add_argument("--runs", type=int, default=5, help="how often all is measured (5)")
    others = f"how often all but {principal} are measured (3)"
    parser.add_argument("--others-runs", type=int, default=3, metavar="N", help=others)
    parser.add_argument("--duration", type=float, default=4, metavar="S", help="of one measurement, seconds (4)")
    parser.add_argument("--load-threads", type=int, default=1, metavar="N", help="threads of the load (1)")
    parser.add_argument("--subject", default="comparison", help="of the folder bench-results/<date>-<subject>")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to write, in place of that")
    parser.add_argument("--load", type=Path, metavar="PROGRAM", help="the campanile whose load is used (this one)")
    parser.add_argument("--replot", type=Path, metavar="DIR", help="only write README.md and plots of DIR again")
    parser.add_argument("--test", action="store_true", help="a trial: tiny, unoptimized, below target/")
    return parser.parse_args()


def chosen(all_of_them: list, ids: list[str] | None) -> list:
    """Those that are named, or all."""
    if ids is None:
        return all_of_them
    known = {one.id for one in all_of_them}
    if unknown := [id for id in ids if id not in known]:
        sys.exit(f"there is no {', '.join(unknown)}; there are {', '.join(one.id for one in all_of_them)}")
    return [one for one in all_of_them if one.id in ids]


def build(servers: list[Server], trial: bool) -> tuple[list[Server], dict[str, str]]:
    """Those that can be measured; and why the others cannot."""
    ready, unavailable = [], {}
    # It is the load as well.
    CAMPANILE.build(trial)
    for server in servers:
        say(f"building {server.label}")
        try:
            server.build(trial)
            ready.append(server)
        except Unavailable as why:
            say(f"  left out: {why}")
            unavailable[server.label] = str(why).splitlines()[0]
    return ready, unavailable


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def save(raw: dict, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "raw.json").write_text(json.dumps(raw, indent=1) + "\n")


def write_report(raw: dict, folder: Path) -> None:
    results = Results(raw, WORKLOADS)
    (folder / "README.md").write_text(report.markdown(results, plots.draw(results, folder)))


def compare(options: argparse.Namespace) -> int:
    workloads = chosen(WORKLOADS, options.workloads)
    servers = chosen([server for server in SERVERS if server.trial or not options.test], options.servers)
    if options.before:
        servers.insert(1, Earlier(options.before))
    servers, unavailable = build(servers, options.test)
    folder, runs, seconds = options.out or dated_folder(options.subject), options.runs, options.duration
    if options.test:
        folder, runs, seconds = options.out or TARGET / "compare-trial", 1, TRIAL_S
        workloads = [workload.small() for workload in workloads]
    others_runs = min(runs, options.others_runs)
    load = options.load.resolve() if options.load else CAMPANILE.program()
    conditions = measure.Conditions.here(load, seconds, options.load_threads)
    raw = {
        "subject": options.subject,
        "host": host.facts(),
        "command": measure.shown(["scripts/bench-compare", *sys.argv[1:]]),
        "runs": runs,
        "others_runs": others_runs,
        "seconds": seconds,
        "cores": conditions.cores,
        "load_threads": options.load_threads,
        "servers": {server.id: {"label": server.label, "version": server.version} for server in servers},
        "unavailable": unavailable,
        "records": [],
    }
    for run in range(runs):
        for workload in workloads:
            taking_part = [server for server in servers if server.principal or run < others_runs]
            for server in in_turn(taking_part, workload, run):
                raw["records"].append({"run": run, **measure.measure(server, workload, conditions)})
                say(line(run, workload, server, raw["records"][-1]))
            # A long comparison that is interrupted has not been in vain.
            save(raw, folder)
    write_report(raw, folder)
    say(f"written: {measure.shown([folder])}")
    return int(any("failed" in record for record in raw["records"] if record["server"] == CAMPANILE.id))


def dated_folder(subject: str) -> Path:
    return ROOT / "bench-results" / f"{datetime.date.today()}-{subject}"


def in_turn(servers: list[Server], workload: Workload, run: int) -> list[Server]:
    """Those that have the application, each run beginning with another one."""
    able = [server for server in servers if workload.app in server.apps]
    first = run % max(1, len(able))
    return able[first:] + able[:first]


def line(run: int, workload: Workload, server: Server, record: dict) -> str:
    start = f"run {run + 1}  {workload.id:4} {server.label:24}"
    if "failed" in record:
        return f"{start} FAILED: {record['failed']}"
    result = record["result"]
    known = [figure for figure in workload.figures() if result.get(figure.name) is not None]
    shown = (f"{figure.label} {result[figure.name] / figure.divisor:.4g}" for figure in known)
    return f"{start} {', '.join(shown)}"


def main() -> int:
    options = arguments()
    if options.replot:
        write_report(json.loads((options.replot / "raw.json").read_text()), options.replot)
        return 0
    os.chdir(ROOT)
    TARGET.mkdir(parents=True, exist_ok=True)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return compare(options)


if __name__ == "__main__":
    sys.exit(main())
