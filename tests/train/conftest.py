"""Trajectories of a teacher: text only, pictures in the prompt and in an observation."""

import pytest

from foveal.trajectory import ImagePart, Question, StopReason, TextPart, Trajectory, Turn


@pytest.fixture
def written(store, picture, message):
    """A trajectory that a teacher wrote: crop, look, answer. Seeds give other pictures, lengths and answers."""

    def make(seed: int = 0, answer: str = "red", with_pictures: bool = True) -> Trajectory:
        scene = (picture(84 + 28 * (seed % 3), 56, seed),) if with_pictures else ()
        seen = (TextPart(text="Images:\n"), ImagePart(image=picture(56, 56 + 28 * (seed % 2), 500 + seed)))
        return Trajectory(
            id=f"t{seed}",
            question=Question(id=f"q{seed}", text="which colour?", images=scene),
            policy="teacher",
            profile="foveal",
            prompt=(message("system", "look closely"), message("user", *scene, "which colour?" + "?" * seed)),
            turns=(
                Turn(text="<code>crop</code>", observation_parts=seen if with_pictures else (TextPart(text="none"),)),
                Turn(text=f"<answer>{answer}</answer>"),
            ),
            answer=answer,
            stop_reason=StopReason.ANSWERED,
        )

    return make
