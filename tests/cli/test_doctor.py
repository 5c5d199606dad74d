import json


def test_a_working_endpoint_is_enough(process, endpoint, tmp_path):
    server = endpoint([], models=("tiny-vlm",), key="k")
    out = tmp_path / "doctor.json"
    done = process("doctor", "--policy", server.url, "--json", out, env={"OPENAI_API_KEY": "k"})
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert found["ok"] is True and found["failed"] == []
    assert found["isolation"] == "ns"
    assert "tiny-vlm" in found["endpoint"]
    assert found["search"].startswith("SQLite")
    assert {"python", "torch", "gpu", "transformers", "checkpoint"} <= found.keys()
    assert server.keys == ["Bearer k"]


def test_each_failing_line_names_its_fix(foveal, tmp_path):
    out = tmp_path / "doctor.json"
    done = foveal("doctor", "--policy", "http://127.0.0.1:9/v1", "--search", "nowhere", "--json", out)
    assert done.returncode == 1
    found = json.loads(out.read_text())
    assert found["failed"] == ["search", "endpoint"]
    assert found["search"] is None and found["endpoint"] is None
    lines = done.stdout.splitlines()
    failing = [number for number, line in enumerate(lines) if line.lstrip().startswith("fails")]
    assert len(failing) == 2
    assert all(lines[number + 1].lstrip().startswith("fix: ") for number in failing)


def test_a_folder_without_a_checkpoint_and_a_model_that_is_not_served(foveal, endpoint, tmp_path):
    done = foveal("doctor", "--policy", tmp_path)
    assert done.returncode == 1 and "no config.json" in done.stdout
    server = endpoint([], models=("a",))
    secret = server.url.replace("://", "://bob:s3cret@")
    done = foveal("doctor", "--policy", secret, "--model", "b")
    assert done.returncode == 1 and "choose one of: a" in done.stdout and "s3cret" not in done.stdout
    done = foveal("doctor", "--policy", secret, "--model", "a")
    assert done.returncode == 0 and "serves a" in done.stdout and "s3cret" not in done.stdout
