# What the scripts `ensure` in the folders beside this file have in common: where programs are that the tests need, built or
# installed once into the user's cache. It is no program; a script sets `here`, its own folder, and `name`, and reads it:
#
#   exit_if_cached FILE…   prints the folder, and ends, where the cache has what is made of these files
#   need_go FOLDER         ends where Go cannot build the module in this folder
#   begin_build            takes the lock, and makes `$building`, an empty folder to build in
#   build …                one program of a Go module, into `$building`
#   publish                puts `$building` into its place and prints the folder
#
# The last line of standard output is the folder. All else is said on standard error.
# shellcheck shell=sh

started=$(date +%s)

say() { printf '%s: %s\n' "$name" "$*" >&2; }
die() { say "$*"; exit 1; }
elapsed() { now=$(date +%s); printf '%s s' "$((now - started))"; }

digest() {
    if command -v sha256sum >/dev/null 2>&1; then sha256sum; else shasum -a 256; fi | cut -c 1-16
}

# Files, and words, that count. So do this file, the script, and the machine's kind: a home folder may be shared by several.
exit_if_cached() {
    key=$({
        uname -sm
        for part in "$@"; do
            if [ -f "$part" ]; then cat "$part"; else printf '%s\n' "$part"; fi
        done
        cat "$here/ensure" "$here/../ensure.sh"
    } | digest)
    cache=${XDG_CACHE_HOME:-${HOME:?neither XDG_CACHE_HOME nor HOME is set}/.cache}/compliance-partner-operator/$(basename "$here")
    ensured=$cache/$key
    print_if_there
}

# The folder is renamed into place only when it is whole, so that it exists is enough.
print_if_there() {
    if [ -d "$ensured" ]; then
        printf '%s\n' "$ensured"
        exit 0
    fi
}

# $1: the folder of a module; $2: what else helps. Nothing of the user's Go settings may change what is built.
# `-mod=readonly`: go.mod and go.sum say it all.
need_go() {
    command -v go >/dev/null 2>&1 ||
        die "Go is needed to build this and is not in PATH; install Go 1.26 or later${2:+, or $2}"
    export GOWORK=off GOFLAGS='-mod=readonly -buildvcs=false'
    # Asked inside the module: there Go may switch to a newer toolchain, where it is allowed to fetch one.
    version=$(cd "$1" && go env GOVERSION 2>/dev/null) || version=
    version=${version:-$(cd / && go env GOVERSION 2>/dev/null || echo 'of unknown version')}
    numbers=$(printf '%s' "$version" | sed -n 's/^go\([0-9]*\)\.\([0-9]*\).*/\1 \2/p')
    if [ "${numbers%% *}" != "$numbers" ] && { [ "${numbers%% *}" -gt 1 ] || [ "${numbers#* }" -ge 26 ]; }; then
        return
    fi
    die "Go 1.26 or later is needed to build this, but '$(command -v go)' is $version"
}

begin_build() {
    command -v flock >/dev/null 2>&1 || die 'flock (util-linux) is needed to build this, and is not in PATH'
    mkdir -p "$cache"
    exec 9>"$cache/$key.lock"
    if ! flock -n 9; then
        say 'another process is building this; waiting'
        flock 9
        print_if_there
    fi
    # The lock guards this folder: what a killed build left in it is nobody's.
    building=$cache/.building.$key
    rm -rf "$building"
    mkdir "$building"
    trap 'rm -rf "$building"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# $1: the folder of a module; $2: the program, as a path in `$building`; $3: its package; $4: flags of the linker; the rest:
# more flags of `go build`.
build() {
    module=$1 output=$2 package=$3 linker=$4
    shift 4
    (cd "$module" && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w $linker" "$@" -o "$building/$output" "$package" >&2 9>&-) ||
        die "$output could not be built; what Go says stands above"
}

publish() {
    mv "$building" "$ensured"
    say "done after $(elapsed)"
    printf '%s\n' "$ensured"
}

# The version of a module that a go.mod requires: $1 the file, $2 the module.
version_of() { sed -n "s|^\(require\)\{0,1\}[[:space:]]*$2 v\([^ ]*\).*|\2|p" "$1"; }

# Flags of the linker for a program of Kubernetes: without its version a server answers v0.0.0, which kubectl cannot parse.
# $1: the version.
kubernetes_stamps() {
    minor=${1#*.}
    stamp=k8s.io/component-base/version
    printf '%s' "-X $stamp.gitVersion=v$1 -X $stamp.gitMajor=${1%%.*} -X $stamp.gitMinor=${minor%%.*}"
}
