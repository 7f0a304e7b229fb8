# Sourced by the other scripts: where built things are kept, outside the clone, so that a fresh clone builds fast.
JACKFIELD_CACHE="${JACKFIELD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/jackfield}"
export JACKFIELD_CACHE
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$JACKFIELD_CACHE/target}"
