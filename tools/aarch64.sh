#!/usr/bin/env bash
# Cross-compile the kernels for aarch64 Linux, run them under emulation, and compare a training run
# with this machine's. Before a release; about ten minutes.
#
#   apt-get install debootstrap qemu-user-static gcc-aarch64-linux-gnu
#   tools/aarch64.sh [TESTS...]     in an environment with lenet_fast installed, from a clone's root
#
# TESTS are what pytest runs under emulation, by default the kernels' tests. Nothing outside a
# temporary folder changes; no chroot, and no handler in the kernel, is needed.
set -euo pipefail

tests=("$@")
[ $# -gt 0 ] || tests=(tests/test_{conv2d,pool2d,subsample2d,dense,rbf,activations,loss_ops}.py)
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root

echo "=== Debian's Python for arm64, unpacked"
debootstrap --arch=arm64 --foreign --variant=minbase --include=python3,libstdc++6 bookworm "$root" >"$work/log" 2>&1 ||
    { tail -20 "$work/log"; exit 1; }
for package in "$root"/var/cache/apt/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar --extract --keep-directory-symlink --directory "$root"
done

echo "=== wheels for aarch64"
needed() { "$python" -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')"; }
mapfile -t packages < <(needed)
"$python" -m pip --disable-pip-version-check --quiet install --target "$work/site" --only-binary=:all: \
    --platform manylinux2014_aarch64 --platform manylinux_2_28_aarch64 --python-version 3.11 \
    "${packages[@]}" 'hypothesis>=6.100' 'pytest>=8.2' 'scipy>=1.13'

echo "=== kernels, by $(aarch64-linux-gnu-gcc --version | head -n 1)"
git clone --quiet --no-hardlinks . "$work/clone"
cd "$work/clone"
# The headers of this Python serve: both platforms have types of the same sizes.
CC=aarch64-linux-gnu-gcc _PYTHON_HOST_PLATFORM=linux-aarch64 LENET_FAST_REQUIRE_CYTHON=1 \
    "$python" setup.py --quiet build_ext --inplace >"$work/log" 2>&1 || { tail -20 "$work/log"; exit 1; }

cat >"$work/train.py" <<'PYTHON'
import numpy as np

from lenet_fast import data, engines, losses, models
from lenet_fast.training import SGD

train = data.load("sample").train
for engine, size, steps in (("lanes", 16, 128), ("online", 1, 128)):
    network = models.lenet5()
    made = engines.create(network, losses.MAP(), engine=engine, backend="cython", threads=1)
    order = np.arange(size * steps) % len(train)
    found = made.train(train.images, train.labels, order, size, SGD(momentum=0.9), 0.0005)
    score = made.evaluate(train.images[:256], train.labels[:256])
    print(engine, len(found), score.errors, f"{score.loss:.6g}")
PYTHON
emulated() { # Python for arm64, with its own libraries and packages
    PYTHONPATH=$work/clone:$work/site PYTHONDONTWRITEBYTECODE=1 \
        qemu-aarch64-static -L "$root" "$root/usr/bin/python3" "$@"
}

echo "=== 128 training steps of each engine, here and under emulation"
here=$(cd "$work" && "$python" train.py)
there=$(emulated "$work/train.py")
printf 'engine, steps, errors of 256, loss\n%s\nunder emulation\n%s\n' "$here" "$there"
[ "$here" = "$there" ] || { echo 'They differ.'; exit 1; }

echo "=== tests under emulation"
emulated -m pytest -q -p no:cacheprovider -k cython "${tests[@]}"
