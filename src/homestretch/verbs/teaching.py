"""What a teacher adds to the memory and to the time of a stage `distill`, by the arithmetic of `costs`."""

from __future__ import annotations

from homestretch.config.distill import DistillConfig
from homestretch.config.recipe import Recipe
from homestretch.costs.memory import Numbers
from homestretch.costs.shape import Row, Shape
from homestretch.costs.time import Machine, decoding_seconds, reading
from homestretch.verbs.estimates import Load, load_of, rows_learned


def teaching(
    recipe: Recipe, student: Shape, lengths: dict[str, list[int]], *, machine: Machine, numbers: Numbers, rows: int
) -> dict[str, tuple[float, float]]:
    """Bytes and seconds beside those of learning, by stage; arguments as in `estimates`.

    Raises InputError where there is no such teacher.
    """
    from homestretch.policies.shape import model_shape

    load, found = load_of(recipe, lengths), {}
    for stage in recipe.stages:
        if isinstance(stage.config, DistillConfig):
            teacher = model_shape(stage.config.teacher_name_or_path)
            held = numbers.weight * teacher.parameters if stage.config.asks_teacher else 0
            found[stage.name] = float(held), teaching_seconds(student, teacher, stage.config, load, machine, rows=rows)
    return found


def teaching_seconds(
    student: Shape, teacher: Shape, config: DistillConfig, load: Load, machine: Machine, *, rows: int
) -> float:
    """Time in which texts are written, and read by the teacher; `rows` decode at a time at most."""
    row, learned = Row(load.prompt, load.answer, 1), rows_learned("distill", config, load)
    stored, seconds = load.examples * config.num_generations, 0.0
    for source, share in config.source.items():
        if source == "offline":
            seconds += decoding_seconds(teacher, row, machine, samples=stored, rows=rows)
        elif source != "data":
            writer = student if source == "online_student" else teacher
            together = min(rows, max(share * config.train_batch_size, 1))
            seconds += decoding_seconds(writer, row, machine, samples=share * learned, rows=together)
    if config.divergence == "sequence":
        return seconds
    return seconds + machine.seconds((stored if config.keeps_laws else learned) * reading(teacher, row))
