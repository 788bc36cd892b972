#!/bin/bash
# run_all.sh: sets up what is missing, then runs scenarios or tests.
#
#   ./run_all.sh                    all scenarios
#   ./run_all.sh NAME...            these scenarios
#   ./run_all.sh soak               random moves, losses, outages and kills of daemons, and what is left of them
#   ./run_all.sh chaos              random kills, freezes, partitions and restarts of replicas under downloads
#   ./run_all.sh test [ARGUMENT...] linter, type checker and test suite; ARGUMENTs are pytest's
#   ./run_all.sh --list             which scenarios there are
#   ./run_all.sh --check            which kernel features this machine has
#   ./run_all.sh --help             this
#
#   --seed N             of the losses; the same seed gives the same losses (default 1)
#   --profile P          paper, modern or all (default: the scenario's first)
#   --ip V               4, 6 or all (default: the scenario's first)
#   --out DIR            directory of the results (default out)
#   --jobs N             how many runs at a time (default: the number of cores, at least 2)
#   --minutes M          of a soak (default 10)
#   --kills N            of chaos, of replicas that have clients (default 300)
#   --timeout SECONDS    how long a run may take (default: the scenario's own limit)
#   --vagrant            run in the Vagrant machine even where this one would do
#
# Needs Linux (Debian 12, Debian 13 or Ubuntu 24.04) and root, which it asks sudo for; elsewhere it goes through the
# Vagrant machine.  Exit status: 0 if nothing failed or was invalid, 1 if something did, 2 for a mistake in the command.
set -euo pipefail # and nothing that bash 3.2 (macOS) does not know

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=$root/.venv/bin/python

die() { printf 'run_all.sh: %s\n' "$1" >&2; exit "${2:-1}"; }

# A scenario's source gives its name and claim as plain literals: read here without Python, which an empty machine lacks.
list() {
  awk '
    FNR == 1 { inside = 0; name = ""; open_claim = 0 }
    /^class / { inside = /\(([A-Za-z_.]*\.)?Scenario\):/ }
    inside && /^    name *(:[^=]*)?= *"/ { name = literal($0) }
    inside && /^    claim *(:[^=]*)?= *"/ { claims[name] = literal($0) }
    open_claim && /^    \)/ { open_claim = 0 }
    open_claim { claims[name] = claims[name] literal($0) }
    inside && /^    claim *(:[^=]*)?= *\($/ { open_claim = 1; claims[name] = "" }
    function literal(line) { sub(/^[^"]*"/, "", line); sub(/"[^"]*$/, "", line); return line }
    END {
      for (name in claims) if (length(name) > width) width = length(name)
      for (name in claims) printf "%-" width "s  %s\n", name, claims[name]
    }' "$root"/scenarios/*.py | sort
}

names=() wanted=run through_vagrant= out=
arguments=() # for the Vagrant machine: all but --vagrant and --out
if [[ ${1:-} == test ]]; then
  wanted=test
  arguments=("$@")
