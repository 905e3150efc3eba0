#!/bin/sh
# Train the shipped model `generalist` from `nuclei`: sh benchmarks/train_generalist.sh DATA RUNS
# DATA holds dsb2018, kromp2020 and t98g. Three trainings of about 75, 95 and 80 minutes on one core, the second with grey images
# in pseudo-colour and faint ones, the third with patches painted anew, too; a second call goes on where the first stopped.
set -eu
here=$(dirname "$0") data=$1 runs=$2
[ -f "$runs/generalist-data/index.csv" ] || python "$here/generalist_data.py" "$data" "$runs/generalist-data"
[ -f "$runs/narrowed/plan.toml" ] || python "$here/narrow.py" nuclei "$runs/narrowed" --features 24 48 96 192 256

# RUN START STEPS [AUGMENTATION=VALUE ...]
train() {
  run=$1 start=$2 steps=$3
  shift 3
  set -- zoom_to_px=[8.0,72.0] zoom_probability=0.6 intensity=0.5 gamma=0.3 histogram=0.1 uneven=0.2 blur=0.2 \
    blur_px=[0.5,2.0] low_resolution=0.1 noise=0.25 compression=0.2 invert=0.3 shuffle=0.3 colour=0.4 per_object=0.15 "$@"
  for change; do shift; set -- "$@" --set "training.augmentation.$change"; done
  morula train "$runs/generalist-data" -o "$runs/$run" --from "$runs/$start" --select fold=1,2,3 \
    --set training.steps=$steps --set training.validate_every=1000 --set training.optimizer.learning_rate=0.0015 \
    --set training.ema=0.998 --set "halo_px=[48,48]" "$@"
}
train generalist-1 narrowed 8000 pseudo_colour=0.0
train generalist-2 generalist-1 8000 pseudo_colour=0.2 faint=0.15
train generalist generalist-2 6000 pseudo_colour=0.2 faint=0.15 repaint=0.25
