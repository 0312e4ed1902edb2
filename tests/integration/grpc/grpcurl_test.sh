#!/bin/bash
# The shell's way in: grpcurl over reflection, without proto files. Run under with_daemon.
# grpcurl is not in Debian: it is built with go where there is one, into the build directory.
set -eu

tools=${HEDDLE_BUILD_DIR:?}/tools
version=v1.9.1
if [ ! -x "$tools/grpcurl" ]; then
  if ! command -v go >/dev/null; then
    echo "SKIPPED grpcurl: there is no go to build it with"
    exit 77
  fi
  mkdir -p "$tools"
  if ! GOBIN=$tools timeout 240 go install \
      "github.com/fullstorydev/grpcurl/cmd/grpcurl@$version" >"$tools/grpcurl.log" 2>&1; then
    echo "SKIPPED grpcurl: go install failed: $(tail -n 1 "$tools/grpcurl.log")"
    exit 77
  fi
fi

socket=$HEDDLE_RUNTIME_DIR/grpc.sock
call() { "$tools/grpcurl" -plaintext -unix -authority localhost "$@"; }
queue() { call -d "$2" "$socket" "heddle.v1.QueueService/$1"; }
expect() { # text pattern
  if ! grep -q -- "$2" <<<"$1"; then
    printf 'expected %s in:\n%s\n' "$2" "$1"
    exit 1
  fi
}

services=$(call "$socket" list)
for service in heddle.v1.QueueService heddle.v1.LockService heddle.v1.SessionService \
    heddle.v1.AdminService grpc.health.v1.Health; do
  expect "$services" "^$service\$"
done
expect "$(call "$socket" describe heddle.v1.QueueService.Put)" QueueServicePutRequest
expect "$(call -d '{}' "$socket" grpc.health.v1.Health/Check)" SERVING

expect "$(queue Create '{"name":"jobs","options":{"max_len":10}}')" '"created": true'
expect "$(queue Put '{"name":"jobs","message":{"text":"hi"}}')" OUTCOME_OK
expect "$(queue Put '{"name":"jobs","message":{"json":{"a":[1,"two"]}}}')" OUTCOME_OK
browsed=$(queue Browse '{"name":"jobs","max_body_bytes":100}')
expect "$browsed" '"text": "hi"'
expect "$browsed" MESSAGE_STATE_READY
expect "$(queue Get '{"name":"jobs","timeout_ms":1000}')" '"text": "hi"'
expect "$(queue Get '{"name":"jobs","body_as":"BODY_AS_JSON"}' | tr -d ' \n')" '"a":\[1,"two"\]'
expect "$(queue Get '{"name":"jobs","timeout_ms":0}')" OUTCOME_EMPTY
failure=$(queue Put '{"name":"nothing","message":{"text":"hi"}}' 2>&1 || true)
expect "$failure" NotFound
expect "$failure" 'heddle queue create'

# A session lives as long as its stream; its token goes with every call that holds something.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkfifo "$work/requests"
call -d @ "$socket" heddle.v1.SessionService/Open <"$work/requests" >"$work/session" &
stream=$!
exec 9>"$work/requests"
echo '{"name":"shell"}' >&9
for _ in $(seq 200); do
  token=$(sed -n 's/.*"token": "\([0-9a-f]*\)".*/\1/p' "$work/session")
  if [ -n "$token" ]; then break; fi
  sleep 0.05
done
lock() { call -H "heddle-session: $token" -d "$2" "$socket" "heddle.v1.LockService/$1"; }
grant=$(lock Acquire '{"name":"ledger","timeout_ms":1000}')
expect "$grant" '"token": '
held=$(sed -n 's/.*"token": "\([0-9]*\)".*/\1/p' <<<"$grant")
fenced='"fence":{"lock":"ledger","token":"'$held'"}'
expect "$(queue Put '{"name":"jobs","message":{"text":"in time"},'"$fenced"'}')" OUTCOME_OK
produce() { # requests, one a line
  printf '%s\n' "$@" | call -d @ "$socket" heddle.v1.QueueService/Produce
}
batch='{"name":"jobs","messages":[{"text":"x"},{"text":"y"}],'$fenced'}'
expect "$(produce "$batch" "$batch" | tr -d ' \n')" '"done":2}{"outcome":"OUTCOME_OK","done":2}'
expect "$(lock Acquire '{"name":"ledger","timeout_ms":0,"thread":1}')" OUTCOME_EMPTY
expect "$(lock Inspect '{"name":"ledger"}')" '"holders"'
expect "$(lock Release '{"name":"ledger"}')" OUTCOME_OK
expect "$(lock Release '{"name":"ledger"}')" OUTCOME_LEASE_LOST
expect "$(lock Create '{"kind":"SYNC_KIND_SEMAPHORE","name":"seats","options":{"count":2}}')" \
  '"created": true'
expect "$(lock Acquire '{"kind":"SYNC_KIND_SEMAPHORE","name":"seats","permits":2}')" OUTCOME_OK
expect "$(lock Acquire '{"name":"ledger","timeout_ms":1000}')" '"token": '
for failure in "$(queue Put '{"name":"jobs","message":{"text":"late"},'"$fenced"'}' 2>&1 || true)" \
    "$(produce "$batch" 2>&1 || true)"; do
  expect "$failure" FailedPrecondition
  expect "$failure" "token $held was given"
done
expect "$(queue Info '{"name":"jobs"}')" '"ready": "5"'
exec 9>&-  # the end of the session: what it held comes free
wait "$stream"
expect "$(call -d '{"kind":"SYNC_KIND_SEMAPHORE","name":"seats"}' "$socket" \
  heddle.v1.LockService/Inspect)" '"free": 2'
failure=$(call -d '{"name":"ledger"}' "$socket" heddle.v1.LockService/Acquire 2>&1 || true)
expect "$failure" InvalidArgument
expect "$failure" SessionService/Open
echo "grpcurl $("$tools/grpcurl" -version 2>&1): ok"
