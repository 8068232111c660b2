"""The arithmetic of scripts/bench-compare: what its reports claim follows from the raw data."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts/compare"))

import report
from results import Results, Spread, number
from workloads import WORKLOADS

ECHO = WORKLOADS[0]
FULL, IDLE = {"load_cpu_share": 0.99, "server_cpu_share": 0.8}, {"load_cpu_share": 0.9, "server_cpu_share": 0.99}


def record(run, server, cpu, shares=IDLE, **more):
    result = {ECHO.figure.name: cpu, **shares}
    return {"run": run, "workload": ECHO.id, "server": server, "result": result, **more}


@pytest.fixture
def results():
    records = [record(run, "campanile", cpu) for run, cpu in enumerate([4.0, 2.0, 3.0])]
    records += [record(run, "uwebsockets", cpu, FULL) for run, cpu in enumerate([4.0, 2.5, 2.0])]
    records += [record(0, "bun", 9.0), record(1, "bun", 1.0, failed="a message was lost"), record(2, "bun", 9.0)]
    servers = {id: {"label": id, "version": "1"} for id in ("campanile", "uwebsockets", "bun")}
    head = {"subject": "test", "host": {}, "command": "", "runs": 3, "others_runs": 3, "seconds": 4, "cores": [0, 1]}
    head |= {"load_threads": 1, "unavailable": {}}
    return Results({**head, "servers": servers, "records": records}, WORKLOADS)


def test_ratios_are_those_of_each_run(results):
    # The ratio of the medians would be 1.2.
    assert results.ratio(ECHO, "uwebsockets", ECHO.figure) == Spread(1.0, 0.8, 1.5)


def test_a_run_that_failed_counts_nowhere(results):
    assert results.values(ECHO, "bun", ECHO.figure) == {0: 9.0, 2: 9.0}
    assert results.ratio(ECHO, "bun", ECHO.figure) == Spread(pytest.approx(7 / 18), 3 / 9, 4 / 9)


def test_the_report_says_where_we_lose_what_failed_and_whose_load_was_full(results):
    text = report.markdown(results, {})
    loss = "- **E1**, server CPU, µs per message: uwebsockets 2.50 (2.00 to 4.00) against 3.00 (2.00 to 4.00)"
    assert loss in text
    assert "- **E1**, bun, 1 of 3 runs: a message was lost" in text
    assert "## Where the load was full" in text and "- **E1**: uwebsockets." in text


def test_numbers_have_three_digits():
    table = {0.0321: "0.0321", 0.144: "0.144", 3: "3.00", 16.04: "16.0", 299_190.4: "299,190"}
    for value, written in table.items():
        assert number(value) == written
