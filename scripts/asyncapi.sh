#!/usr/bin/env bash
# Judges deploy/asyncapi.yaml by the official parser of AsyncAPI (npm, pinned, 54 MB under the user's cache directory).
# Usage: scripts/asyncapi.sh
set -euo pipefail

version=3.6.6
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
place="${XDG_CACHE_HOME:-$HOME/.cache}/vcp-line/asyncapi-parser-$version"

command -v npm >/dev/null || {
  printf 'asyncapi: npm is not there; install the Debian package npm\n' >&2
  exit 1
}
if [[ ! -d "$place/node_modules/@asyncapi/parser" ]]; then
  mkdir -p "$place"
  npm install --prefix "$place" --no-audit --no-fund --ignore-scripts "@asyncapi/parser@$version" >&2
fi
cat >"$place/judge.mjs" <<'JAVASCRIPT'
import { Parser, fromFile } from "@asyncapi/parser";

const { document, diagnostics } = await fromFile(new Parser(), process.argv[2]).parse();
for (const { severity, message, path } of diagnostics) {
  console.log(["error", "warning", "info", "hint"][severity], path.join("."), message);
}
if (!document || diagnostics.some(({ severity }) => severity < 2)) process.exit(1);
console.log(`${process.argv[2]}: valid, AsyncAPI ${document.version()}`);
JAVASCRIPT
node "$place/judge.mjs" "$root/deploy/asyncapi.yaml"
