"""Read or write one dataset with one tool; run in that tool's environment, with the arguments in a JSON file.

python -m benchmarks.consumers.use_tool ARGUMENTS.json OUT.json
"""

import importlib
import json
import sys
from pathlib import Path


def main():
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    tool = importlib.import_module(f"benchmarks.consumers.tools.{given['tool']}")
    paths = [Path(path) for path in given["paths"]]
    if given["verb"] == "read":
        out = tool.read(*paths, given["split"], masks=given["masks"], **given["more"])
    else:
        out = str(tool.write(*paths, masks=given["masks"], **given["more"]))
    Path(sys.argv[2]).write_text(json.dumps(out), encoding="utf-8")


if __name__ == "__main__":
    main()
