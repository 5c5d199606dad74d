import asyncio
import json

import httpx
import pytest

from foveal.config import Limits
from foveal.errors import InputError, PolicyError
from foveal.policy.base import Generation
from foveal.policy.scripted import ScriptedConversation, ScriptedPolicy
from foveal.records import RunWriter, read_run
from foveal.serve.app import MAX_BODY, Saved
from foveal.serve.server import listen
from foveal.trajectory import StopReason

SEARCH = '<think>I look it up.</think>\n<tool_call>{"name": "search", "arguments": {"query": "tower"}}</tool_call>'
ANSWER = "<think>There it is.</think>\n<answer>4 m</answer>"


def events(reply):
    lines = [line.removeprefix("data: ") for line in reply.text.split("\n\n") if line.startswith("data: ")]
    return [json.loads(line) if line != "[DONE]" else None for line in lines]


def test_the_agent_answers_as_if_it_were_a_model(running, library, data_url, red, tmp_path):
    async def main():
        content = [{"type": "image_url", "image_url": {"url": data_url(red)}}, {"type": "text", "text": "How tall?"}]
        with RunWriter(tmp_path / "run") as writer:
            async with running(ScriptedPolicy([SEARCH, ANSWER]), library, saved=Saved(writer, 0)) as server:
                replies = [await server.ask(content, temperature=0.5, top_p=0.9, seed=3, max_tokens=77) for _ in "ab"]
        return [reply.json() for reply in replies]

    first, second = asyncio.run(main())
    assert first["object"] == "chat.completion" and first["model"] == "agent"
    [choice] = first["choices"]
    assert choice["message"] == {"role": "assistant", "content": "4 m"}
    assert choice["finish_reason"] == "stop"
    assert first["usage"] is None  # a script counts no tokens
    extra = first["foveal"]
    assert (extra["stop_reason"], extra["turns"], extra["calls"]) == ("answered", 2, ["search"])
    assert extra["page"] == str(tmp_path / "run" / "pages" / "1.html")
    assert second["foveal"]["page"].endswith("2.html")

    run = read_run(tmp_path / "run")
    assert run.problems == ()
    one, two = run.trajectories
    assert (one.id, two.id) == (extra["trajectory"], second["foveal"]["trajectory"])
    assert one.question.id == two.question.id  # so that runs can be compared
    assert run.images.get(one.question.images[0]).tobytes() == red.tobytes()
    assert one.settings["sampling"] == {"temperature": 0.5, "top_p": 0.9, "seed": 3}
    assert one.settings["limits"]["max_turn_tokens"] == extra["max_turn_tokens"] == 77


def test_what_a_request_leaves_open_the_server_decides(running):
    async def main():
        async with running(ScriptedPolicy([ANSWER]), limits=Limits(max_turn_tokens=50)) as server:
            return [(await server.ask(max_tokens=99999)).json()["foveal"] for _ in "ab"]

    one, two = asyncio.run(main())
    assert one["max_turn_tokens"] == 50
    assert (one["sampling"]["temperature"], one["sampling"]["top_p"]) == (0, 1)
    assert one["sampling"]["seed"] != two["sampling"]["seed"]  # asked twice, drawn twice
    assert one["page"] is None


def test_a_system_message_stands_behind_the_prompt_of_the_agent(running):
    seen = []

    def turn(messages):
        seen.append(messages[0].text)
        return ANSWER

    async def main():
        async with running(ScriptedPolicy(turn)) as server:
            messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How tall?"}]
            await server.ask(messages=messages)
            await server.ask()

    asyncio.run(main())
    with_system, without = seen
    assert with_system == f"{without}\n\nBe brief."


def test_usage_is_the_sum_of_all_turns(running, held):
    async def main():
        policy = held()
        policy.free.set()
        policy.turns = ["no action", "<answer>x</answer>"]
        async with running(policy) as server:
            return (await server.ask()).json()["usage"]

    assert asyncio.run(main()) == {"prompt_tokens": 20, "completion_tokens": 4, "total_tokens": 24}


def test_a_turn_that_the_client_cut_short_is_told_in_the_log(running, caplog):
    class Cut(ScriptedConversation):
        async def generate(self, max_tokens, stop):
            return Generation("<think>I am not", "length", 5, max_tokens)

    class CutPolicy(ScriptedPolicy):
        def open(self, images, sampling):
            return Cut([])

    async def main():
        async with running(CutPolicy([])) as server:
            return await server.ask(), await server.ask(max_tokens=16)

    _, reply = asyncio.run(main())
    assert (reply.json()["choices"][0]["finish_reason"], reply.json()["usage"]["completion_tokens"]) == ("length", 16)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "the client's max_tokens of 16 cut a turn short: raise it there"
    ]


def test_an_end_without_an_answer_is_an_empty_reply(running):
    async def main():
        async with running(ScriptedPolicy(["nonsense"] * 9), limits=Limits(max_turns=2)) as server:
            return await server.ask(), await server.ask(stream=True)

    reply, streamed = asyncio.run(main())
    assert reply.status_code == 200
    [choice] = reply.json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "length")
    assert reply.json()["foveal"]["stop_reason"] == "max_turns"
    assert events(streamed)[-2]["choices"][0]["finish_reason"] == "length"


