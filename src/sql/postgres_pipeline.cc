#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/text.h"
#include "sql/postgres.h"
#include "sql/postgres_internal.h"

namespace gnomon::sql {

namespace {

/// A command whose results the server owes.
struct Sent {
  size_t statement;
  std::string name;  // of the statement that it prepares; empty: it runs it
};

}  // namespace

bool Postgres::State::SendInPipeline(const PostgresStatement& statement,
                                     std::map<std::string_view, std::string>* preparing,
                                     std::string* prepared_now) {
  static const PostgresParameters kNone;
  const PostgresParameters& values =
      statement.parameters != nullptr ? *statement.parameters : kNone;
  const std::string text(statement.text);
  if (!statement.prepare) {
    return PQsendQueryParams(connection, text.c_str(), values.size(), values.types_.data(),
                             values.values_.data(), values.lengths_.data(), values.formats_.data(),
                             1) != 0;
  }
  std::string name;
  if (const auto known = prepared.find(statement.text); known != prepared.end()) {
    name = known->second;
  } else if (const auto now = preparing->find(statement.text); now != preparing->end()) {
    name = now->second;
  } else {
    name = Concat("gnomon_", ++num_prepared);
    if (PQsendPrepare(connection, name.c_str(), text.c_str(), values.size(),
                      values.types_.data()) == 0) {
      return false;
    }
    preparing->emplace(statement.text, name);
    *prepared_now = name;
  }
  return PQsendQueryPrepared(connection, name.c_str(), values.size(), values.values_.data(),
                             values.lengths_.data(), values.formats_.data(), 1) != 0;
}

Result<std::vector<PostgresResult>> Postgres::Pipeline(
    const Context& context, std::span<const PostgresStatement> statements) {
  GNOMON_RETURN_NOT_OK(state_->CheckReady(context));
  PGconn* connection = state_->connection;
  if (PQenterPipelineMode(connection) == 0) return state_->ErrorOf(nullptr, {});

  std::vector<Sent> sent;
  std::map<std::string_view, std::string> preparing;
  for (size_t i = 0; i < statements.size(); ++i) {
    std::string prepared_now;
    if (!state_->SendInPipeline(statements[i], &preparing, &prepared_now))
      return state_->Break(state_->ErrorOf(nullptr, statements[i].text));
    if (!prepared_now.empty()) sent.push_back({i, prepared_now});
    sent.push_back({i, {}});
  }
  if (PQpipelineSync(connection) == 0) return state_->Break(state_->ErrorOf(nullptr, {}));

  std::vector<PostgresResult> results(statements.size());
  Status error;
  for (const Sent& command : sent) {
    const std::string_view text = statements[command.statement].text;
    auto result = state_->Collect(context, text);
    if (!usable()) return error.ok() ? result.status() : error;
    if (!result.ok()) {
      if (error.ok()) error = result.status();
    } else if (command.name.empty()) {
      results[command.statement] = *std::move(result);
    } else {
      state_->prepared[std::string(text)] = command.name;
    }
  }
  GNOMON_RETURN_NOT_OK(state_->WaitForResult(context));
  PQclear(PQgetResult(connection));  // the mark of PQpipelineSync
  if (PQexitPipelineMode(connection) == 0) return state_->Break(state_->ErrorOf(nullptr, {}));
  GNOMON_RETURN_NOT_OK(error);
  return results;
}

}  // namespace gnomon::sql
