#!/bin/bash
# vagrant/provision.sh: sets up what the experiments and tests need.
#
#   sudo vagrant/provision.sh          packages, .venv with requirements.txt, compiled eBPF programs
#   vagrant/provision.sh --done        exit status 0 if all of that is there and up to date (needs no root)
#   vagrant/provision.sh --known       exit status 0 if this is a distribution that it can set up
#
# For Debian 12, Debian 13 and Ubuntu 24.04.  It installs only packages that are missing, upgrades and removes
# none, starts no service and enables none.  Running it again costs a second.
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1

packages=(
  # topologies: mininet (for /usr/bin/python3) and what its hosts run; no Open vSwitch, no controller
  mininet iproute2 iputils-ping nftables procps kmod curl nginx iperf3
  # programs whose connections are moved, and one that splits connections
  openssl openssh-server openssh-client redis-server redis-tools socat haproxy
  # the eBPF programs: compiled here, without headers of the running kernel
  clang linux-libc-dev libbpf-dev libbpf1
  # captures, and the Python environment that judges them
  tcpdump tshark python3-venv
)
services=(nginx iperf3 ssh redis-server haproxy) # what these packages would start at boot

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
stamp=$venv/set-up.sha256
policy=/usr/sbin/policy-rc.d
policy_mark='# temporary, made by the set-up of Migrate Lab: no service starts while it installs packages'

say() { printf '[%4d s] %s\n' "$SECONDS" "$*"; }
die() { printf 'vagrant/provision.sh: %s\n' "$*" >&2; exit 1; }

fingerprint() { # what the stamp must say: everything that the set-up was made from
  {
    cat "$root/vagrant/provision.sh" "$root/requirements.txt"
    find "$root/migrate/linux" \( -name '*.[ch]' -o -name build.py \) -print0 2>/dev/null | sort -z | xargs -0r cat
    readlink -f /usr/bin/python3 || true
  } | sha256sum | cut -d' ' -f1
}

