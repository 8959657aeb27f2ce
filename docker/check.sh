#!/usr/bin/env bash
# Builds and tries the images without a Docker engine, with buildah and debootstrap (root): npm run docker:check.
# Dockerfile.cpu is built whole, started as it says, asked, and stopped; of the GPU images the stages that need nothing
# of NVIDIA's are built. Base images are not pulled: one made from this machine's distribution, with this machine's Node,
# stands in for the Node image under the name in FROM.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }
fail() {
  printf '\ndocker:check failed: %s\n' "$*" >&2
  exit 1
}

for tool in buildah debootstrap; do
  command -v "$tool" >/dev/null ||
    fail "$tool is not installed, so nothing was built or tried. On Debian: apt-get install buildah debootstrap."
done
[ -x node_modules/.bin/tsx ] || fail 'this checkout has no packages for the requests of examples/: npm ci first.'
[ "$(id -u)" = 0 ] || fail 'debootstrap needs root, so nothing was built or tried.'

export BUILDAH_ISOLATION=chroot
work=$(mktemp -d)
runner=
# The server is the last of the line of processes that `buildah run` starts.
server() {
  local pid=$runner child
  while child=$(pgrep --parent "$pid"); do pid=$child; done
  echo "$pid"
}
clean_up() {
  [ -z "$runner" ] || { kill -KILL "$(server)"; wait "$runner"; } 2>/dev/null || true
  rm -rf "$work"
}
trap clean_up EXIT
buildah() { command buildah --storage-driver vfs --root "$work/storage" --runroot "$work/run" "$@"; }

say 'the base image'
base=$(awk '$1 == "FROM" && $4 == "node" { print $2 }' docker/Dockerfile.cpu)
. /etc/os-release
mirror=$(apt-get indextargets --format '$(SITE)' "Codename: $VERSION_CODENAME" 'Created-By: Packages' | head -n 1)
[ -n "$mirror" ] || fail "apt knows no mirror of $VERSION_CODENAME: run apt-get update."
debootstrap --variant=minbase --include=ca-certificates,libstdc++6 "$VERSION_CODENAME" "$work/base" "$mirror" >"$work/log" 2>&1 ||
  fail "debootstrap $VERSION_CODENAME: $(tail -n 5 "$work/log")"
rm -rf "$work"/base/var/cache/apt "$work"/base/var/lib/apt/lists "$work"/base/usr/share/{doc,locale,man}
install -D "$(node -p process.execPath)" "$work/base/usr/local/bin/node"
mkdir -p "$work/base/usr/local/lib/node_modules"
cp -r "$(npm root --global)/npm" "$work/base/usr/local/lib/node_modules/npm"
ln -s ../lib/node_modules/npm/bin/npm-cli.js "$work/base/usr/local/bin/npm"
chroot "$work/base" node --version >"$work/node-version" || fail 'this machine’s Node does not run in the base image.'
container=$(buildah from scratch)
buildah copy --quiet "$container" "$work/base" / >/dev/null
buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
buildah commit --quiet --rm "$container" "$base" >/dev/null
rm -rf "$work/base"
printf '%s is stood in for by %s with Node %s.\n' "$base" "$PRETTY_NAME" "$(cat "$work/node-version")"

# This machine's npm settings reach the build as a secret and stay out of the images.
{
  cat "$(npm config get userconfig)" 2>/dev/null || true
  printf '\nregistry=%s\ncache=/run/npm\n' "$(npm config get registry)"
} >"$work/npmrc"
mkdir "$work/npm"
build=(bud --pull-never --format docker --secret "id=npmrc,src=$work/npmrc" --volume "$work/npm:/run/npm")
if [ -n "${NODE_EXTRA_CA_CERTS:-}" ]; then
  printf 'cafile=/run/ca.pem\n' >>"$work/npmrc"
  build+=(--volume "$(realpath "$NODE_EXTRA_CA_CERTS"):/run/ca.pem:ro")
fi

say 'Dockerfile.cpu'
buildah "${build[@]}" --file docker/Dockerfile.cpu --tag turbo-pi:cpu . || fail 'Dockerfile.cpu does not build.'

size=$(buildah images --format '{{.Size}}' turbo-pi:cpu)
printf 'turbo-pi:cpu has %s, of which its base image %s.\n' "$size" "$(buildah images --format '{{.Size}}' "$base")"

say 'the server of turbo-pi:cpu'
words() { buildah inspect --type image --format "{{range .Docker.Config.$1}}{{println .}}{{end}}" turbo-pi:cpu; }
mapfile -t command < <(words Entrypoint; words Cmd)
mapfile -t health < <(words Healthcheck.Test | sed 1d)
container=$(buildah from --pull-never turbo-pi:cpu)
port=$(node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close() })')
image() { buildah run --env TURBO_PI_HOST=127.0.0.1 --env "TURBO_PI_PORT=$port" "$container" -- "$@"; }

if buildah run "$container" -- "${command[@]}" >"$work/log" 2>&1; then fail 'it serves other machines without an API key.'; fi
grep -q TURBO_PI_API_KEY "$work/log" || fail "it does not ask for an API key: $(cat "$work/log")"
echo 'Without an API key it refuses to start.'
if image "${health[@]}" 2>/dev/null; then fail 'the health check passes where no server runs.'; fi

image "${command[@]}" >"$work/server.log" 2>&1 &
runner=$!
for ((second = 0; ; second++)); do
  if image "${health[@]}" 2>"$work/log"; then break; fi
  kill -0 "$runner" 2>/dev/null || fail "the server ended: $(tail -n 20 "$work/server.log")"
  [ "$second" -lt 120 ] || fail "the server is not healthy: $(cat "$work/log") $(tail -n 20 "$work/server.log")"
  sleep 1
done
user=$(awk '$1 == "Uid:" { print $2 }' "/proc/$(server)/status")
[ "$user" = 10001 ] || fail "the server runs as user $user, not as 10001."
echo "The health check passes; the server runs as user $user."

npx tsx examples/infer.ts "http://127.0.0.1:$port" || fail 'the request of examples/infer.ts is not answered.'

node --input-type=module -e '
  const get = async path => {
    const response = await fetch(new URL(path, process.argv[1]), { headers: { accept: "text/html" } })
    if (!response.ok) throw new Error(`${path}: ${response.status}`)
    return response.text()
  }
  const page = await get("/")
  for (const [, path] of page.matchAll(/(?:src|href)="([^"#]+)"/g)) await get(path)
' "http://127.0.0.1:$port" || fail 'the page to watch is not in the image.'
echo 'The page to watch is there.'

kill -TERM "$(server)"
wait "$runner" || fail "the server does not stop cleanly on SIGTERM (status $?): $(tail -n 20 "$work/server.log")"
runner=
echo 'It stops cleanly on SIGTERM.'

for file in docker/Dockerfile.nvcr docker/Dockerfile.jetpack; do
  say "$file up to the stage dependencies"
  buildah "${build[@]}" --file "$file" --target dependencies . || fail "$file does not build."
  printf 'Skipped, because they need files of NVIDIA’s: the stages%s.\n' \
    "$(awk '$1 == "FROM" { if (later) printf " %s", $4; later = later || $4 == "dependencies" }' "$file")"
done

say 'docker:check passed'
