#!/usr/bin/env bash
# Sparkplug B between two libraries. npm sparkplug-payload 1.0.3 (Eclipse Tahu's) reads a UInt32 out of long_value only,
# pysparkplug 0.6.1 writes it into int_value: the value arrives as null, without an error. The other way round it arrives.
# A metric without a datatype, as the specification wants it in DATA messages
# (tck-id-payloads-metric-datatype-not-req), is null there too, whatever its type.
# Who wants to be read by both sends UInt64 or Int64, with datatypes also in DATA.
# Needs npm, python3-pip. Fails when what is seen has changed.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
echo '{"private":true}' >package.json
npm install --silent --ignore-scripts --no-audit --no-fund sparkplug-payload@1.0.3
python3 -m pip install --quiet --root-user-action=ignore --disable-pip-version-check --no-warn-conflicts --target python pysparkplug==0.6.1

cat >write.py <<'PYTHON'
import sys
from pysparkplug import DataType, Metric, NData

TYPES = [DataType.INT32, DataType.UINT32, DataType.INT64, DataType.UINT64, DataType.DOUBLE]
metrics = tuple(Metric(timestamp=1, name=kind.name, datatype=kind, value=7) for kind in TYPES)
with open("typed.bin", "wb") as file:
    file.write(NData(timestamp=1, seq=0, metrics=metrics).encode(include_dtypes=True))
with open("untyped.bin", "wb") as file:
    file.write(NData(timestamp=1, seq=0, metrics=metrics).encode(include_dtypes=False))
PYTHON
cat >read.py <<'PYTHON'
from pysparkplug import NData

for name in ["typed.bin", "theirs.bin"]:
    metrics = NData.decode(open(name, "rb").read()).metrics
    print(f"pysparkplug reads {name}:", ", ".join(f"{metric.name}={metric.value}" for metric in metrics))
PYTHON
cat >codec.cjs <<'JS'
const fs = require('node:fs')
const codec = require('sparkplug-payload').get('spBv1.0')
const metrics = [{ name: 'INT32', type: 'Int32', value: 7 }, { name: 'UINT32', type: 'UInt32', value: 7 }]
fs.writeFileSync('theirs.bin', codec.encodePayload({ timestamp: 1, seq: 0, metrics }))
for (const name of ['typed.bin', 'untyped.bin']) {
  const read = codec.decodePayload(fs.readFileSync(name)).metrics.map((metric) => `${metric.name}=${metric.value}`)
  console.log(`sparkplug-payload reads ${name}: ${read.join(', ')}`)
}
JS
PYTHONPATH=python python3 write.py
{
  node codec.cjs
  PYTHONPATH=python python3 read.py
} | tee seen

diff seen - <<'EXPECTED' || { echo "what is seen has changed"; exit 1; }
sparkplug-payload reads typed.bin: INT32=7, UINT32=null, INT64=7, UINT64=7, DOUBLE=7
sparkplug-payload reads untyped.bin: INT32=null, UINT32=null, INT64=null, UINT64=null, DOUBLE=null
pysparkplug reads typed.bin: INT32=7, UINT32=7, INT64=7, UINT64=7, DOUBLE=7.0
pysparkplug reads theirs.bin: INT32=7, UINT32=7
EXPECTED
echo "as described"
