#include "feature_server/server_fixture_test.h"

namespace gnomon::feature_server {

TEST_CASE("an answer has Feast's shape: join keys first, then features in request order") {
  Fixture fixture;
  const json answer = fixture.Online(
      R"({"entities": {"driver_id": [1, 2, 9]}, "features": ["latest:trips", "week:sum_trips"]})");
  CHECK(answer == json::parse(R"({
    "results": [
      {"values": [1, 2, 9], "statuses": ["PRESENT", "PRESENT", "PRESENT"],
       "event_timestamps": ["1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"]},
      {"values": [20, 24, null], "statuses": ["PRESENT", "PRESENT", "NOT_FOUND"],
       "event_timestamps": ["2026-01-02T10:00:00Z", "2026-01-01T12:00:00Z", "1970-01-01T00:00:00Z"]},
      {"values": [30, 24, null], "statuses": ["PRESENT", "PRESENT", "NOT_FOUND"],
       "event_timestamps": ["2026-01-02T10:00:00Z", "2026-01-01T12:00:00Z", "1970-01-01T00:00:00Z"]}],
    "metadata": {"feature_names": ["driver_id", "trips", "sum_trips"]}})"));
}

TEST_CASE("a feature service with request data, and full feature names") {
  Fixture fixture;
  const json answer = fixture.Online(
      R"({"entities": {"driver_id": [1], "hours": [8]}, "feature_service": "everything",
          "full_feature_names": true})");
  CHECK(answer["metadata"]["feature_names"] == json({"driver_id", "latest__rate", "latest__trips",
                                                     "week__sum_trips", "effort__per_hour"}));
  CHECK(ValuesOf(answer, "effort__per_hour") == json({2.5}));
}

TEST_CASE("as_of moves ttl and windows: the request's wins, then the server's, then the clock") {
  Fixture fixture({.as_of = ValueOf(ParseTimestamp("2026-01-04T00:00:00Z"))});
  const std::string query =
      R"({"entities": {"driver_id": [1]}, "features": ["latest:trips", "week:sum_trips"])";
  const json server_time = fixture.Online(query + "}");
  CHECK(server_time["results"][1]["statuses"] == json({"OUTSIDE_MAX_AGE"}));
  CHECK(ValuesOf(server_time, "trips") == json({nullptr}));
  CHECK(ValuesOf(server_time, "sum_trips") == json({30}));
  const json request_time = fixture.Online(query + R"(, "as_of": "2026-01-09T09:00:00+00:00"})");
  CHECK(ValuesOf(request_time, "sum_trips") == json({20}));
}

TEST_CASE("an empty list of entities gives empty columns") {
  Fixture fixture;
  const json answer =
      fixture.Online(R"({"entities": {"driver_id": []}, "features": ["latest:trips"]})");
  CHECK(ValuesOf(answer, "trips") == json::array());
}

TEST_CASE("a null key is answered with nulls") {
  Fixture fixture;
  const json answer =
      fixture.Online(R"({"entities": {"driver_id": [null, 1]}, "features": ["latest:trips"]})");
  CHECK(ValuesOf(answer, "trips") == json({nullptr, 20}));
}