def test_a_model_that_fails_is_an_error_and_saved(running, tmp_path):
    async def main():
        with RunWriter(tmp_path) as writer:
            async with running(ScriptedPolicy([]), saved=Saved(writer, 0)) as server:
                return await server.ask(), await server.ask(stream=True)

    reply, streamed = asyncio.run(main())
    assert reply.status_code == 502
    error = reply.json()["error"]
    assert (error["type"], error["code"]) == ("server_error", "policy_error")
    assert "the script ended" in error["message"]
    assert streamed.status_code == 200
    *_, told, done = events(streamed)
    assert told["error"]["code"] == "policy_error" and done is None
    assert [one.stop_reason for one in read_run(tmp_path).trajectories] == [StopReason.POLICY_ERROR] * 2


def test_a_model_that_is_too_slow_is_an_error(running, held):
    async def main():
        async with running(held(), limits=Limits(wall_seconds=0.05)) as server:
            return await server.ask()

    reply = asyncio.run(main())
    assert (reply.status_code, reply.json()["error"]["code"]) == (504, "wall_time")


def test_a_question_that_does_not_fit_is_refused(running):
    class Counting(ScriptedConversation):
        def cost(self, message):
            return len(message.text)

    class CountingPolicy(ScriptedPolicy):
        def open(self, images, sampling):
            return Counting(self.turns)

    async def main():
        async with running(CountingPolicy([ANSWER]), limits=Limits(max_context=10_000)) as server:
            return await server.ask("Why? " * 5000), await server.ask("Why?")

    long, short = asyncio.run(main())
    assert (long.status_code, long.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert short.status_code == 200


def test_a_bug_is_an_error_object_and_leaves_the_server_alive(running, caplog):
    def turn(messages):
        raise ZeroDivisionError("s3cret")

    async def main():
        async with running(ScriptedPolicy(turn)) as server:
            return await server.ask(), await server.health()

    reply, health = asyncio.run(main())
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "internal_error")
    assert "s3cret" not in reply.text
    assert "ZeroDivisionError" in caplog.text
    assert health["running"] == 0


def test_a_streamed_reply_tells_the_turns_and_then_the_answer(running, library):
    async def main():
        async with running(ScriptedPolicy([SEARCH, ANSWER]), library) as server:
            plain = await server.ask(stream=True)
            return plain, await server.ask(stream=True, stream_options={"include_usage": True})

    reply, counted = asyncio.run(main())
    assert reply.headers["content-type"].startswith("text/event-stream")
    *told, done = events(reply)
    assert done is None
    deltas = [event["choices"][0]["delta"] for event in told]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert [delta["reasoning_content"].strip() for delta in deltas if "reasoning_content" in delta] == [SEARCH, ANSWER]
    assert "".join(delta.get("content", "") for delta in deltas) == "4 m"
    assert [event["choices"][0]["finish_reason"] for event in told] == [None] * (len(told) - 1) + ["stop"]
    assert told[-1]["foveal"]["calls"] == ["search"]
    assert len({event["id"] for event in told}) == 1
    assert events(counted)[-2] == {**events(counted)[-2], "choices": [], "usage": None}


def test_so_many_at_a_time_and_the_others_wait(running, held):
    async def main():
        policy = held()
        async with running(policy, concurrency=2) as server:
            asking = [asyncio.create_task(server.ask(f"Who is number {number}?")) for number in range(6)]
            await policy.until(lambda: policy.begun == 2)
            while (health := await server.health())["waiting"] < 4:
                await asyncio.sleep(0.01)
            policy.free.set()
            replies = await asyncio.gather(*asking)
            return health, policy, replies, await server.health()

    health, policy, replies, after = asyncio.run(main())
    assert health == {"status": "ok", "running": 2, "waiting": 4}
    assert policy.most == 2
    assert [reply.status_code for reply in replies] == [200] * 6
    assert after == {"status": "ok", "running": 0, "waiting": 0}


def test_who_finds_too_many_waiting_is_turned_away(running, held):
    async def main():
        policy = held()
        async with running(policy, concurrency=1, max_waiting=1) as server:
            asking = [asyncio.create_task(server.ask()) for _ in range(2)]
            while await server.health() != {"status": "ok", "running": 1, "waiting": 1}:
                await asyncio.sleep(0.01)
            turned_away = await server.ask()
            policy.free.set()
            return turned_away, await asyncio.gather(*asking)

    turned_away, replies = asyncio.run(main())
    assert (turned_away.status_code, turned_away.json()["error"]["code"]) == (429, "queue_full")
    assert [reply.status_code for reply in replies] == [200, 200]


