# Part of install-edge: an installation, or an upgrade.
# shellcheck shell=sh disable=SC2034,SC2154 # the variables are those of install-edge

install() {
    check_wheelhouse
    check_system
    check_places
    install_packages
    check_python
    find_wheel
    remove_other_releases
    present=$(cat "$prefix/current/wheel.sha256" 2>/dev/null || true)
    if [ "$present" = "$digest" ] && self_test "$prefix/current" 2>/dev/null; then
        say "affectd $version is installed, nothing to do"
    else
        prepare_pip
        check_version
        build_release
    fi
    switch
}

# Not `uname -m`: 32-bit systems often run on a 64-bit kernel, and the system decides which wheels fit.
check_system() {
    command -v apt-get >/dev/null || fail 69 "this is not Debian, Raspberry Pi OS or Ubuntu: there is no apt-get"
    architecture=$(dpkg --print-architecture)
    packages="python3 python3-venv python3-pyaudio"
    case $architecture in
    amd64 | arm64) ;;
    armhf) packages="$packages python3-numpy" ;; # there are no wheels of NumPy
    *) fail 69 "there is no TFLite interpreter for $architecture: affectd needs a 64-bit system, or armhf" ;;
    esac
    # Before any package is installed, if there is a Python.
    if [ -x /usr/bin/python3 ]; then check_python; fi
}

# What would fail at the end is said before anything is fetched.
check_places() {
    for place in "$unit" "$prefix/current"; do
        if [ -d "$place" ] && ! [ -L "$place" ]; then fail 74 "$place is a folder, and in the way: $stands"; fi
    done
    set -- "$prefix/releases" "${settings%/*}" "${unit%/*}" "${command%/*}"
    for page in $pages; do set -- "$@" "$share/${page%/*}"; done
    for folder; do
        until [ -e "${folder:-/}" ]; do folder=${folder%/*}; done
        [ -d "${folder:-/}" ] || fail 74 "$folder is no folder, and in the way: $stands"
    done
}

check_python() {
    python_version=$(/usr/bin/python3 -I -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    minor=${python_version#3.}
    [ "$minor" -ge 11 ] || fail 69 "affectd needs Python 3.11 or newer, and this system has $python_version"
    [ "$architecture" != armhf ] || [ "$minor" -eq 11 ] ||
        fail 69 "there is no TFLite interpreter for 32-bit ARM and Python $python_version:" \
            "use a 64-bit system, or version 12 of Debian or Raspberry Pi OS"
}

install_packages() {
    missing=""
    for package in $packages; do
        is_installed "$package" || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    # shellcheck disable=SC2086  # one word per package
    set -- $missing
    if [ -z "$wheelhouse" ]; then
        sh "$scripts/system-packages" "$@" || fail 69 "apt-get could not install $*"
        return
    fi
    say "installing system packages: $*"
    set --
    for file in "$wheelhouse"/debian/*.deb; do
        [ -e "$file" ] || fail 69 "not installed here, and not in $wheelhouse/debian:$missing"
        is_installed "$(dpkg-deb --field "$file" Package)" || set -- "$@" "$file"
    done
    # A fresh system upgrades itself after its first boot.
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=600 "$@" >&2 ||
        fail 69 "apt-get could not install from $wheelhouse/debian:$missing"
}

is_installed() {
    dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed
}

prepare_pip() {
    [ -z "$work" ] || return 0
    # Not in /tmp, which is in memory on many small systems and too small for the interpreter.
    work=$(mktemp -d "/var/tmp/affectd-$action.XXXXXX")
    exec 8<"$work"
    flock 8 # it is in use
    if [ "$action" = install ] && [ -n "$wheelhouse" ]; then export PIP_CONFIG_FILE=/dev/null; fi
    export TMPDIR="$work" PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
    /usr/bin/python3 -I -m venv "$work/venv"
}

pip() {
    "$work/venv/bin/python" -I -m pip --quiet "$@" >&2
}

# Set wheel, version and digest.
find_wheel() {
    if [ -z "$wheel" ] && [ "$action" = install ] && [ -n "$wheelhouse" ]; then
        wheel=$(find "$wheelhouse" -maxdepth 1 -name 'affectd-*.whl' -print -quit)
    elif [ -z "$wheel" ]; then
        prepare_pip
        pip wheel --no-deps --wheel-dir "$work" "$scripts/.." || fail 69 "pip could not build affectd"
        wheel=$(find "$work" -maxdepth 1 -name 'affectd-*.whl' -print -quit)
    fi
    version=${wheel##*/affectd-}
    version=${version%%-*}
    # Builds are reproducible, so the digest shows whether anything has changed.
    digest=$(sha256sum <"$wheel")
}

check_version() {
    present=$(readlink "$prefix/current") || return 0
    present=${present##*/}
    present=${present%.*}
    older='import sys; from pip._vendor.packaging.version import parse as v; sys.exit(v(sys.argv[1]) >= v(sys.argv[2]))'
    if [ -z "$downgrade" ] && "$work/venv/bin/python" -I -c "$older" "$version" "$present" 2>/dev/null; then
        fail 64 "affectd $version is older than $present, which is installed: add --downgrade if that is meant"
    fi
}

# Call pip with these arguments and the packages to install.
pip_with_wheel() {
    case $architecture in
    # Explicit, because pip asks the kernel, which is often 64-bit below a 32-bit system. NumPy is from Debian.
    armhf) pip "$@" --no-deps "$wheel" tflite-runtime==2.14.0 "paho-mqtt>=1.6.1,<3" ;;
    *) pip "$@" "${wheel}[interpreter,mqtt]" ;;
    esac
}

