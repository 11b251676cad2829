#!/usr/bin/env python3
"""What the program is made of: a CycloneDX 1.5 bill of materials and a Debian copyright file, from `cargo metadata` and Cargo.lock.

Usage: scripts/bill.py OUT [CARGO-METADATA-ARGUMENT]...   writes OUT/vcp-line.cdx.json and OUT/copyright
"""

import json
import pathlib
import re
import subprocess
import sys
import tomllib
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent
LICENCE = re.compile(r"^(licen[cs]e|copying|unlicense|notice|copyright)", re.IGNORECASE)


def metadata(extra):
    asked = ["cargo", "metadata", "--format-version=1", "--locked", "--filter-platform=x86_64-unknown-linux-gnu", *extra]
    return json.loads(subprocess.run(asked, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def linked(meta):
    """Ids of the crates that are compiled into the program, with those that they need; what only builds and tests is left out."""
    nodes = {node["id"]: node for node in meta["resolve"]["nodes"]}
    found, waiting = {}, [meta["resolve"]["root"]]
    while waiting:
        node = nodes[waiting.pop()]
        if node["id"] in found:
            continue
        normal = [d["pkg"] for d in node["deps"] if any(kind["kind"] is None for kind in d["dep_kinds"])]
        found[node["id"]] = sorted(normal)
        waiting += normal
    return found


def reference(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, hashes):
    part = {
        "type": "library",
        "bom-ref": reference(package),
        "name": package["name"],
        "version": package["version"],
        "purl": reference(package),
        "scope": "required",
    }
    if package.get("description"):
        part["description"] = " ".join(package["description"].split())
    if package.get("license"):
        # The slash was how Cargo wrote OR.
        part["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    checksum = hashes.get((package["name"], package["version"]))
    if checksum:
        part["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if (package.get("repository") or "").startswith("http"):
        part["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return part


def bill(meta, tree, packages, hashes):
    root = packages[meta["resolve"]["root"]]
    program = {**component(root, {}), "type": "application"}
    del program["scope"]
    others = [component(packages[key], hashes) for key in tree if key != root["id"]]
    others.sort(key=lambda part: part["bom-ref"])
    needs = [{"ref": reference(packages[key]), "dependsOn": [reference(packages[d]) for d in tree[key]]} for key in tree]
    needs.sort(key=lambda need: need["ref"])
    # The same for the same lock file, on every machine.
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([others, needs], sort_keys=True))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {"component": program},
        "components": others,
        "dependencies": needs,
    }


def texts(package):
    folder = pathlib.Path(package["manifest_path"]).parent
    names = sorted(path for path in folder.iterdir() if path.is_file() and LICENCE.match(path.name))
    whole = [path.read_text("utf-8", "replace").replace("\r\n", "\n") for path in names]
    # Behind the terms of the Apache licence stands who has given it.
    return [part.strip() for text in whole for part in re.split("(?<=END OF TERMS AND CONDITIONS)", text) if part.strip()]


def debian(text):
    return "\n".join(" " + (line.rstrip() or ".") for line in text.split("\n"))


def copyright_file(meta, tree, packages):
    root = meta["resolve"]["root"]
    parts = [
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: vcp-line\n"
        "Upstream-Contact: no address; /usr/share/doc/vcp-line/SECURITY.md says where to report",
        f"Files: *\nCopyright: 2026 the authors of vcp-line\nLicense: {packages[root]['license']}\n"
        " The full text is in /usr/share/common-licenses/Apache-2.0.",
    ]
    known = {}
    for key in sorted(tree, key=lambda key: reference(packages[key])):
        package = packages[key]
        if key == root:
            continue
        licence = (package.get("license") or "see the text").replace("/", " OR ").replace(" OR ", " or ").replace(" AND ", " and ")
        said = []
        for text in texts(package):
            # Hundreds of crates have the same words, in lines of another length: they stand where they come first.
            first = known.setdefault(" ".join(text.split()), f"{package['name']} {package['version']}")
            own = f"{package['name']} {package['version']}"
            said.append(debian(text if first == own else f"The text is that of {first}."))
        authors = ", ".join(package.get("authors") or []) or f"the authors of {package['name']}"
        body = "\n .\n".join(said) or " No text comes with it."
        files = f"Files: {package['name']}-{package['version']}/*"
        parts.append(f"{files}\nCopyright: {' '.join(authors.split())}\nLicense: {licence}\n{body}")
    return "\n\n".join(parts) + "\n"


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    meta = metadata(sys.argv[2:])
    packages = {package["id"]: package for package in meta["packages"]}
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text("utf-8"))
    hashes = {(package["name"], package["version"]): package.get("checksum") for package in lock["package"]}
    tree = linked(meta)
    text = json.dumps(bill(meta, tree, packages, hashes), indent=1, ensure_ascii=False)
    (out / "vcp-line.cdx.json").write_text(text + "\n", "utf-8")
    (out / "copyright").write_text(copyright_file(meta, tree, packages), "utf-8")
    print(f"{len(tree)} crates in {out}")


main()