@pytest.mark.parametrize("stream", [False, True])
def test_a_question_whose_client_is_killed_is_dropped(running, held, stream, tmp_path):
    async def main():
        policy = held()
        with RunWriter(tmp_path) as writer:
            async with running(policy, concurrency=1, saved=Saved(writer, 0)) as server:
                async with httpx.AsyncClient(base_url=server.url, trust_env=False) as other:
                    body = {"model": "agent", "messages": [{"role": "user", "content": "Who?"}], "stream": stream}
                    asking = asyncio.create_task(other.post("/v1/chat/completions", json=body))
                    await policy.until(lambda: policy.begun == 1)
                    asking.cancel()
                await policy.until(lambda: policy.closed == 1)
                policy.free.set()
                return await server.ask("And who is next?")  # its place is free again

    reply = asyncio.run(main())
    assert reply.status_code == 200
    assert [one.question.text for one in read_run(tmp_path).trajectories] == ["And who is next?"]


@pytest.mark.parametrize("stream", [False, True])
def test_stopping_ends_what_is_under_way(running, held, stream):
    async def main():
        policy = held()
        async with running(policy, concurrency=1) as server:
            asking = [asyncio.create_task(server.ask(stream=stream)) for _ in range(2)]
            await policy.until(lambda: policy.begun == 1)
            server.stopping.set()
            replies = await asyncio.gather(*asking)
            await server.task
            return replies, policy

    replies, policy = asyncio.run(main())
    assert all("stopping" in reply.text for reply in replies)
    assert sorted(reply.status_code for reply in replies) == ([200, 503] if stream else [503, 503])
    assert policy.begun == policy.closed == 1


def test_only_the_served_model_and_only_allowed_questions(running):
    def check(asked):
        if "art" in asked.question:
            raise InputError("that is no question", "ask another")

    async def main():
        async with running(ScriptedPolicy([ANSWER]), check=check) as server:
            models = (await server.client.get("/v1/models")).json()
            return models, await server.ask(model="gpt-4o"), await server.ask("Is this art?"), await server.ask()

    models, other, refused, good = asyncio.run(main())
    assert [model["id"] for model in models["data"]] == ["agent"]
    assert (other.status_code, other.json()["error"]["code"]) == (404, "model_not_found")
    assert refused.status_code == 400
    assert refused.json()["error"]["message"] == "that is no question: ask another"
    assert good.status_code == 200


def test_wrong_requests_get_error_objects(running):
    async def main():
        async with running(ScriptedPolicy([ANSWER])) as server:
            return [
                await server.client.post("/v1/chat/completions", content=b"{"),
                await server.ask(n=2),
                await server.client.get("/v1/chat/completions"),
                await server.client.post("/v1/completions", json={}),
            ]

    replies = asyncio.run(main())
    assert [reply.status_code for reply in replies] == [400, 400, 405, 404]
    assert all(reply.json()["error"]["type"] == "invalid_request_error" for reply in replies)
    assert all(reply.json()["error"]["message"] for reply in replies)


def test_a_body_that_is_too_large_is_not_read(running):
    async def endless():
        for _ in range(MAX_BODY // 2**20 + 1):
            yield bytes(2**20)

    async def announced(server):
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(server.url).port)
        writer.write(
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {MAX_BODY + 1}\r\n\r\n".encode()
        )
        status = await reader.readline()
        writer.close()
        return status

    async def main():
        async with running(ScriptedPolicy([ANSWER])) as server:
            return await announced(server), await server.client.post("/v1/chat/completions", content=endless())

    status, reply = asyncio.run(main())
    assert b" 413 " in status
    assert reply.status_code == 413


def test_with_a_key_only_who_has_it_is_answered(running):
    async def main():
        async with running(ScriptedPolicy([ANSWER]), key="s3cret") as server:
            without = await server.ask()
            wrong = await server.client.get("/v1/models", headers={"Authorization": "Bearer sécret".encode()})
            server.client.headers["Authorization"] = "Bearer s3cret"
            return without, wrong, await server.client.get("/health"), await server.ask()

    without, wrong, health, good = asyncio.run(main())
    assert [without.status_code, wrong.status_code, health.status_code, good.status_code] == [401, 401, 200, 200]
    assert without.json()["error"]["code"] == "invalid_api_key"


def test_without_a_key_web_pages_are_not_answered(running):
    async def main():
        async with running(ScriptedPolicy([ANSWER])) as server:
            server.client.headers["Origin"] = "https://example.org"
            return await server.ask()

    assert asyncio.run(main()).status_code == 403


def test_an_address_that_cannot_be_used():
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} cannot be used"):
            listen("127.0.0.1", port)
    with pytest.raises(InputError, match="cannot be used"):
        listen("no.such.host.invalid", 0)


def test_a_policy_error_of_a_later_turn_is_told_once(running):
    def turn(messages):
        if len(messages) > 2:
            raise PolicyError("the endpoint is down", "start it")
        return "nonsense"

    async def main():
        async with running(ScriptedPolicy(turn)) as server:
            return await server.ask()

    reply = asyncio.run(main())
    assert reply.status_code == 502
    assert reply.json()["error"]["message"].count("the endpoint is down") == 1
