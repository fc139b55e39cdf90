# Commands of the pages that need AWS itself, replaced for the local stack. For bash and zsh.

not_run() { echo "NOT RUN: $*" >> "$NOT_RUN"; }

# The build for arm64 takes a quarter of an hour. The packaged template of the local stack is deployed instead.
make() {
  if [ "$1" = release ]; then not_run make "$@"; else command make "$@"; fi
}

sam() {
  if [ "$1" = deploy ]; then
    command sam "$@" --config-file "$PWD/samconfig.toml" --template-file "$TEMPLATE" \
      --parameter-overrides "Architecture=$ARCHITECTURE"
  else
    command sam "$@"
  fi
}

aws() {
  case $1 in
    service-quotas) not_run aws "$@" ;;
    *) command aws "$@" ;;
  esac
}

# The emulator serves the newest API at its own address.
curl() {
  local words=()
  for word in "$@"; do
    words+=("${word/https:\/\/*.amazonaws.com/$AWS_ENDPOINT_URL}")
  done
  command curl "${words[@]}"
}

# A payment takes longer on a busy machine than the page waits.
sleep() {
  for _ in $(seq 300); do
    case $(curl -s "$API/api/orders/$ORDER" -H "Authorization: Bearer $TOKEN") in
      *'"paid"'*) return ;;
    esac
    command sleep 0.2
  done
  return 1
}
