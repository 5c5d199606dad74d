"""What is sent back: replies, pieces of a streamed reply, and error objects, as OpenAI shapes them.

An answer ends with `finish_reason` "stop". A trajectory that ended without one (turns, tokens, context or time of the
model's own code used up, or the same error again and again) is a reply like any other, with an empty text and "length":
the model had its try, and a harness has to count it as wrong, not to ask again. If the model's endpoint failed, or was
too slow, nothing was measured: that is an error, as is a question that does not fit into the context.
"""

import time
from typing import Any

from starlette.responses import JSONResponse

from foveal.asking import endpoint_failed, out_of_time
from foveal.serve.request import Refused
from foveal.trajectory import StopReason, Trajectory

Json = dict[str, Any]


def failure(trajectory: Trajectory) -> Refused | None:
    """The error of a trajectory that says nothing about the model; None for any other."""
    if trajectory.stop_reason is StopReason.CONTEXT_FULL and not trajectory.turns:
        return Refused(
            "the question does not fit into the model's context: send fewer or smaller pictures, or start the server "
            "with another --max-context or --max-image-pixels",
            "messages",
            "context_length_exceeded",
        )
    if why := endpoint_failed(trajectory):
        return Refused(f"the model failed: {why}", code="policy_error", status=502)
    if why := out_of_time(trajectory):
        return Refused(f"the model was too slow: {why}", code="wall_time", status=504)
    return None


def error_object(refused: Refused) -> Json:
    """The error as OpenAI shapes it."""
    kind = "invalid_request_error" if refused.status < 500 else "server_error"
    return {
        "error": {"message": refused.message, "type": kind, "param": refused.param, "code": refused.code},
    }


def error_response(refused: Refused) -> JSONResponse:
    """The error as a whole reply."""
    return JSONResponse(error_object(refused), refused.status)


def completion(name: str, trajectory: Trajectory, page: str | None) -> Json:
    """The whole reply to a request that is not streamed.

    Args:
        name: Of the served model.
        trajectory: What the agent did.
        page: Where `foveal view` draws it, if it was saved.
    """
    message = {"role": "assistant", "content": trajectory.answer or ""}
    return {
        **_head(name, trajectory.id, "chat.completion"),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(trajectory)}],
        "usage": usage(trajectory),
        "foveal": extension(trajectory, page),
    }


def chunk(name: str, trajectory: str, delta: Json) -> Json:
    """A piece of a streamed reply."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
    return {**_head(name, trajectory, "chat.completion.chunk"), "choices": [choice]}


def last_chunks(name: str, trajectory: Trajectory, page: str | None, with_usage: bool) -> list[Json]:
    """The pieces that end a streamed reply: the answer, why it ended, and the counts if they were asked for."""
    end = chunk(name, trajectory.id, {})
    end["choices"][0]["finish_reason"] = _finish(trajectory)
    end["foveal"] = extension(trajectory, page)
    pieces = [chunk(name, trajectory.id, {"content": trajectory.answer or ""}), end]
    if with_usage:
        head = _head(name, trajectory.id, "chat.completion.chunk")
        pieces.append({**head, "choices": [], "usage": usage(trajectory)})
    return pieces


def usage(trajectory: Trajectory) -> Json | None:
    """Tokens of all turns together, as an endpoint bills them: each turn reads what came before again.

    None if the policy does not count them.
    """
    read = [turn.prompt_tokens for turn in trajectory.turns]
    written = [turn.completion_tokens for turn in trajectory.turns]
    if not trajectory.turns or None in read or None in written:
        return None
    prompt, completion = sum(filter(None, read)), sum(filter(None, written))
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def extension(trajectory: Trajectory, page: str | None) -> Json:
    """What OpenAI's reply has no field for."""
    settings: Any = trajectory.settings
    return {
        "trajectory": trajectory.id,
        "stop_reason": trajectory.stop_reason,
        "turns": len(trajectory.turns),
        "calls": [turn.call.tool for turn in trajectory.turns if turn.call is not None],
        "seconds": round(trajectory.seconds, 3),
        "sampling": settings["sampling"],
        "max_turn_tokens": settings["limits"]["max_turn_tokens"],
        "page": page,
    }


def _head(name: str, trajectory: str, kind: str) -> Json:
    return {"id": f"chatcmpl-{trajectory}", "object": kind, "created": int(time.time()), "model": name}


def _finish(trajectory: Trajectory) -> str:
    return "length" if trajectory.answer is None else "stop"