objects_there() { # every eBPF source has its object
  local source
  for source in "$root"/migrate/linux/bpf/*.bpf.c; do
    [[ ! -e $source || -e ${source%.c}.o ]] || return 1
  done
}

is_done() { [[ -x $venv/bin/python && -f $stamp && $(<"$stamp") == "$(fingerprint)" ]] && objects_there; }

distribution=$(. /etc/os-release 2>/dev/null && echo "${ID:-unknown} ${VERSION_ID:-}" || echo unknown)
known() { case $distribution in 'debian 12' | 'debian 13' | 'ubuntu 24.04') return 0 ;; *) return 1 ;; esac; }

case ${1:-} in
  '') ;;
  --done) is_done && exit 0 || exit 1 ;;
  --known) known && exit 0 || exit 1 ;;
  -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) die "unknown argument '$1': there are --done, --known and --help" ;;
esac

[[ $(uname -s) == Linux ]] || die "this set-up is for Linux: use the Vagrant machine (vagrant up)."
[[ $EUID -eq 0 ]] || die "installing packages needs root: run it as 'sudo vagrant/provision.sh'."
known ||
  die "this set-up knows Debian 12, Debian 13 and Ubuntu 24.04, and this is '$distribution': use the Vagrant machine (vagrant up)."

# One set-up of a checkout at a time.
exec 9<"$root/requirements.txt"
flock -n 9 || { say "another set-up of this checkout is running: waiting for it"; flock 9; }

log=$(mktemp)
child= finish= # the step that is running, and whether it is better not ended in its middle
leave() {
  local status=$?
  trap '' INT TERM HUP
  if [[ -n $child ]]; then
    if [[ -n $finish ]]; then say "letting the package manager finish"; else kill "$child" 2>/dev/null || true; fi
    wait "$child" 2>/dev/null || true
  fi
  restore_policy
  rm -f "$log"
  exit "$status"
}

# Services are kept from starting the way Debian provides for: by a policy file.  One that was there is put aside
# and comes back as it was; one left by a set-up that was killed is recognised by its mark.
forbid_services() {
  restore_policy
  [[ ! -e $policy && ! -L $policy ]] || mv "$policy" "$policy.put-aside-by-migrate-lab"
  printf '#!/bin/sh\n%s\nexit 101\n' "$policy_mark" >"$policy"
  chmod 755 "$policy"
}
restore_policy() {
  if [[ -f $policy ]] && grep -qxF "$policy_mark" "$policy"; then rm -f "$policy"; fi
  if [[ -e $policy.put-aside-by-migrate-lab || -L $policy.put-aside-by-migrate-lab ]] && [[ ! -e $policy ]]; then
    mv "$policy.put-aside-by-migrate-lab" "$policy"
  fi
}
trap leave EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

last_line() { tr '\r' '\n' <"$log" | grep -v '^ *$' | tail -n 1 | cut -c "1-$1"; }
first_error() { { grep -m 1 -E '^(E:|ERROR:|error:)' "$log" || tail -n 1 "$log"; } | sed -E 's/^(E|ERROR|error): *//' | cut -c 1-300; }

# run TEXT COMMAND...: one step, its output in $log; a line when it starts, and signs of life while it runs.
run() {
  local text=$1 began=$SECONDS shown=$SECONDS status=0
  shift
  say "$text"
  "$@" >"$log" 2>&1 </dev/null 9<&- &
  child=$!
  while kill -0 "$child" 2>/dev/null; do
    if [[ -t 1 ]]; then
      printf '\r\033[K[%4d s]   %s' "$SECONDS" "$(last_line 80)"
    elif ((SECONDS - shown >= 20)); then
      shown=$SECONDS
      say "  ... $(last_line 100)"
    fi
    sleep 0.2
  done
  wait "$child" || status=$?
  child=
  [[ ! -t 1 ]] || printf '\r\033[K'
  if ((SECONDS - began >= 5)); then say "  took $((SECONDS - began)) s"; fi
  return "$status"
}

installed() { [[ $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

# Refreshes the package lists; another program (a fresh machine's own daily update) may hold the lock for a while.
refresh_lists() {
  local try apt=
  trap 'kill $apt; wait $apt; exit 143' TERM
  for try in 1 2 3 4 5 6 7 8 9 10 11 12; do
    apt-get update -q -o APT::Update::Error-Mode=any &
    apt=$!
    wait "$apt" && return 0
    tail -n 5 "$log" | grep -q 'Could not get lock' || return 1
    ((try == 12)) || { : >"$log"; echo "waiting for another program that uses apt"; sleep 10; }
  done
  return 1
}

install_packages() {
  exec apt-get install -y -q --no-install-recommends --no-upgrade --no-remove \
    -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@"
}

missing=() others=()
for package in "${packages[@]}"; do installed "$package" || missing+=("$package"); done
if ((${#missing[@]})); then
  for service in "${services[@]}"; do
    [[ -e /etc/init.d/$service || -e /lib/systemd/system/$service.service ]] || others+=("$service")
  done
  stale=
  run "refreshing the package lists" refresh_lists || stale=$(first_error)
  failed() {
    die "the packages could not be installed: $(first_error)${stale:+ (and the package lists could not be refreshed: $stale)}. Check the network and the package sources, then run this again."
  }
  run "fetching ${#missing[@]} packages and what they need: ${missing[*]}" \
    install_packages --download-only "${missing[@]}" || failed
  forbid_services
  finish=yes
  run "installing them" install_packages "${missing[@]}" || failed
  finish=
  restore_policy
  for service in "${others[@]}"; do # newly installed: its programs are wanted, not a server at every boot
    [[ -e /etc/init.d/$service || -e /lib/systemd/system/$service.service ]] || continue
    deb-systemd-helper disable "$service.service" >/dev/null 2>&1 || true
    deb-systemd-helper disable "$service.socket" >/dev/null 2>&1 || true # Ubuntu starts sshd by its socket
    [[ ! -e /etc/init.d/$service ]] || update-rc.d "$service" disable >/dev/null 2>&1 || true
  done
elif is_done; then
  say "everything is set up"
  exit 0
else
  say "all packages are installed"
fi

if ! "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info[:2] != tuple(map(int, sys.argv[1].split("."))))' \
  "$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')" 2>/dev/null || [[ ! -x $venv/bin/pip ]]; then
  run "making the Python environment .venv" /usr/bin/python3 -m venv --clear --system-site-packages "$venv" ||
    die "the Python environment could not be made: $(first_error)"
fi
rm -f "$stamp"
run "installing the Python packages of requirements.txt" \
  "$venv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check --no-compile -r "$root/requirements.txt" ||
  die "the Python packages could not be installed: $(first_error). Check the network, then run this again."

if [[ -f $root/migrate/linux/build.py ]]; then
  cd "$root"
  run "compiling the eBPF programs" "$venv/bin/python" -m migrate.linux.build ||
    die "the eBPF programs could not be compiled: $(first_error)"
fi

fingerprint >"$stamp"
# Under sudo the checkout stays its owner's.
chown -R --reference="$root" "$venv" "$root"/migrate/linux/bpf/*.o 2>/dev/null || true
say "set up"