build_release() {
    say "installing affectd $version"
    mkdir -p "$prefix/releases"
    # A virtual environment cannot be moved, so it is made in its final place; the link changes.
    release=$(mktemp -d "$prefix/releases/$version.XXXXXX")
    chmod 755 "$release"
    /usr/bin/python3 -I -m venv --without-pip --system-site-packages "$release"
    set --
    [ -z "$wheelhouse" ] || set -- --no-index --find-links "$wheelhouse"
    # Only PyAudio (32-bit: and NumPy) from the system, so that apt-get upgrade does not change what was tested.
    pip_with_wheel --python "$release/bin/python" install --ignore-installed "$@" ||
        fail 69 "pip could not install affectd $version"
    held=$("$release/bin/python" -I -c 'from importlib.metadata import version; print(version("affectd"))')
    [ "$held" = "$version" ] || fail 65 "$wheel holds affectd $held, not what its name says"
    "$release/bin/python" -I -c 'import pyaudio' || fail 69 "python3-pyaudio does not work here"
    printf '%s\n' "$digest" >"$release/wheel.sha256"
    cat "$scripts/../README.md" >"$release/README.md" # not with the mode it has there
    cp -R "$scripts/../docs" "$release"
    chmod -R u=rwX,go=rX "$release/docs"
    if [ -e "$settings" ] || [ -L "$settings" ]; then
        "$release/bin/affectd" config --config "$settings" >/dev/null || refuse $? "refuses the settings in $settings"
    fi
    self_test "$release" || refuse $? "fails its self-test on this device"
}

self_test() {
    "$1/bin/affectd" model --self-test >/dev/null
}

refuse() {
    kept=$(readlink "$prefix/current" || true)
    kept=${kept#releases/}
    [ -z "$kept" ] || fail "$1" "affectd $version $2: rolled back, affectd ${kept%.*} stays in use"
    fail "$1" "affectd $version $2: nothing was installed"
}

# Steps that may fail come first, then the renames, during which signals are ignored.
switch() {
    find_state
    mkdir -p "${settings%/*}" "${unit%/*}" "${command%/*}"
    changed=$release
    [ -e "$settings" ] || [ -L "$settings" ] || cat "$scripts/affectd.toml" >"$settings.new"
    if ! cmp -s "$scripts/affectd.service" "$unit"; then
        cat "$scripts/affectd.service" >"$unit.new"
        changed=yes
    fi
    [ -e "$command" ] || ln -sfT "$prefix/bin/affectd" "$command.new"
    if [ -n "$release" ]; then
        ln -sfT current/bin "$prefix/bin"
        ln -sfT current/README.md "$prefix/README.md"
        ln -sfT current/docs "$prefix/docs"
        ln -sfT current/share "$prefix/share"
        ln -sfT "releases/${release##*/}" "$prefix/current.new"
    fi

    link_pages

    trap '' HUP INT TERM
    stands="the installation is not complete: once that is mended, the same command completes it"
    if [ -n "$changed" ] && is_booted; then systemctl --quiet stop affectd.service 2>/dev/null || true; fi
    # A copy, to detect edited settings when uninstalling.
    if [ -e "$settings.new" ]; then cp "$settings.new" "$prefix/affectd.toml"; fi
    for new in "$settings.new" "$unit.new" "$command.new"; do
        if [ -e "$new" ] || [ -L "$new" ]; then mv -fT "$new" "${new%.new}"; fi
    done
    # Also where systemd is not running, for instance in an SD card image.
    if [ "$state" = new ] && command -v systemctl >/dev/null; then systemctl --quiet enable affectd.service; fi
    # The last, because by it the next call knows whether the service was enabled.
    if [ -L "$prefix/current.new" ]; then mv -fT "$prefix/current.new" "$prefix/current"; fi
    for page in $pages; do
        if [ -L "$share/$page.new" ]; then mv -fT "$share/$page.new" "$share/$page"; fi
    done
    release=""
    remove_other_releases
    if is_booted; then systemctl daemon-reload; fi
    if [ "$state" = off ]; then
        changed=yes
        when="its service stays disabled, and \"systemctl enable --now affectd\" starts it"
    elif is_booted; then
        # Without waiting, because it is ready only after the first sound, and the microphone may be plugged in later.
        systemctl --no-block start affectd.service
        when="it is starting, and \"systemctl status affectd\" says how it is"
    else
        when="systemd is not running here, so it starts with the next boot"
    fi
    [ -z "$changed" ] || say "affectd $version is installed: $when"
}

# A device that listens does so again after an upgrade only if it did before: its owner may have disabled the service.
find_state() {
    state=new
    if ! [ -e "$prefix/current" ]; then return; fi
    case $(systemctl is-enabled affectd.service 2>/dev/null) in
    enabled) state=on ;;
    disabled | masked)
        state=off
        if is_booted && systemctl --quiet is-active affectd.service; then state=on; fi
        ;;
    esac
}

# For man and the shells; what people have put there themselves stays.
link_pages() {
    for page in $pages; do
        if [ -e "${release:-$prefix/current}/share/$page" ] && ! [ -e "$share/$page" ]; then
            mkdir -p "$share/${page%/*}"
            ln -sfT "$prefix/share/$page" "$share/$page.new"
        fi
    done
}

remove_other_releases() {
    for folder in "$prefix"/releases/*; do
        # Compare folders and not names, because /opt may be a link.
        [ "$folder" -ef "$prefix/current" ] || rm -rf "$folder"
    done
}

is_booted() {
    [ -d /run/systemd/system ]
}