TEST_CASE("wrong queries get a status, a message and, where there is one, a hint") {
  struct Case {
    const char* body;
    int status;
    const char* part;
  };
  const Case cases[] = {
      {"", 400, "no body"},
      {"{", 400, "JSON"},
      {"[1, 2]", 400, "object"},
      {R"({"entities": {"driver_id": [1]}})", 400, "'features' or 'feature_service' is missing"},
      {R"({"features": ["latest:trips"]})", 400, "'entities' is missing"},
      {R"({"features": ["latest:trips"], "entities": [1]})", 400, "entities"},
      {R"({"features": ["latest:trips"], "entities": {"driver_id": 1}})", 400, "driver_id"},
      {R"({"features": "latest:trips", "entities": {"driver_id": [1]}})", 400, "features"},
      {R"({"features": [1], "entities": {"driver_id": [1]}})", 400, "features"},
      {R"({"features": ["latest"], "entities": {"driver_id": [1]}})", 400, "latest"},
      {R"({"features": ["latest:trips"], "entities": {"driver_id": ["x"]}})", 400, "driver_id"},
      {R"({"features": ["latest:trips"], "entities": {"driver_id": [1.5]}})", 400, "driver_id"},
      {R"({"features": ["latest:trips"], "entities": {"driver": [1]}})", 400, "driver_id"},
      {R"({"features": ["latest:trips"], "entities": {"driver_id": [1], "hours": [1, 2]}})", 400,
       "hours"},
      {R"({"features": ["effort:per_hour"], "entities": {"driver_id": [1]}})", 400, "hours"},
      {R"({"features": ["latest:trips"], "entities": {"driver_id": [1]}, "as_of": "soon"})", 400,
       "soon"},
      {R"({"features": ["latest:trips"], "entities": {"driver_id": [1]}, "as_of": 5})", 400,
       "as_of"},
      {R"({"features": ["latest:trips"], "entities": {"driver_id": [1]}, "entitis": {}})", 400,
       "did you mean 'entities'"},
      {R"({"features": ["latest:tripz"], "entities": {"driver_id": [1]}})", 404,
       "did you mean 'trips'"},
      {R"({"features": ["lates:trips"], "entities": {"driver_id": [1]}})", 404,
       "did you mean 'latest'"},
      {R"({"feature_service": "everythin", "entities": {"driver_id": [1]}})", 404,
       "did you mean 'everything'"},
  };
  Fixture fixture;
  for (const Case& each : cases) {
    CAPTURE(each.body);
    const net::HttpReply reply = fixture.Post("/get-online-features", each.body);
    CAPTURE(reply.body);
    CHECK(reply.status == each.status);
    CHECK(reply.body.find(each.part) != std::string::npos);
    const json error = DetailOf(reply);
    CHECK(error["kind"] == (each.status == 404 ? "not_found" : "user"));
    CHECK(error["message"].is_string());
  }
  CHECK(fixture.Get("/health").status == 200);
}

TEST_CASE("errors name the exceptions that Feast's clients raise") {
  Fixture fixture;
  const auto class_of = [&](const std::string& path, const std::string& body) {
    return DetailOf(fixture.Post(path, body))["class"].get<std::string>();
  };
  const std::string read = "/get-online-features";
  CHECK(class_of(read, R"({"entities": {"driver_id": [1]}, "features": ["lates:trips"]})") ==
        "FeatureViewNotFoundException");
  CHECK(class_of(read, R"({"entities": {"driver_id": [1]}, "features": ["latest:tripz"]})") ==
        "FeastObjectNotFoundException");
  CHECK(class_of(read, R"({"entities": {"driver_id": [1]}, "feature_service": "x"})") ==
        "FeatureServiceNotFoundException");
  CHECK(class_of(read, "{}") == "FeastError");
  CHECK(class_of("/push", R"({"push_source_name": "x", "df": {"a": [1]}})") ==
        "PushSourceNotFoundException");
  CHECK(class_of("/write-to-online-store", R"({"feature_view_name": "x", "df": {"a": [1]}})") ==
        "FeastObjectNotFoundException");
}

TEST_CASE("members that Feast's clients send as null are as good as absent") {
  Fixture fixture;
  const json answer = fixture.Online(
      R"({"entities": {"driver_id": [1]}, "features": ["latest:trips"], "feature_service": null,
          "full_feature_names": null, "as_of": null})");
  CHECK(ValuesOf(answer, "trips") == json({20}));
}

TEST_CASE("a body above the limit is refused, and the server lives on") {
  Fixture fixture;
  const std::string large = Concat(R"({"features": [")", std::string(200 << 10, 'x'), R"("]})");
  const auto reply = fixture.client.PostJson(fixture.context,
                                             fixture.server->url() + "/get-online-features", large);
  if (reply.ok()) CHECK(reply->status == 413);
  CHECK(fixture.Get("/health").status == 200);
}

TEST_CASE("pushed rows are served by the next read") {
  Fixture fixture;
  const net::HttpReply reply =
      fixture.Post("/push",
                   R"({"push_source_name": "latest", "to": "online", "df": {"driver_id": [1, 2],
          "event_timestamp": ["2026-01-02T10:30:00Z", "2025-12-31T00:00:00Z"],
          "created": ["2026-01-02T10:30:00Z", "2025-12-31T00:00:00Z"],
          "rate": [0.9, 0.1], "trips": [77, 1]}})");
  CAPTURE(reply.body);
  CHECK(reply.status == 200);
  CHECK(reply.body == "null");
  const json answer = fixture.Online(
      R"({"entities": {"driver_id": [1, 2]}, "features": ["latest:trips", "latest:rate"]})");
  // The second row is older than the stored one.
  CHECK(ValuesOf(answer, "trips") == json({77, 24}));
  CHECK(ValuesOf(answer, "rate") == json({0.9, 0.25}));
}

