from http import HTTPStatus


def test_a_user_logs_in_calls_refreshes_and_logs_out(user, client, bearer):
    answer = client.post("/auth/token/", {"username": "alice", "password": "correct horse"}, format="json")
    assert answer.status_code == HTTPStatus.OK
    first = answer.json()
    assert bearer(first["access_token"]).get("/api/ping/").json() == {"user_id": user.pk}

    second = client.post("/auth/token/refresh/", {"refresh_token": first["refresh_token"]}, format="json").json()
    assert bearer(second["access_token"]).get("/api/ping/").status_code == HTTPStatus.OK

    assert client.post("/auth/token/revoke/", {"token": second["refresh_token"]}).status_code == HTTPStatus.OK
    assert bearer(first["access_token"]).get("/api/ping/").json()["code"] == "token_revoked"
    assert bearer(second["access_token"]).get("/api/ping/").status_code == HTTPStatus.UNAUTHORIZED
