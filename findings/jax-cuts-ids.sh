#!/bin/sh
# Expected: an integer that does not fit is an error, or stays 64 bits wide.
# Happens: jax.numpy.asarray keeps the low 32 bits of an int64 array: prompt ids 5 and 2^40 + 5 become the
# same. The values of a list do raise OverflowError.
# Seen: 2026-11-29, Python 3.11, JAX 0.10.2, NumPy 2.4.6
# Hurts: who passes hashes or database keys through JAX beside activations: prompts merge, and every within-
# prompt number is another.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 jax==0.10.2 jaxlib==0.10.2
cd "$work"
"$work/venv/bin/python" - <<'END'
import datetime, importlib.metadata, platform, sys
print(datetime.date.today(), "Python", platform.python_version())
for name in ['numpy', 'jax', 'jaxlib']:
    print(name, importlib.metadata.version(name))
print('two different 64-bit ids become one in JAX')

import warnings

import jax.numpy as jnp
import numpy as np

with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    got = jnp.asarray(np.array([5, 2**40 + 5]))
print("array:", got, "warnings:", [str(w.message)[:90] for w in said])
try:
    print("list:", jnp.asarray([5, 2**40 + 5]))
except OverflowError as error:
    print("list: OverflowError", error)
same = got.tolist() == [5, 5]
if not same:
    sys.exit("the behaviour has changed")
END
