#!/usr/bin/env python3
"""Reads a report of the Autobahn suite and decides: judge.py REPORT EXCEPTIONS CASES_MIN

A report is the suite's own index.json ({agent: {case: result}}) or a summary
({"cases": {case: result}, "flaky": [case]}). A result has "behavior" and "behaviorClose".
"""

import json
import sys
from collections import Counter

GOOD = {"OK", "INFORMATIONAL"}


def read_report(path):
    """Results by case, and the cases that did not give the same twice."""
    with open(path) as file:
        report = json.load(file)
    if "cases" in report:
        return report["cases"], report.get("flaky", [])
    (results,) = report.values()
    return results, []


def read_exceptions(path):
    """Reasons by case."""
    exceptions = {}
    with open(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip() and not line.startswith("#"):
                case, *reason = line.split(maxsplit=1)
                if not reason:
                    sys.exit(f"{path}:{number}: {case} has no reason")
                exceptions[case] = reason[0].strip()
    return exceptions


def main():
    report, exceptions_path, cases_min = sys.argv[1:]
    try:
        results, flaky = read_report(report)
    except (OSError, ValueError) as error:
        sys.exit(f"FAILED: the suite left no report: {error}")
    exceptions = read_exceptions(exceptions_path)
    problems, outcomes = [], Counter()
    if len(results) < int(cases_min):
        problems.append(f"only {len(results)} of {cases_min} cases were run")
    for case, result in results.items():
        behavior, close = result["behavior"], result["behaviorClose"]
        outcomes[str(behavior)] += 1
        good = {behavior, close} <= GOOD
        if good and case in exceptions:
            problems.append(f"{case} passes, but is listed as an exception")
        elif not good and case not in exceptions:
            problems.append(f"{case}: behaviour {behavior}, close {close}")
        elif not good:
            print(f"{case}: {behavior}, {close}; excepted: {exceptions[case]}")
    problems += [f"{case}: failed once, and passed when it was run again" for case in flaky]
    print(f"{len(results)} cases:", ", ".join(f"{n} {name}" for name, n in outcomes.most_common()))
    for problem in problems:
        print(f"FAILED: {problem}")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
