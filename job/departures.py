"""Where every run departs from upstream ACT; flags that depart say so in their help."""

DEPARTURES = (
    "decoder layers whose output nobody reads are not computed; their weights drift as upstream's",
    "the frozen batch norm is applied by the convolution before it, in another order of rounding",
    "without backbone weights the frozen batch norm has the statistics of frames of the dataset",
    "random numbers come from (seed, epoch) and (seed, step), not from one stream",
    "episodes may differ in length or be shorter than the chunk; a single one is also validated on",
    "the best weights are written at each improvement; of the snapshots a ladder is kept",
)
