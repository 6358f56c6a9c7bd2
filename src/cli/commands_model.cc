#include <filesystem>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>

#include "base/text.h"
#include "cli/commands.h"
#include "net/json.h"
#include "serve/predictor.h"
#include "table/column.h"
#include "table/file.h"
#include "tracking/run_store.h"
#include "train/job/training_job.h"

namespace gnomon::cli {
namespace {

Status Train(Session& session, const std::string& file) {
  GNOMON_ASSIGN_OR_RETURN(auto store, session.OpenStore());
  // The file is looked for where the command runs, then in the repository.
  const std::string inside = (std::filesystem::path(store->config().folder) / file).string();
  GNOMON_ASSIGN_OR_RETURN(auto root, LoadConfigFile(std::filesystem::exists(file) ? file : inside));
  GNOMON_ASSIGN_OR_RETURN(auto config, train::ParseTrainingConfig(root));
  GNOMON_ASSIGN_OR_RETURN(auto runs, tracking::OpenLocalRunStore(store->config().tracking.path));
  const model::ModelRepository models(store->config().models);
  GNOMON_ASSIGN_OR_RETURN(auto outcome,
                          train::RunTraining(session.context, *store, config, *runs, models));
  if (session.json) {
    std::string out;
    net::JsonWriter json(&out);
    json.BeginObject()
        .Key("run_id")
        .String(outcome.run.id.value)
        .Key("run_name")
        .String(outcome.run.name);
    json.Key("model")
        .String(config.name)
        .Key("version")
        .Int(outcome.model_version)
        .Key("rows")
        .Int(outcome.rows);
    json.Key("retrieve_seconds")
        .Double(outcome.retrieve_seconds)
        .Key("train_seconds")
        .Double(outcome.train_seconds);
    json.Key("metrics").BeginObject();
    for (const auto& [key, value] : outcome.result.metrics) json.Key(key).Double(value);
    json.EndObject().EndObject();
    Print(out);
    return Status::OK();
  }
  std::string text =
      Concat("run ", outcome.run.name, " (", outcome.run.id.value.substr(0, 8), ")\n");
  for (const auto& [key, value] : outcome.result.metrics)
    text += Concat("  ", key, " = ", value, "\n");
  text += Concat("model ", config.name, " version ", outcome.model_version, " in ",
                 store->config().models, "\n");
  Print(text);
  return Status::OK();
}

struct PredictFlags {
  std::string model;
  int64_t version = 0;
  std::string entities;
  std::string json;
  std::string out;
  std::string as_of;
};

struct Predictions {
  std::shared_ptr<arrow::Table> entities;
  std::vector<double> values;
};

/// Entity rows of a file with a timestamp column get features as of it, others the newest ones.
Result<Predictions> PredictRows(Session& session, const serve::Predictor& predictor,
                                const PredictFlags& flags) {
  Predictions result;
  GNOMON_ASSIGN_OR_RETURN(auto as_of, ParseOptionalTime(flags.as_of));
  if (!flags.json.empty()) {
    GNOMON_ASSIGN_OR_RETURN(auto rows, ParseJsonRows(flags.json));
    GNOMON_ASSIGN_OR_RETURN(result.entities, arrow::Table::FromRecordBatches({rows}));
    GNOMON_ASSIGN_OR_RETURN(result.values, predictor.Predict(session.context, *rows, as_of));
    return result;
  }
  GNOMON_ASSIGN_OR_RETURN(result.entities, table::ReadTable(session.context, flags.entities));
  const auto& fields = result.entities->schema()->fields();
  const bool timed = std::ranges::any_of(
                         fields, [](const auto& field) { return table::IsTime(*field->type()); }) &&
                     !as_of;
  if (timed) {
    // What was learned is no input, and its column may stand in the file.
    auto inputs = result.entities;
    const int label = inputs->schema()->GetFieldIndex(predictor.model().source().label);
    if (label >= 0) {
      GNOMON_ASSIGN_OR_RETURN(inputs, inputs->RemoveColumn(label));
    }
    GNOMON_ASSIGN_OR_RETURN(result.values, predictor.PredictHistorical(session.context, inputs));
  } else {
    GNOMON_ASSIGN_OR_RETURN(auto batch, table::SingleBatch(*result.entities));
    GNOMON_ASSIGN_OR_RETURN(result.values, predictor.Predict(session.context, *batch, as_of));
  }
  return result;
}

Status Predict(Session& session, const PredictFlags& flags) {
  if (flags.entities.empty() == flags.json.empty()) {
    return Error(ErrorKind::kUser, "give --entities FILE or --instances JSON");
  }
  GNOMON_ASSIGN_OR_RETURN(auto store, session.OpenStore());
  const model::ModelRepository models(store->config().models);
  GNOMON_ASSIGN_OR_RETURN(auto loaded, models.Load(flags.model, flags.version));
  GNOMON_ASSIGN_OR_RETURN(auto predictor, serve::Predictor::Make(*store, std::move(loaded)));
  GNOMON_ASSIGN_OR_RETURN(Predictions predictions, PredictRows(session, *predictor, flags));
  if (flags.out.empty()) {
    std::string out;
    net::JsonWriter json(&out);
    json.BeginObject().Key("predictions").BeginArray();
    for (double value : predictions.values) json.Double(value);
    json.EndArray().EndObject();
    Print(out);
    return Status::OK();
  }
  arrow::DoubleBuilder builder;
  GNOMON_RETURN_NOT_OK(builder.AppendValues(predictions.values));
  GNOMON_ASSIGN_OR_RETURN(auto column, builder.Finish());
  GNOMON_ASSIGN_OR_RETURN(
      auto table, predictions.entities->AddColumn(predictions.entities->num_columns(),
                                                  arrow::field("prediction", arrow::float64()),
                                                  std::make_shared<arrow::ChunkedArray>(column)));
  GNOMON_RETURN_NOT_OK(table::WriteTable(session.context, *table, flags.out));
  if (session.json) {
    std::string out;
    net::JsonWriter json(&out);
    json.BeginObject().Key("out").String(flags.out).Key("rows").Int(table->num_rows()).EndObject();
    Print(out);
    return Status::OK();
  }
  Print(Concat("wrote ", table->num_rows(), " predictions to ", flags.out));
  return Status::OK();
}

}  // namespace

void AddModelCommands(CLI::App& app, Action* action) {
  auto file = std::make_shared<std::string>();
  CLI::App* train = app.add_subcommand(
      "train", "Train a model on historical features, track the run, keep the model");
  train->add_option("FILE", *file, "Training file (YAML), here or in the repository")->required();
  train->callback([=] { *action = [=](Session& session) { return Train(session, *file); }; });

  auto flags = std::make_shared<PredictFlags>();
  CLI::App* predict = app.add_subcommand("predict", "Predict for entity rows with a trained model");
  predict->add_option("-m,--model", flags->model, "The model's name")->required();
  predict->add_option("--version", flags->version, "The model's version (default: the latest)");
  predict->add_option(
      "-e,--entities", flags->entities,
      "File with entity rows. With a timestamp column: features as of each row's time,\n"
      "from the offline store. Without, or with --as-of: from the online store");
  predict->add_option("-i,--instances,--json", flags->json,
                      "Entity rows as JSON: [{\"store\": 1, \"dept\": 3}], or @FILE");
  predict->add_option("-o,--out", flags->out,
                      "File to write: the entity rows and a column `prediction`\n"
                      "(default: JSON on standard output)");
  predict->add_option("--as-of", flags->as_of,
                      "Read the online store as of this instant (default: now)");
  predict->callback([=] { *action = [=](Session& session) { return Predict(session, *flags); }; });
}

}  // namespace gnomon::cli
