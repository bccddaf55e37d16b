"""k8s_test.py -- the example for Kubernetes has the shape of an indexed job (no cluster is asked)

usage: k8s_test.py k8s-job.yaml

Reads the part of YAML that the example uses (maps and lists by indentation, lists in brackets), with
nothing but Python's own library, and looks at what a cluster would refuse or get wrong.
"""
import json
import re
import sys


def value(text):
    if text.startswith("["):
        return json.loads(text)
    return int(text) if text.isdigit() else text


def block(lines, indent):
    """Take the lines of one map or list, the first of which is indented by `indent`."""
    if lines[0][1].startswith("- "):
        items = []
        while lines and lines[0][0] == indent and lines[0][1].startswith("- "):
            lines[0] = (indent + 2, lines[0][1][2:])
            items.append(block(lines, indent + 2))
        return items
    found = {}
    while lines and lines[0][0] == indent and not lines[0][1].startswith("- "):
        name, _, rest = lines.pop(0)[1].partition(":")
        assert re.fullmatch(r"[A-Za-z]+", name) and name not in found, name
        found[name] = value(rest.strip()) if rest.strip() else block(lines, lines[0][0])
    assert not lines or lines[0][0] <= indent, lines[0]
    return found


def read(path):
    with open(path, encoding="utf-8") as f:
        rows = [line.rstrip("\n") for line in f]
    assert not any("\t" in row for row in rows), "YAML has no tabs"
    lines = [(len(row) - len(row.lstrip()), row.strip()) for row in rows
             if row.strip() and not row.strip().startswith("#")]
    whole = block(lines, 0)
    assert not lines, lines
    return whole


def check(job):
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", job["metadata"]["name"])
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed", "without it there is no JOB_COMPLETION_INDEX"
    assert 1 <= spec["parallelism"] <= spec["completions"]
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] in ("OnFailure", "Never"), "what jobs may have"
    volumes = {v["name"] for v in pod["volumes"]}
    for container in pod["containers"]:
        assert container["image"] and container["name"]
        for mount in container["volumeMounts"]:
            assert mount["name"] in volumes and mount["mountPath"].startswith("/")
        shell = container["command"][-1]
        assert "--shard auto/%d " % spec["completions"] in shell, "shares are completions"
        assert "--out /work/out/$JOB_COMPLETION_INDEX" in shell, "a folder for each share"


check(read(sys.argv[1]))
print("an indexed job")
