from foveal.errors import RecordError, SandboxError, first_known


def test_a_group_of_errors_for_users_is_told_by_its_first_and_a_bug_is_not_hidden():
    first, second = RecordError("the disk is full"), SandboxError("gone")
    assert first_known(ExceptionGroup("", [ExceptionGroup("", [first]), second])) is first
    assert first_known(ExceptionGroup("", [first, ExceptionGroup("", [KeyError("x")])])) is None
