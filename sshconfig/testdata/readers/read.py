"""Reads ssh configurations with paramiko: read.py HOST... -- FILE...

prints for each file what it knows of each host. paramiko follows no Include, so whoever
uses it has it read Cardea's file, which lies beside, before the user's own.
"""
import json
import os
import sys

import paramiko

end = sys.argv.index("--")
out = {}
for name in sys.argv[end + 1:]:
    config = paramiko.SSHConfig()
    for part in (os.path.join(os.path.dirname(name), "cardea", "config"), name):
        with open(part, encoding="utf-8") as f:
            config.parse(f)
    listed = sorted(n for n in config.get_hostnames() if not set(n) & set("*?!"))
    hosts = {h: {k: v if isinstance(v, str) else " ".join(v) for k, v in config.lookup(h).items()} for h in sys.argv[1:end]}
    out[name] = {"listed": listed, "hosts": hosts}
print(json.dumps({"paramiko " + paramiko.__version__: out}))