else
  next= # the option whose value comes next
  for argument in "$@"; do
    if [[ -n $next ]]; then
      if [[ $next == --out ]]; then out=$argument; else arguments+=("$argument"); fi
      next=
      continue
    fi
    case $argument in
      -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p;}' "${BASH_SOURCE[0]}"; exit 0 ;;
      --list) list; exit 0 ;;
      soak | chaos) wanted=$argument ;;
      --check) wanted=check; arguments+=("$argument") ;;
      --vagrant) through_vagrant=yes ;;
      --out) next=--out ;;
      --out=*) out=${argument#--out=} ;;
      --seed | --profile | --ip | --jobs | --timeout | --minutes | --kills) next=$argument; arguments+=("$argument") ;;
      --seed=* | --profile=* | --ip=* | --jobs=* | --timeout=* | --minutes=* | --kills=*) arguments+=("$argument") ;;
      -*) die "unknown option '$argument'; see ./run_all.sh --help" 2 ;;
      *) names+=("$argument"); arguments+=("$argument") ;;
    esac
  done
  if [[ $wanted == soak || $wanted == chaos ]]; then
    arguments=("$wanted" ${arguments[@]+"${arguments[@]}"})
    [[ ${#names[@]} -eq 0 ]] || die "$wanted takes no scenario; see ./run_all.sh --help" 2
  fi
  [[ -z $next ]] || die "the option $next lacks its value; see ./run_all.sh --help" 2
  for name in ${names[@]+"${names[@]}"}; do
    known=$(list | cut -d' ' -f1)
    grep -qxF -- "$name" <<<"$known" ||
      die "unknown scenario '$name': those there are: $(paste -sd, - <<<"${known:-none}" | sed 's/,/, /g')" 2
  done
fi

# --- the Vagrant machine ---

# Runs this script there, on the sources as they are here, and brings the results back.
in_vagrant() {
  cd "$root"
  vagrant status --machine-readable 2>/dev/null | grep -q ',state,running' && vagrant rsync || vagrant up ||
    die "the Vagrant machine could not be started, for the reason above"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  vagrant ssh-config >"$work/ssh" || die "the Vagrant machine could not be reached, for the reason above"
  there() { ssh -q -F "$work/ssh" ${terminal:+-t} default "$1"; }
  terminal= results=/var/tmp/migrate-lab-$$
  command=$(printf '%q ' ./run_all.sh ${arguments[@]+"${arguments[@]}"})
  case $wanted in run | soak | chaos) command+="--out $results" ;; esac
  status=0
  [[ ! -t 0 || ! -t 1 ]] || terminal=yes
  there "cd /vagrant && sudo $command" || status=$?
  terminal=
  if [[ $wanted == run || $wanted == soak || $wanted == chaos ]] && there "test -d $results"; then
    there "sudo tar -C $results -cf - . && sudo rm -rf $results" </dev/null >"$work/results.tar"
    bring_back "$work/results.tar" "${out:-$root/out}"
  fi
  return "$status"
}

bring_back() { # TAR DIRECTORY: each scenario's results replace those of its last run
  local name
  mkdir -p "$2" "$work/results"
  tar -C "$work/results" -xf "$1"
  for name in $(ls "$work/results"); do
    if [[ -e $2/$name ]]; then
      [[ -n $(find "$2/$name" -maxdepth 2 -name result.json) ]] ||
        die "$2/$name is not the result of a run and is left alone: choose another --out"
      rm -rf "${2:?}/$name"
    fi
    mv "$work/results/$name" "$2/"
  done
  echo "results are in $2/; the Vagrant machine stays up ('vagrant halt' stops it)"
}

here() { # whether this machine can run scenarios itself: Linux, root or sudo, and a known distribution or all set up
  [[ $(uname -s) == Linux ]] || return 1
  [[ $EUID -eq 0 ]] || command -v sudo >/dev/null || return 1
  "$root/vagrant/provision.sh" --done || "$root/vagrant/provision.sh" --known
}

if [[ -n $through_vagrant ]] || ! here; then
  out=${out:+$(mkdir -p "$out" && cd "$out" && pwd)}
  command -v vagrant >/dev/null ||
    die "this needs Debian 12, Debian 13 or Ubuntu 24.04 with root or sudo, or else Vagrant: install Vagrant with VirtualBox or libvirt, then run this again"
  in_vagrant
  exit
fi

# --- this machine ---

if [[ $EUID -ne 0 ]]; then
  sudo -n true 2>/dev/null || [[ -t 0 ]] || die "this needs root, and sudo cannot ask for the password here: run it as root"
  exec sudo -- "$root/run_all.sh" "$@"
fi
"$root/vagrant/provision.sh" --done || "$root/vagrant/provision.sh" || exit 1
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
case $wanted in soak | chaos) exec "$python" -m "scenarios.$wanted" "${arguments[@]:1}" ${out:+--out "$out"} ;; esac
[[ $wanted == test ]] || exec "$python" -m scenarios "$@"

cd "$root"
shift
echo "ruff:" && "$python" -m ruff check . || die "the linter complains"
echo "mypy:" && "$python" -m mypy || die "the type checker complains"
# The suite starts thousands of programs in Python, and where PYTHONDONTWRITEBYTECODE is set each would compile itself.
"$python" -m compileall -q analysis benchmarks migrate scenarios tests topologies
# Most tests wait for something most of the time.
exec "$python" -m pytest -q -n $((2 * $(nproc))) --dist worksteal "$@"
