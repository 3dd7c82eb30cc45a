#!/usr/bin/env bash
# No object of a wide level may define a weak or unique symbol: the linker could keep that copy, with its wide
# instructions, for callers on a narrow machine. Usage: symbols.sh nm object...
set -euo pipefail
nm=$1
shift
seen=0 found=0
for object in "$@"; do
  case $object in */kernels_*.o) ;; *) continue ;; esac
  seen=$((seen + 1))
  # DW.ref.* are pointers to the exception handler's routine that sanitizers bring: data without instructions
  if "$nm" -C --defined-only "$object" | grep -E '^[0-9a-f]* [VvWwu] ' | grep -v ' DW\.ref\.'; then
    echo "weak symbols in $object"
    found=1
  fi
done
[ "$seen" -gt 0 ] || echo "no wide level in this build"
exit "$found"
