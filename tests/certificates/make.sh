#!/usr/bin/env bash
# Made once: two authorities, and a certificate of the first for 127.0.0.1 with its key. They guard
# nothing but tests, and last a hundred years so that no test ends with them.
set -euo pipefail
cd "$(dirname "$0")"
new=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
for name in ours another; do
  openssl req -x509 "${new[@]}" -days 36500 -subj "/CN=$name" -keyout "$name.key" -out "$name.pem"
done
openssl req "${new[@]}" -subj "/CN=127.0.0.1" -keyout server.key -out server.csr
openssl x509 -req -days 36500 -in server.csr -CA ours.pem -CAkey ours.key -CAcreateserial \
  -extfile <(echo "subjectAltName=IP:127.0.0.1") -out server.pem
cat server.key >> server.pem
rm -- *.key *.csr *.srl
