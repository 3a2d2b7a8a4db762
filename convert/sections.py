"""What the manifest has of datasets and their conversion."""

from typing import Literal

from convert.episodes import Converted, Planned
from convert.plan import Dims, Plan
from job.sections.data import (
    Conversion,
    ConvertedCamera,
    ConvertedVector,
    Dataset,
    LeftOutEpisode,
    NotListed,
    UsedEpisode,
)


def describe_dataset(planned: Planned) -> Dataset:
    """The `dataset` section."""
    plan = planned.plan
    return Dataset(
        format="lerobot",
        version=", ".join(dict.fromkeys(dataset.version for dataset in plan.datasets)),
        path=", ".join(str(dataset.root) for dataset in plan.datasets),
        fps=plan.fps,
        robot_type=plan.datasets[0].robot_type,
        tasks=list(dict.fromkeys(task for data in plan.datasets for task in data.tasks)),
        episodes=[
            UsedEpisode(
                number=number,
                source=source.episode.index,
                dataset=str(source.dataset.root),
                length=source.episode.length,
            )
            for number, source in enumerate(plan.sources)
        ],
        left_out=[
            LeftOutEpisode(dataset=str(root), source=index) for root, index in sorted(plan.left_out)
        ],
        not_listed=[
            NotListed(dataset=str(dataset.root), episodes=episodes, frames=frames)
            for dataset in plan.datasets
            for episodes, frames in [dataset.not_listed]
            if episodes or frames
        ],
        frames=sum(source.episode.length for source in plan.sources),
        fingerprint=planned.fingerprint,
    )


def describe_conversion(converted: Converted) -> Conversion:
    """The `conversion` section."""
    plan, rate = converted.plan, converted.frames_per_second
    return Conversion(
        sim=plan.sim,
        cameras=[
            ConvertedCamera(
                key=camera.key,
                name=camera.name,
                recorded_height=camera.recorded[0],
                recorded_width=camera.recorded[1],
                height=camera.height,
                width=camera.width,
                orientation=str(camera.orientation),
            )
            for camera in plan.cameras
        ],
        image_storage=_image_storage(plan),
        image_storage_reason=plan.frames_reason or None,
        jpeg_quality=plan.jpeg_quality,
        qpos=_describe_vector(plan, plan.qpos),
        action=_describe_vector(plan, plan.action),
        qvel=plan.velocity_key or "zeros",
        effort=plan.effort_key or "absent",
        env_state=_describe_vector(plan, plan.env_state) if plan.env_state else None,
        frames_per_second=None if rate is None else round(rate, 1),
    )


def _image_storage(plan: Plan) -> Literal["raw", "jpeg", "video"] | None:
    if not plan.cameras:
        return None
    if plan.filmed:
        return "video"
    return "raw" if plan.jpeg_quality is None else "jpeg"


def _describe_vector(plan: Plan, dims: Dims) -> ConvertedVector:
    return ConvertedVector(
        key=dims.key,
        source_dims=len(dims.names),
        source_names=list(dims.names),
        dims=dims.size,
        padded=dims.padded,
        cut=list(dims.cut),
        quaternions=[quaternion.name for quaternion in dims.quaternions],
        quaternions_fixed=plan.fix_quaternions and bool(dims.quaternions),
    )
