"""Where every run departs from upstream ACT; flags that depart say so in their help."""

DEPARTURES = (
    "decoder layers whose output nobody reads are not computed; their weights drift as upstream's",
    "the frozen batch norm is applied by the convolution before it, in another order of rounding",
    "without backbone weights the frozen batch norm has the statistics of frames of the dataset",
    "random numbers come from (seed, epoch) and (seed, step), not from one stream",
    "episodes may differ in length or be shorter than the chunk; a single one is also validated on",
    "the best weights are written at each improvement; of the snapshots a ladder is kept",
)

WITHOUT_CAMERAS = (
    "the policy sees no image: upstream's own branch for that lacks the latent and cannot run, so "
    "no network of upstream's takes this checkpoint"
)
ENV_STATE = (
    "the policy sees an environment state, as a token of its own: no network of upstream's takes "
    "this checkpoint"
)


def departures_of(sees_images: bool, sees_env_state: bool) -> tuple[str, ...]:
    """Where a run departs from upstream by what its policy sees."""
    images = () if sees_images else (WITHOUT_CAMERAS,)
    return images + ((ENV_STATE,) if sees_env_state else ())
