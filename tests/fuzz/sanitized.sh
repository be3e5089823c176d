#!/usr/bin/env bash
# Run a command on a copy of the package whose native code stops at the first byte read or written outside an array
# (AddressSanitizer) and at the first operation that is undefined in C++ (UndefinedBehaviorSanitizer):
#     tests/fuzz/sanitized.sh .venv/bin/pytest tests/kernels
# If there is no g++ with these libraries, it says so and does nothing. CXX and BIN name another compiler and environment.
set -euo pipefail
cd "$(dirname "$0")/../.."
cxx=${CXX:-g++} bin=${BIN:-.venv/bin} build=build/sanitize

for library in libasan.so libubsan.so libstdc++.so; do
    path=$(command -v "$cxx" >/dev/null && "$cxx" -print-file-name=$library || true)
    if [ ! -e "$path" ] || [ "$path" = $library ]; then
        echo "sanitizers: SKIPPED, since $cxx has no $library here. Install g++, and run this again."
        exit 0
    fi
    preload="${preload:+$preload }$path"
done

flags=(-O1 -g -std=c++17 -fPIC -shared -w -fno-omit-frame-pointer -ffp-contract=off -fno-math-errno
    -fno-trapping-math -fsanitize=address,undefined,float-cast-overflow,bounds-strict -fno-sanitize-recover=all)
compile() {  # NAME SOURCES...: built again when a source is newer.
    local library=$build/lib/_$1.so
    shift
    if [ -n "$(find dlrm_pl tests/fuzz \( -name '*.cpp' -o -name '*.h' -o -name '*.sh' \) -newer "$library" 2>&1)" ]; then
        "$cxx" "${flags[@]}" -include tests/fuzz/tiles.h -o "$library" "$@" -ldl
    fi
}
mkdir -p $build/lib
compile preprocess dlrm_pl/data/preprocessing/engine/cpp/*.cpp &
preprocess=$!
compile lookup dlrm_pl/data/lookup/cpp/*.cpp &
lookup=$!
compile training dlrm_pl/kernels/training/cpp/*.cpp dlrm_pl/kernels/training/cpp/*/*.cpp &
training=$!
compile decoding dlrm_pl/data/decoding/cpp/*.cpp &
decoding=$!
compile saving dlrm_pl/saving/cpp/*.cpp &
saving=$!
compile hashing dlrm_pl/kernels/hashing/cpp/*.cpp &
hashing=$!
compile int8 dlrm_pl/kernels/int8/cpp/*.cpp dlrm_pl/kernels/int8/cpp/*/*.cpp
wait $preprocess
wait $lookup
wait $training
wait $decoding
wait $saving
wait $hashing
rm -rf $build/dlrm_pl
cp -rL dlrm_pl $build/  # The configs are a link in a checkout.
cp "$build/lib/_hashing.so" "$build/lib/_int8.so" "$build/lib/_training.so" $build/dlrm_pl/kernels/
cp "$build/lib/_preprocess.so" $build/dlrm_pl/data/preprocessing/engine/
cp "$build/lib/_lookup.so" $build/dlrm_pl/data/lookup/
cp "$build/lib/_decoding.so" $build/dlrm_pl/data/decoding/
cp "$build/lib/_saving.so" $build/dlrm_pl/saving/

# Python itself leaks, and frees late. pytest looks in the folders of its own settings first, whatever PYTHONPATH says.
export PYTEST_ADDOPTS="${PYTEST_ADDOPTS:-} -o 'pythonpath=$build .'"
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 LD_PRELOAD=$preload PYTHONPATH=$build:.
"$bin/python" -P -c 'from dlrm_pl.kernels.int8 import selection
from dlrm_pl.data.decoding import native as decoding
from dlrm_pl.data.lookup import native
from dlrm_pl.data.preprocessing.engine import library
from dlrm_pl.kernels.hashing import library as hashing
from dlrm_pl.kernels.training import selection as training
from dlrm_pl.saving import native as saving
loaded = [decoding.library(), native.library(), library.library(), training.library(), saving.library(), hashing.native()]
assert "generic" in selection.available() and all(loaded), "the sanitized libraries do not load"'
exec "$@"
