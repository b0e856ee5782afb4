# Part of install-edge: the folder for devices without a network, and its list.
# shellcheck shell=sh disable=SC2034,SC2154 # the variables are those of install-edge

collect() {
    check_system
    # Left by an earlier call that was killed while it copied.
    if [ -e "$wheelhouse/.incomplete-affectd" ]; then find "$wheelhouse" -mindepth 1 -delete; fi
    [ -z "$(ls -A "$wheelhouse" 2>/dev/null)" ] || fail 64 "$wheelhouse is not empty"
    find /var/tmp -maxdepth 1 -name 'affectd-collect.*' -user "$(id -u)" -exec flock --nonblock {} rm -rf {} \;
    is_installed python3-venv || sh "$scripts/system-packages" python3-venv || fail 69 "python3-venv is missing"
    check_python
    prepare_pip
    find_wheel
    mkdir -p "$work/wheelhouse/debian/partial"
    pip_with_wheel download --only-binary :all: --dest "$work/wheelhouse" ||
        fail 69 "pip could not download what affectd needs"
    # With an empty list of installed packages, apt-get fetches all dependencies.
    # shellcheck disable=SC2086  # one word per package
    apt-get install -y -qq --download-only --no-install-recommends -o Dir::State::status=/dev/null \
        -o Dir::Cache::archives="$work/wheelhouse/debian" -o Debug::NoLocking=true -o APT::Sandbox::User=root \
        $packages >/dev/null || fail 69 "apt-get could not download $packages; does \"sudo apt-get update\" help?"
    rm -rf "$work/wheelhouse/debian/partial"
    list_wheelhouse "$work/wheelhouse" >"$work/SHA256SUMS"
    stands="$wheelhouse is not complete"
    mkdir -p "$wheelhouse"
    check_trust "$wheelhouse"
    : >"$wheelhouse/.incomplete-affectd"
    cp -R "$work/wheelhouse/." "$wheelhouse"
    mv "$work/SHA256SUMS" "$wheelhouse"
    sync
    rm "$wheelhouse/.incomplete-affectd"
    say "$wheelhouse is complete: copy it and this checkout to the device, and run there: sudo $0 --offline $wheelhouse"
}

# The list says what every file was when the folder was made; a transport may damage it, and people may add to it.
check_wheelhouse() {
    [ -n "$wheelhouse" ] || return 0
    [ -e "$wheelhouse/SHA256SUMS" ] || fail 66 "there is no list SHA256SUMS in $wheelhouse: make the folder anew," \
        "with --wheelhouse"
    odd=$(find "$wheelhouse" ! -type d ! -type f -print -quit)
    [ -z "$odd" ] || fail 65 "$odd is neither a file nor a folder"
    set -- "$wheelhouse"/affectd-*.whl
    [ -n "$wheel" ] || [ -e "$1" ] || fail 66 "there is no affectd wheel in $wheelhouse"
    [ $# = 1 ] || fail 65 "there is more than one affectd wheel in $wheelhouse"
    # Lines that are in one of the two only.
    wrong=$({ list_wheelhouse "$wheelhouse" && sort -u "$wheelhouse/SHA256SUMS"; } |
        sort | uniq -u | sed 's/^[^ ]*  //' | sort -u | tr '\n' ' ')
    [ -z "$wrong" ] || fail 65 "not what SHA256SUMS in $wheelhouse lists (missing, added or changed): $wrong"
}

list_wheelhouse() {
    (cd "$1" && find . -type f ! -path ./SHA256SUMS -printf '%P\0' | xargs -0r sha256sum --)
}
