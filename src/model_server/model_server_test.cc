#include "model_server/model_server.h"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "net/client.h"
#include "serve/driver_model_test.h"

namespace gnomon::model_server {
namespace {

using nlohmann::json;
using serve::DriverModel;
using test::ValueOf;

/// Two models of one repository behind a running server; the clock stands at 2026-01-02T11:00:00Z.
struct Fixture {
  DriverModel drivers;
  Metrics metrics;
  Models models;
  std::unique_ptr<net::HttpServer> server;
  net::HttpClient client;

  explicit Fixture(std::optional<int64_t> default_as_of = {}) {
    const model::ModelRepository repository(drivers.folder.path() + "/models");
    for (const char* name : {"driver-model", "other-model"})
      test::RequireOk(repository.Add(drivers.MakeModel(name)).status());
    models = ValueOf(LoadModels(*drivers.store, repository, {}));
    net::ServerOptions options;
    options.workers = 2;
    options.max_body_bytes = 64 << 10;
    options.context.clock = &drivers.clock;
    server = ValueOf(
        net::HttpServer::Start(options, MakeRouter(models, metrics, default_as_of), &metrics));
  }

  net::HttpReply Predict(const std::string& body, const std::string& model = "driver-model") {
    return ValueOf(client.PostJson(drivers.context,
                                   Concat(server->url(), "/v1/models/", model, ":predict"), body));
  }
  net::HttpReply Get(const std::string& path) {
    return ValueOf(client.Get(drivers.context, server->url() + path));
  }
  std::vector<double> Expected(std::string_view rows, std::optional<int64_t> as_of = {}) const {
    return ValueOf(
        models.at("driver-model")->Predict(drivers.context, *DriverModel::Instances(rows), as_of));
  }
};

std::vector<double> PredictionsOf(const net::HttpReply& reply) {
  CAPTURE(reply.body);
  REQUIRE(reply.status == 200);
  const json answer = json::parse(reply.body);
  CHECK(answer.size() == 1);
  return answer["predictions"].get<std::vector<double>>();
}

}  // namespace

TEST_CASE("a prediction over HTTP has the predictor's very bits") {
  Fixture fixture;
  const net::HttpReply reply = fixture.Predict(
      R"({"instances": [{"driver_id": 1, "hours": 8}, {"hours": 7.5, "driver_id": 2}]})");
  CHECK(reply.Header("Content-Type") == "application/json");
  CHECK(PredictionsOf(reply) == fixture.Expected("[[1, 8], [2, 7.5]]"));
}

TEST_CASE("`inputs` stands for `instances`, and no instances give no predictions") {
  Fixture fixture;
  CHECK(PredictionsOf(fixture.Predict(R"({"inputs": [{"driver_id": 1, "hours": 8}]})")) ==
        fixture.Expected("[[1, 8]]"));
  CHECK(PredictionsOf(fixture.Predict(R"({"instances": []})")).empty());
}

TEST_CASE("as_of moves ttl and windows: the request's wins, then the server's, then the clock") {
  const int64_t server_time = ValueOf(ParseTimestamp("2026-01-20T00:00:00Z"));
  const int64_t request_time = ValueOf(ParseTimestamp("2026-01-09T09:00:00Z"));
  Fixture fixture(server_time);
  const auto by_server =
      PredictionsOf(fixture.Predict(R"({"instances": [{"driver_id": 1, "hours": 8}]})"));
  CHECK(by_server == fixture.Expected("[[1, 8]]", server_time));
  const auto by_request = PredictionsOf(fixture.Predict(
      R"({"instances": [{"driver_id": 1, "hours": 8}], "as_of": "2026-01-09T09:00:00Z"})"));
  CHECK(by_request == fixture.Expected("[[1, 8]]", request_time));
  CHECK(by_request != by_server);
}

TEST_CASE("wrong requests get a status, a message and, where there is one, a hint") {
  struct Case {
    const char* body;
    int status;
    const char* part;
  };
  const Case cases[] = {
      {"", 400, "no body"},
      {"{\"instances\"", 400, "JSON"},
      {"[]", 400, "object"},
      {"{}", 400, "'instances' is missing"},
      {R"({"instances": 5})", 400, "instances"},
      {R"({"instances": [5]})", 400, "instances"},
      {R"({"instances": {"driver_id": [1]}})", 400, "instances"},
      {R"({"instances": [{"driver_id": 1}]})", 400, "hours"},
      {R"({"instances": [{"hours": 1}]})", 400, "driver_id"},
      {R"({"instances": [{"driver_id": "one", "hours": 8}]})", 400, "driver_id"},
      {R"({"instances": [{"driver_id": 1.5, "hours": 8}]})", 400, "driver_id"},
      {R"({"instances": [{"driver_id": 1, "hour": 8}]})", 400, "did you mean 'hours'"},
      {R"({"instances": [{"driver_id": 1, "hours": "long"}]})", 400, "hours"},
      {R"({"instances": [{"driver_id": 1, "hours": 8}], "as_of": "soon"})", 400, "soon"},
      {R"({"instances": [{"driver_id": 77, "hours": 8}]})", 404, "driver_id=77"},
  };
  Fixture fixture;
  for (const Case& each : cases) {
    CAPTURE(each.body);
    const net::HttpReply reply = fixture.Predict(each.body);
    CAPTURE(reply.body);
    CHECK(reply.status == each.status);
    CHECK(reply.body.find(each.part) != std::string::npos);
    CHECK(json::parse(reply.body)["kind"] == (each.status == 404 ? "not_found" : "user"));
  }
  CHECK(fixture.Get("/healthz").status == 200);
}

TEST_CASE("an unknown model is not found, with the nearest name") {
  Fixture fixture;
  const net::HttpReply reply =
      fixture.Predict(R"({"instances": [{"driver_id": 1, "hours": 8}]})", "driver-modle");
  CHECK(reply.status == 404);
  CHECK(json::parse(reply.body)["hint"].get<std::string>().find("driver-model") !=
        std::string::npos);
  CHECK(fixture.Get("/v1/models/none").status == 404);
}

TEST_CASE("models are listed and ready, the server is alive and counted") {
  Fixture fixture;
  CHECK(json::parse(fixture.Get("/v1/models").body) ==
        json::parse(R"({"models": ["driver-model", "other-model"]})"));
  CHECK(json::parse(fixture.Get("/v1/models/other-model").body) ==
        json::parse(R"({"name": "other-model", "ready": true})"));
  CHECK(json::parse(fixture.Get("/").body) == json::parse(R"({"status": "alive"})"));
  CHECK(json::parse(fixture.Get("/healthz").body) == json::parse(R"({"status": "ok"})"));
  PredictionsOf(fixture.Predict(R"({"instances": [{"driver_id": 1, "hours": 8}]})"));
  const net::HttpReply metrics = fixture.Get("/metrics");
  CHECK(metrics.status == 200);
  CHECK(metrics.body.find("request_predict_seconds_count{model_name=\"driver-model\"} 1") !=
        std::string::npos);
  CHECK(metrics.body.find("request_predict_seconds_count{model_name=\"other-model\"} 0") !=
        std::string::npos);
  const auto put = fixture.client.Request(
      fixture.drivers.context, "PUT", fixture.server->url() + "/v1/models/driver-model:predict");
  CHECK(ValueOf(put).status == 405);
  const net::HttpReply get = fixture.Get("/v1/models/driver-model:predict");
  CHECK(get.status == 405);
  CHECK(get.Header("Allow") == "POST");
}

TEST_CASE("only the named models are loaded, and what is not there is an error") {
  const DriverModel drivers;
  const model::ModelRepository repository(drivers.folder.path() + "/models");
  CHECK_ERROR(LoadModels(*drivers.store, repository, {}), ErrorKind::kNotFound, "train one");
  test::RequireOk(repository.Add(drivers.MakeModel("driver-model")).status());
  test::RequireOk(repository.Add(drivers.MakeModel("other-model")).status());
  CHECK(ValueOf(LoadModels(*drivers.store, repository, {"other-model"})).size() == 1);
  CHECK_ERROR(LoadModels(*drivers.store, repository, {"other-modle"}), ErrorKind::kNotFound,
              "other-model");
}

}  // namespace gnomon::model_server