TEST_CASE("rows are written to the view of that name, and no rows are no mistake") {
  Fixture fixture;
  const std::string path = "/write-to-online-store";
  const net::HttpReply reply =
      fixture.Post(path, R"({"feature_view_name": "latest", "allow_registry_cache": true,
          "transform_on_write": true, "df": {"driver_id": [1], "rate": [0.5], "trips": [78],
          "event_timestamp": ["2026-01-02T10:30:00"], "created": [1767350000]}})");
  CHECK(reply.status == 200);
  CHECK(reply.body == "null");
  const json answer =
      fixture.Online(R"({"entities": {"driver_id": [1]}, "features": ["latest:trips"]})");
  CHECK(ValuesOf(answer, "trips") == json({78}));
  CHECK(fixture.Post(path, R"({"feature_view_name": "latest", "df": {}})").body == "null");
  CHECK(fixture.Post(path, R"({"feature_view_name": "nothing", "df": {}})").status == 404);
  const json detail =
      DetailOf(fixture.Post(path, R"({"feature_view_name": "latest", "df": {"driver_id": [1]}})"));
  CHECK(detail["kind"] == "user");
  CHECK(fixture.Post(path, R"({"push_source_name": "latest", "df": {}})").status == 400);
}

TEST_CASE("a push of the wrong shape changes nothing") {
  struct Case {
    const char* body;
    int status;
    const char* part;
  };
  const Case cases[] = {
      {R"({"feature_view_name": "latest"})", 400, "df"},
      {R"({"df": {"driver_id": [1]}})", 400, "push_source_name"},
      {R"({"feature_view_name": "latest", "to": "onlin", "df": {"driver_id": [1]}})", 400,
       "online"},
      {R"({"feature_view_name": "lates", "df": {"driver_id": [1]}})", 404, "lates"},
      {R"({"feature_view_name": "latest", "df": {"event_timestamp": ["2026-01-02T10:30:00Z"],
           "rate": [0.9], "trips": [77]}})",
       400, "driver_id"},
      {R"({"feature_view_name": "latest", "df": {"driver_id": [1], "event_timestamp": ["soon"],
           "rate": [0.9], "trips": [77]}})",
       400, "soon"},
      {R"({"feature_view_name": "latest", "df": {"driver_id": [1],
           "event_timestamp": ["2026-01-02T10:30:00Z"], "rate": ["fast"], "trips": [77]}})",
       400, "rate"},
      // The source is one file: rows can be added to a folder only.
      {R"({"feature_view_name": "latest", "to": "offline", "df": {"driver_id": [1],
           "event_timestamp": ["2026-01-02T10:30:00Z"], "created": ["2026-01-02T10:30:00Z"],
           "rate": [0.9], "trips": [77]}})",
       400, "folder"},
  };
  Fixture fixture;
  for (const Case& each : cases) {
    CAPTURE(each.body);
    const net::HttpReply reply = fixture.Post("/push", each.body);
    CAPTURE(reply.body);
    CHECK(reply.status == each.status);
    CHECK(reply.body.find(each.part) != std::string::npos);
  }
  const json answer =
      fixture.Online(R"({"entities": {"driver_id": [1]}, "features": ["latest:trips"]})");
  CHECK(ValuesOf(answer, "trips") == json({20}));
}

TEST_CASE("health and metrics answer, other methods and paths do not") {
  Fixture fixture;
  CHECK(json::parse(fixture.Get("/health").body) == json({{"status", "ok"}}));
  fixture.Online(R"({"entities": {"driver_id": [1, 2]}, "features": ["latest:trips"]})");
  const net::HttpReply metrics = fixture.Get("/metrics");
  CHECK(metrics.status == 200);
  CHECK(metrics.body.find("feast_online_features_request_total 1") != std::string::npos);
  CHECK(metrics.body.find("feast_online_features_entity_count 2") != std::string::npos);
  CHECK(metrics.body.find("gnomon_feature_online_read_seconds") != std::string::npos);
  CHECK(fixture.Get("/get-online-features").status == 405);
  CHECK(fixture.Get("/get-online-feature").status == 404);
}

}  // namespace gnomon::feature_server
