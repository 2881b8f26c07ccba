#!/usr/bin/env python3
"""Sums up the test logs of build folders: prints what failed, then "N passed, N failed"; exits 1 on a failure or when nothing ran.

usage: count_tests.py BUILD_FOLDER...
"""
import json
import os
import sys

GOOD, SKIPPED = {"OK", "EXPECTEDFAIL"}, {"SKIP"}


def main():
    passed, skipped, failures = 0, 0, []
    for folder in sys.argv[1:]:
        path = os.path.join(folder, "meson-logs", "testlog.json")
        if not os.path.exists(path):
            failures.append(f"{folder}: no test ran")
            continue
        with open(path, encoding="utf-8") as file:
            for test in map(json.loads, file):
                if test["result"] in GOOD:
                    passed += 1
                elif test["result"] in SKIPPED:
                    skipped += 1
                else:
                    failures.append(f"{folder}: {test['name']}: {test['result']}")
    for failure in failures:
        print("FAILED", failure)
    print(f"{passed} passed, {len(failures)} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failures or passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
