"""Each call of a stand-in is a line of JSON in $DDP_STAND_IN_RECORD."""
import json
import os


def record(tool, arguments):
    with open(os.environ["DDP_STAND_IN_RECORD"], "a", encoding="utf-8") as file:
        file.write(json.dumps([tool, *arguments]) + "\n")
