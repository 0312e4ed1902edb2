# Sourced: install_packages puts in place what packages.txt lists and is not there yet.
# Needs root for that; without it names what is missing and fails.

install_packages() {
  local list=$1 package missing=()
  while read -r package; do
    [[ -z $package || $package == \#* ]] && continue
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
      missing+=("$package")
  done <"$list"
  ((${#missing[@]} == 0)) && return 0
  if ((EUID != 0)); then
    echo "missing packages: ${missing[*]}" >&2
    echo "install them as root: apt-get install ${missing[*]}" >&2
    return 1
  fi
  echo "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  local install=(apt-get install -y -qq --no-install-recommends "${missing[@]}")
  "${install[@]}" >/dev/null 2>&1 ||
    { apt-get update -qq && "${install[@]}" >/dev/null; }
}
