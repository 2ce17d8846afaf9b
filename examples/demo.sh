#!/usr/bin/env bash
# The main job on embedded defaults: which PEFT configuration should I train, for MiniLM on the docstrings task?
set -euo pipefail
cd "$(dirname "$0")/.."
BIN=${BIN:-.venv/bin}
OUT=demo
export AUTOPEFT_HOME="$PWD/$OUT/home"
rm -rf "$OUT"
mkdir -p "$OUT"

"$BIN/autopeft" search examples/demo.yaml
"$BIN/autopeft" front demo --plot "$OUT/front.png" --plot "$OUT/front.html" >/dev/null
"$BIN/autopeft" export demo --pick knee --format recipe --out "$OUT"

echo
echo "Look at $OUT/front.png and $OUT/front.html. Then train the winner and use it:"
echo "  export AUTOPEFT_HOME=$AUTOPEFT_HOME"
echo "  $BIN/autopeft train $OUT/recipe.yaml --seeds 3 --out $OUT/model"
