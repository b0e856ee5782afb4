# Part of install-edge: what --uninstall removes and keeps.
# shellcheck shell=sh disable=SC2034,SC2154 # the variables are those of install-edge

uninstall() {
    stands="not all of affectd is removed: once that is mended, the same command removes the rest"
    if is_booted && [ -e "$unit" ]; then systemctl --quiet stop affectd.service; fi
    if command -v systemctl >/dev/null && [ -e "$unit" ]; then systemctl --quiet disable affectd.service; fi
    forget
    rm -f "$unit"
    if is_booted; then systemctl daemon-reload; fi
    rm -rf /run/affectd /run/private/affectd
    if [ "$(readlink "$command")" = "$prefix/bin/affectd" ]; then rm -f "$command"; fi
    unlink_pages
    if cmp -s "$settings" "$prefix/affectd.toml"; then rm -f "$settings"; fi
    rm -rf "$prefix"
    if [ -n "$purge" ]; then
        rm -rf "${settings%/*}" "$unit.d" /var/lib/affectd /var/lib/private/affectd
    fi
    rmdir "${settings%/*}" 2>/dev/null || true
    # The state folder of a dynamic user in systemd, and the link to it.
    if rmdir /var/lib/private/affectd 2>/dev/null; then rm -f /var/lib/affectd; fi
    kept=""
    for folder in "${settings%/*}" "$unit.d" /var/lib/private/affectd; do
        [ ! -e "$folder" ] || kept="$kept $folder"
    done
    say "affectd is removed${kept:+, except$kept (--uninstall --purge removes these)}"
    say "the system packages python3-venv and python3-pyaudio stay, because other programs may use them"
}

# The folders go, too, where nothing else is in them; Debian's own are $share and its man.
unlink_pages() {
    for page in $pages; do
        [ "$(readlink "$share/$page")" = "$prefix/share/$page" ] || continue
        rm -f "$share/$page"
        folder=$share/${page%/*}
        while [ "$folder" != "$share" ] && [ "$folder" != "$share/man" ] && rmdir "$folder" 2>/dev/null; do
            folder=${folder%/*}
        done
    done
}

# Remove the device from Home Assistant too. The password is that of the service, readable by root only.
forget() {
    "$prefix/bin/affectd" config 2>/dev/null | sed -n '/^\[mqtt\]/,/^\[/p' | grep -q '^enabled = true' || return 0
    CREDENTIALS_DIRECTORY=${settings%/*} "$prefix/bin/affectd" forget || say "the broker still knows this device"
}
